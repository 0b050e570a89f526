"""`windback import --from …` against a running service, and the dry run without one."""

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from starlette.testclient import TestClient

from api.cli import main
from api.commands.client import ServiceFailed, ServiceReply
from api.commands.history import waiting
from api.commands.history.progress import ProgressLine
from tests.api.history.test_presets import AMPLITUDE, SEGMENT
from tests.waiting import wait_until
from workers.accounts.keys import NewKey


def imported(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["import", *arguments])


def test_history_from_elsewhere_is_stored_under_its_people(
    acme: TestClient, url: str, key: NewKey, work: Callable[[], None], tmp_path: Path
) -> None:
    events = [{**AMPLITUDE, "user_properties": {}, "$insert_id": f"a-{n}", "user_id": f"u{n % 3}"} for n in range(9)]
    (tmp_path / "export.json").write_text("\n".join(map(json.dumps, events)))
    (tmp_path / "people.csv").write_text("user_id,email\nu0,jane@example.com\nu1,joe@example.com\n")
    options = ("--from", "amplitude", "--people", str(tmp_path / "people.csv"), "--rename", "Signed In=login")
    for _ in range(2):
        done = imported(str(tmp_path / "export.json"), *options, "--url", url, "--api-key", key.secret)
        assert done.exit_code == 0, done.output
        assert "2 people taken" in done.output
        assert "9 events taken" in done.output
        work()
    for email in ("jane@example.com", "joe@example.com"):
        assert acme.get(f"/api/v1/customers/{email}").json()["events"] == {"login": 3}
    assert "windback_events_unresolved 3.0" in acme.get("/metrics").text


def test_identities_in_a_file_are_sent_as_well(
    acme: TestClient, url: str, key: NewKey, work: Callable[[], None], tmp_path: Path
) -> None:
    identity = {"type": "identify", "userId": "u1", "traits": {"email": "jane@example.com", "plan": "pro"}}
    event = {**SEGMENT, "context": {}}
    (tmp_path / "export.ndjson").write_text(f"{json.dumps(event)}\n{json.dumps(identity)}\n")
    done = imported(str(tmp_path / "export.ndjson"), "--from", "segment", "--url", url, "--api-key", key.secret)
    assert done.exit_code == 0, done.output
    assert "1 identity taken" in done.output
    work()
    assert acme.get("/api/v1/customers/jane@example.com").json()["events"] == {"Signed In": 1}


def test_a_dry_run_says_what_there_is_and_sends_nothing(tmp_path: Path) -> None:
    events = [{**AMPLITUDE, "user_properties": {}}, {**AMPLITUDE, "event_type": "login"}, {"event_type": "x"}]
    (tmp_path / "export.json").write_text("\n".join(map(json.dumps, events)))
    done = imported(str(tmp_path / "export.json"), "--from", "amplitude", "--dry-run")
    assert done.exit_code == 1
    for text in ("2 events, 2 names, 1 line refused", "Signed In", "(your own)", "from 2026-01-01T10:00:00",
                 "1 event of 1 user id without an address", "export.json:3: it names neither"):  # fmt: skip
        assert text in done.output


def test_other_names_of_columns_come_with_the_options_that_help(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Email,Event Name,Created At\njane@example.com,login,26.11.2025 14:00\n")
    done = imported(str(tmp_path / "a.csv"), "--dry-run")
    hint = "try --column 'event=Event Name' --column customer_email=Email --column 'timestamp=Created At'"
    assert (done.exit_code, hint in done.output) == (1, True)
    columns = [("--column", name) for name in ("customer_email=Email", "event=Event Name", "timestamp=Created At")]
    done = imported(str(tmp_path / "a.csv"), *sum(columns, ()), "--dry-run")
    assert (done.exit_code, "1 event, 1 name, 0 lines refused" in done.output) == (0, True)


def test_dates_with_slashes_come_in_the_order_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer_email,event,timestamp\njane@example.com,login,11/2/2025 2:00 PM\n")
    for order, first in (("month-first", "2025-11-02T14:00:00"), ("day-first", "2025-02-11T14:00:00")):
        done = imported(str(tmp_path / "a.csv"), "--dry-run", "--dates", order)
        assert (done.exit_code, f"from {first}" in done.output) == (0, True), done.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rename", "x"), "is not like NAME=NAME"),
        (("--column", "email=mail"), "is no field of ours"),
        (("--from", "nobody"), "nobody"),
    ],
)
def test_options_that_make_no_sense_are_misuse(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    (tmp_path / "a.csv").write_text("event,customer_email\n")
    done = imported(str(tmp_path / "a.csv"), *options, "--dry-run")
    assert (done.exit_code, message in done.output) == (2, True)


def test_a_file_of_people_without_addresses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("user_id,email\nu1,nobody\n")
    (tmp_path / "a.csv").write_text("event,customer_email\n")
    done = imported(str(tmp_path / "a.csv"), "--people", str(tmp_path / "people.csv"), "--dry-run")
    assert (done.exit_code, "people.csv:2" in done.output) == (1, True)


def test_progress_says_the_share_the_rate_and_what_is_left() -> None:
    now = iter([0.0, 10.0])
    progress = ProgressLine(Path("a.csv"), lambda: next(now))
    assert progress.describe(1000, 0.25) == "a.csv: 25%, 1,000 events, 100 a second, 30 s left"


def test_progress_is_drawn_anew_five_times_a_second_at_most(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """However often a batch is through; in a pipe nothing is drawn."""
    moment = 0.0
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = ProgressLine(Path("a.csv"), lambda: moment)
    for number in range(100):
        moment = number / 64  # seconds
        progress(number, number / 100)
    drawn = capsys.readouterr().err.split("\r")[1:]
    assert len(drawn) == 8  # every 13th
    assert drawn[0].startswith("\x1b[Ka.csv: 0%, 0 events")
    assert drawn[-1].endswith("a.csv: 91%, 91 events, 64 a second, 0 s left")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    ProgressLine(Path("a.csv"))(5, 0.5)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("share", "text"), [(0.5, "100 s left"), (0.1, "15 min left"), (0.001, "27.8 h left"), (0.0, ""), (1.0, "")]
)
def test_the_time_left_is_in_the_unit_that_people_use(share: float, text: str) -> None:
    now = iter([0.0, 100.0])
    line = ProgressLine(Path("a.csv"), lambda: next(now)).describe(1000, share)
    assert line.endswith(text or "10 a second")


def test_wait_ends_when_all_of_it_is_stored_and_scored(
    acme: TestClient, url: str, key: NewKey, work: Callable[[], None], tmp_path: Path
) -> None:
    (tmp_path / "export.ndjson").write_text(json.dumps(SEGMENT))
    arguments = (str(tmp_path / "export.ndjson"), "--from", "segment", "--wait", "--url", url, "--api-key", key.secret)
    with ThreadPoolExecutor(1) as pool:
        importing = pool.submit(imported, *arguments)
        wait_until(lambda: "windback_events_accepted_total" in acme.get("/metrics").text)
        assert not importing.done()
        while not importing.done():
            work()
    assert (importing.result().exit_code, "stored and scored" in importing.result().output) == (0, True)
    assert acme.get("/api/v1/customers/jane@example.com").json()["risk"] is not None


def test_wait_names_events_of_user_ids_without_an_address(
    acme: TestClient, url: str, key: NewKey, work: Callable[[], None], tmp_path: Path
) -> None:
    (tmp_path / "events.ndjson").write_text('{"event": "login", "user_id": "user-1", "timestamp": "2026-01-01"}')
    arguments = (str(tmp_path / "events.ndjson"), "--wait", "--url", url, "--api-key", key.secret)
    with ThreadPoolExecutor(1) as pool:
        importing = pool.submit(imported, *arguments)
        while not importing.done():
            work()
    assert "but for 1 event of user ids without an address" in importing.result().output


METRICS = """
windback_buffer_events{{lane="live"}} 5.0
windback_buffer_events{{lane="history"}} {history}
windback_buffer_oldest_seconds{{lane="live"}} 0.2
windback_buffer_oldest_seconds{{lane="history"}} {age}
windback_rescore_due {due}
windback_rescore_lag_seconds {lag}
"""


class Metrics:
    """A client whose service says these figures, one after the other, and the last one for ever."""

    def __init__(self, *figures: dict[str, float]) -> None:
        self.answers = [METRICS.format_map({"history": 0, "age": 0, "due": 7, "lag": 1.0, **each}) for each in figures]
        self.asked = 0

    def ask(self, method: str, path: str) -> ServiceReply:
        """The next answer."""
        self.asked += 1
        return ServiceReply(200, {}, text=self.answers[min(self.asked, len(self.answers)) - 1])


def test_wait_ends_on_a_service_that_is_never_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later events of others are younger, and are not waited for."""
    monkeypatch.setattr(waiting, "PAUSE_SECONDS", 0.0)
    moment = count(0.0, 10.0)
    busy = [{"history": 9, "age": 1000.0}] * 4
    client: Any = Metrics(*busy, {})
    waiting.wait_until_scored(client, lambda: next(moment))
    assert client.asked == len(busy) + 2 * waiting.QUIET_TIMES
    late: Any = Metrics({}, {}, {}, {"lag": 1000.0}, {})
    waiting.wait_until_scored(late, lambda: next(moment))
    assert late.asked == 4 + waiting.QUIET_TIMES


def test_wait_says_so_where_metrics_are_hidden() -> None:
    client: Any = Metrics({})
    client.answers = ["nothing here"]
    with pytest.raises(ServiceFailed, match="leave out --wait"):
        waiting.wait_until_scored(client)
