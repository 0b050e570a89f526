"""Importing on a page: a file is uploaded, looked at, mapped, sent by a process of its own, followed to its end."""

import gzip
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis import Redis
from starlette.testclient import TestClient

from api.imports import state as states
from api.imports.folder import find_folder
from api.imports.state import FileImport
from tests.api.dashboard.conftest import token_in
from tests.waiting import wait_until
from workers.accounts import keys
from workers.redis import PREFIX
from workers.settings import Settings
from workers.store import Connection

JANE = "jane@example.com"
DAY = (datetime.now(UTC) - timedelta(days=40)).date()
OWN = f"event,customer_email,timestamp,plan\nlogin,{JANE},{DAY},pro\nfeature_used,joe@example.com,{DAY},\n"
Work = Callable[[], None]


def upload(
    client: TestClient, content: str | bytes, name: str = "history.csv", people: str = "", **options: str
) -> str:
    """Upload a file as the page does. Returns the address of its import."""
    fields = {"token": token_in(client.get("/import").text), **options}
    files = {"file": (name, content), "people": ("people.csv" if people else "", people)}
    answer = client.post("/import", data=fields, files=files, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def act(client: TestClient, path: str, action: str, **fields: str) -> None:
    data = {"token": token_in(client.get(path).text), "action": action, **fields}
    answer = client.post(path, data=data, follow_redirects=False)
    assert answer.status_code == 303, answer.text


def state_of(redis: Redis, path: str) -> FileImport:
    (key,) = [key for key in redis.keys(f"{PREFIX}:imports:*") if redis.hexists(key, path.rpartition("/")[2])]
    return states._decode(redis.hget(key, path.rpartition("/")[2]))  # type: ignore[arg-type]


def read(client: TestClient, redis: Redis, path: str) -> str:
    """The page once the file has been read."""
    wait_until(lambda: state_of(redis, path).stage == "ready", timeout=60)
    return client.get(path).text


def finish(redis: Redis, path: str, work: Work) -> FileImport:
    """Do what the workers would, until the import is through."""

    def is_done() -> bool:
        work()
        return state_of(redis, path).stage in ("done", "failed", "stopped")

    wait_until(is_done, timeout=90)
    return state_of(redis, path)


def test_a_file_is_looked_at_imported_and_followed_until_all_is_scored(
    signed_in: TestClient, redis: Redis, work: Work, settings: Settings
) -> None:
    path = upload(signed_in, OWN + "login,nobody,2026-01-01,\n")
    page = read(signed_in, redis, path)
    for text in ("Import 2\u00a0events", JANE, "recognised as it is", "1\u00a0line", "&#34;plan&#34;"):
        assert text in page
    assert signed_in.get(f"/api/v1/customers/{JANE}").status_code == 404
    act(signed_in, path, "send", preset="")
    state = finish(redis, path, work)
    assert (state.stage, state.sent, state.refused, state.faults[0].number) == ("done", 2, 1, 4)
    shown = signed_in.get(f"/api/v1/customers/{JANE}").json()
    assert (shown["events"], shown["plan"], shown["risk"]["state"]) == ({"login": 1}, "pro", "lapsed")
    assert "everything is stored and scored" in signed_in.get(path).text
    assert JANE not in signed_in.get(path).text
    assert list_files(settings) == []


def list_files(settings: Settings) -> list[Path]:
    return list(find_folder(settings).glob("*.file"))


def test_an_import_that_is_run_again_adds_nothing(signed_in: TestClient, redis: Redis, work: Work) -> None:
    for _ in range(2):
        path = upload(signed_in, gzip.compress(OWN.encode()), "history.csv.gz")
        read(signed_in, redis, path)
        act(signed_in, path, "send")
        finish(redis, path, work)
    assert signed_in.get(f"/api/v1/customers/{JANE}").json()["events"] == {"login": 1}


def test_columns_and_names_are_guessed_and_chosen(signed_in: TestClient, redis: Redis, work: Work) -> None:
    text = f"What,E-Mail,When,Seats\nSigned In,{JANE},{DAY},3\n"
    path = upload(signed_in, text)
    page = read(signed_in, redis, path)
    assert "The header has no column event" in page
    selected = re.findall(r'name="column:(\w+)".*?</select>', page, re.S)
    assert set(selected) == {"event", "customer_email", "user_id", "timestamp", "event_id", "properties"}
    assert state_of(redis, path).columns == {"customer_email": "E-Mail", "timestamp": "When"}
    columns = {"column:event": "What", "column:customer_email": "E-Mail", "column:timestamp": "When"}
    act(signed_in, path, "preview", **columns)
    assert "Import 1\u00a0event" in read(signed_in, redis, path)
    act(signed_in, path, "send", **columns, **{"name:Signed In": "login", "name:x": "no_name_of_ours"})
    assert finish(redis, path, work).stage == "done"
    (event,) = signed_in.get(f"/api/v1/customers/{JANE}/events").json()["events"]
    assert (event["event"], event["properties"]) == ("login", {"Seats": 3})


def test_an_export_of_another_product_is_recognised_and_finds_its_people(
    signed_in: TestClient, redis: Redis, work: Work
) -> None:
    at = datetime.now(UTC).timestamp() - 40 * 86400
    events = [{"event": "Signed In", "properties": {"time": at + n, "distinct_id": f"u{n % 2}", "$insert_id": f"i{n}"}}
              for n in range(4)]  # fmt: skip
    path = upload(signed_in, "\n".join(map(json.dumps, events)), "export.json", people=f"user_id,email\nu0,{JANE}\n")
    page = read(signed_in, redis, path)
    assert '<option value="mixpanel" selected>' in page
    assert "2\u00a0events of 1\u00a0user id" in page
    act(signed_in, path, "send", preset="mixpanel")
    state = finish(redis, path, work)
    assert (state.sent, state.identities) == (4, 1)
    assert signed_in.get(f"/api/v1/customers/{JANE}").json()["events"] == {"Signed In": 2}
    assert "windback_events_unresolved 2.0" in signed_in.get("/metrics").text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PAR1" + b"\0" * 100, "It is a Parquet file"),
        (f"event,customer_email,when\nlogin,{JANE},{DAY}\n", "Import 1\u00a0event"),
        (f"event,customer_email\nlogin,{JANE}\n", "tick that such events happened now"),
        ("event,email,timestamp\nlogin,a@b.cd,2026-01-01\n", "Import 1\u00a0event"),
        (gzip.compress(OWN.encode(), mtime=0)[:-9], "damaged or cut off"),
        ("[1, 2", "begins like a JSON array"),
    ],
    ids=["parquet", "guessed", "without times", "another name", "cut off", "open array"],
)
def test_a_file_that_cannot_be_read_says_why(
    signed_in: TestClient, redis: Redis, content: bytes | str, message: str
) -> None:
    page = read(signed_in, redis, upload(signed_in, content, "x"))
    assert re.search(message, page), page


def test_what_is_no_upload_is_refused_and_leaves_nothing(signed_in: TestClient, settings: Settings) -> None:
    token = token_in(signed_in.get("/import").text)
    file = {"file": ("x.csv", OWN)}
    assert signed_in.post("/import", data={"token": "wrong"}, files=file).status_code == 403
    assert signed_in.post("/import", files=file).status_code == 403
    assert signed_in.post("/import", data={"token": token}, files={"file": ("x.csv", "")}).status_code == 422
    assert signed_in.post("/import", data={"token": token}).status_code == 422
    boundary = {"Content-Type": "multipart/form-data; boundary=b"}
    cut = (
        f'--b\r\nContent-Disposition: form-data; name="token"\r\n\r\n{token}\r\n--b\r\nContent-Disposition: form-data; '
    )
    for body in (cut + 'name="file"; filename="x"\r\n\r\nhalf', "no form", cut + "x" * 20_000):
        assert signed_in.post("/import", content=body, headers=boundary).status_code == 422
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert signed_in.post("/import", data={"token": token}, files=file, headers=foreign).status_code == 403
    assert list_files(settings) == []


def test_an_import_is_its_accounts_alone(signed_in: TestClient, redis: Redis, connection: Connection) -> None:
    path = upload(signed_in, OWN)
    read(signed_in, redis, path)
    other = keys.create(connection, redis, "other").secret
    signed_in.post("/sign-in", data={"key": other}, headers={"X-API-Key": other})
    assert signed_in.get(path).status_code == 404
    assert "history.csv" not in signed_in.get("/import").text
    assert signed_in.get("/import/nothing").status_code == 404


def test_what_a_restart_interrupts_is_said_and_run_again(
    signed_in: TestClient, redis: Redis, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is gone, and gives no sign of life any more."""
    path = upload(signed_in, OWN)
    read(signed_in, redis, path)
    state = state_of(redis, path)
    state.stage, state.beat_at, state.sent = "sending", time.time() - 40, 1
    redis.hset(states.hash_key(state.account_id), state.import_id, states._encode(state))
    page = signed_in.get(path).text
    for text in ("The import was interrupted", "1\u00a0event had been sent", "not stored twice", "Run again"):
        assert text in page
    assert "Interrupted" in signed_in.get("/import").text
    act(signed_in, path, "send")
    assert finish(redis, path, work).stage == "done"


def test_events_that_happened_now_are_stored_once_when_it_is_run_again(
    signed_in: TestClient, redis: Redis, work: Work
) -> None:
    """They happened when the file was uploaded."""
    path = upload(signed_in, f"event,customer_email\nlogin,{JANE}\n")
    read(signed_in, redis, path)
    act(signed_in, path, "send", preset="", now="on")
    wait_until(lambda: state_of(redis, path).stage == "storing", timeout=60)
    act(signed_in, path, "stop")
    wait_until(lambda: state_of(redis, path).stage == "stopped", timeout=60)
    act(signed_in, path, "send")
    assert finish(redis, path, work).stage == "done"
    assert signed_in.get(f"/api/v1/customers/{JANE}").json()["events"] == {"login": 1}


def test_an_import_can_be_removed_and_a_file_that_is_gone_is_said_to_be(
    signed_in: TestClient, redis: Redis, settings: Settings
) -> None:
    path = upload(signed_in, OWN)
    page = read(signed_in, redis, path)
    (file,) = list_files(settings)
    file.unlink()
    answer = signed_in.post(path, data={"token": token_in(page), "action": "send"})
    assert (answer.status_code, "Upload it again" in answer.text) == (422, True)
    act(signed_in, path, "remove")
    assert signed_in.get(path).status_code == 404


def test_an_action_that_is_none_is_not_found(signed_in: TestClient, redis: Redis) -> None:
    path = upload(signed_in, OWN)
    page = read(signed_in, redis, path)
    assert signed_in.post(path, data={"token": token_in(page), "action": "x"}).status_code == 404


def test_a_file_over_the_limit_is_refused(signed_in: TestClient, settings: Settings) -> None:
    app: Any = signed_in.app
    app.state.settings = msgspec.structs.replace(settings, upload_bytes=100)
    token = token_in(signed_in.get("/import").text)
    for size in (101, 200_000):
        answer = signed_in.post("/import", data={"token": token}, files={"file": ("x.csv", "x" * size)})
        assert (answer.status_code, "WINDBACK_UPLOAD_BYTES" in answer.text) == (413, True)
    assert list_files(settings) == []
    app.state.settings = msgspec.structs.replace(settings, disk_free_bytes=1 << 60)
    answer = signed_in.post("/import", data={"token": token}, files={"file": ("x.csv", OWN)})
    assert (answer.status_code, "not enough room" in answer.text) == (422, True)
