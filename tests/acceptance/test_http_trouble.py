"""A Redis that stands still, refuses to write, or is full: 503 within a second, and all is well again by itself."""

import itertools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from api.up import packaged_servers
from api.up.embedded import Servers
from tests.acceptance.door import OK, Answer, Door, Hurried, door, own_database
from tests.waiting import SOON, wait_until
from tests.workers.events import event
from workers.buffer.lanes import LIVE

BODY = json.dumps(event()).encode()
Trouble = Callable[[Door], None]


@pytest.fixture(scope="module")
def shaky(all_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A web process alone over a Redis that nobody else uses."""
    with (
        own_database(all_servers.database_url, "shaky") as url,
        door(url, tmp_path_factory.mktemp("shaky"), "web", kind=Hurried) as made,
    ):
        yield made


def redis_process(service: Door) -> int:
    """The process id of the service's Redis."""
    return int((service.log.parent / "redis" / "redis.pid").read_text())


def standing_still(service: Door) -> None:
    os.kill(redis_process(service), signal.SIGSTOP)


def going_on(service: Door) -> None:
    os.kill(redis_process(service), signal.SIGCONT)


def read_only(service: Door) -> None:
    service.redis.replicaof("127.0.0.1", "1")


def writable(service: Door) -> None:
    service.redis.replicaof("NO", "ONE")


def out_of_memory(service: Door) -> None:
    service.redis.config_set("maxmemory", "1mb")


def with_memory(service: Door) -> None:
    service.redis.config_set("maxmemory", "0")


TROUBLES = pytest.mark.parametrize(
    ("begin", "end", "codes"),
    [
        (standing_still, going_on, {"buffer_unavailable"}),
        (read_only, writable, {"buffer_unavailable"}),
        (out_of_memory, with_memory, {"buffer_full"}),
    ],
    ids=["standing still", "read-only", "out of memory"],
)


@contextmanager
def trouble(service: Door, begin: Trouble, end: Trouble) -> Iterator[None]:
    """From `begin` to `end`, whatever happens in between."""
    begin(service)
    try:
        yield
    finally:
        end(service)


def track(service: Door, name: str) -> tuple[Answer, float]:
    """The answer to an event of this name, and after how many seconds it came."""
    began = time.monotonic()
    answer = service.once(service.request(json.dumps(event(event=name)).encode()))
    return answer, time.monotonic() - began


def buffered(service: Door) -> list[dict[bytes, bytes]]:
    """All entries that the live lane's buffer holds."""
    entries: Any = service.redis.xrange(LIVE.stream)
    return [fields for _, fields in entries]


@TROUBLES
def test_trouble_is_told_within_a_second_and_ends_by_itself(
    shaky: Door, begin: Trouble, end: Trouble, codes: set[str]
) -> None:
    """Never ok, never a hang; the answers say when to come back; and afterwards no restart is needed."""
    assert track(shaky, "before")[0].body == OK
    with trouble(shaky, begin, end), ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda n: track(shaky, f"during{n}"), range(20)))
    assert {answer.status for answer, _ in answers} == {503}
    assert {json.loads(answer.body)["code"] for answer, _ in answers} == codes
    assert all(json.loads(answer.body)["message"] for answer, _ in answers)
    assert all(int(answer.headers["retry-after"]) >= 1 for answer, _ in answers)
    assert max(seconds for _, seconds in answers) < SOON
    wait_until(lambda: track(shaky, "after")[0].body == OK)


@pytest.mark.parametrize(
    ("begin", "end"), [(read_only, writable), (out_of_memory, with_memory)], ids=["read-only", "out of memory"]
)
def test_what_was_refused_is_not_half_there(shaky: Door, begin: Trouble, end: Trouble) -> None:
    """Neither the events nor their count; the ledger still adds up."""
    assert track(shaky, "before")[0].body == OK
    before, ledger = buffered(shaky), shaky.redis.hgetall(LIVE.ledger)
    with trouble(shaky, begin, end):
        assert track(shaky, "refused")[0].status == 503
    assert buffered(shaky) == before
    assert shaky.redis.hgetall(LIVE.ledger) == ledger


def test_a_write_that_was_under_way_is_there_whole_or_not_at_all(shaky: Door) -> None:
    """After 503 an event may be in the buffer, but then all of its request is, and it is counted."""
    body = json.dumps({"events": [event(event=f"whole{n}") for n in range(50)]}).encode()
    with trouble(shaky, standing_still, going_on):
        assert shaky.once(shaky.request(body)).status == 503
    assert track(shaky, "after")[0].body == OK
    entries = b"".join(fields[b"entry"] for fields in buffered(shaky))
    assert len({entries.count(b'"whole%d"' % n) for n in range(50)}) == 1
    counted = sum(int(fields[b"n"]) for fields in buffered(shaky))
    ledger: Any = shaky.redis.hgetall(LIVE.ledger)
    assert int(ledger[b"accepted"]) - int(ledger.get(b"settled", 0)) == counted


def test_a_key_that_was_seen_longer_ago_does_not_add_its_own_wait(shaky: Door) -> None:
    """Looking the key up again and writing take less than a second together."""
    with shaky.client() as client:
        assert client.post("/api/v1/track", content=BODY).content == OK
        threading.Event().wait(0.3)  # until the web process looks the key up again
        with trouble(shaky, standing_still, going_on):
            began = time.monotonic()
            assert client.post("/api/v1/track", content=BODY).status_code == 503
            assert time.monotonic() - began < SOON


def test_a_redis_that_cut_everybody_off_is_found_again(shaky: Door) -> None:
    """As a restart does: no answer but ok and 503, and none of it in the log as an error of ours."""
    assert track(shaky, "before")[0].body == OK
    entries = shaky.redis.xlen(LIVE.stream)
    shaky.redis.client_kill_filter(_type="normal", skipme=True)
    answers = {track(shaky, "cut off")[0].status for _ in range(5)}
    assert answers <= {200, 503}
    wait_until(lambda: track(shaky, "after")[0].body == OK)
    assert shaky.redis.xlen(LIVE.stream) > entries
    assert "Traceback" not in shaky.log.read_text()


def test_reading_goes_on_while_redis_stands_still(shaky: Door) -> None:
    """A key that is known lets its owner read from Postgres."""
    with shaky.client() as client:
        assert client.get("/api/v1/customers").status_code == 200
        with trouble(shaky, standing_still, going_on):
            assert client.get("/api/v1/customers").status_code == 200
            assert client.get("/healthz").status_code == 200
            assert client.get("/readyz").status_code == 503


def test_a_redis_that_is_killed_comes_back_with_all_that_was_ok(shaky: Door) -> None:
    """`kill -9` in the middle of a load, and a start on the same folder, without touching the web process."""
    folder = shaky.log.parent
    said_ok: list[str] = []
    numbers = itertools.count()
    over = threading.Event()

    def produce() -> None:
        while not over.is_set():
            name = f"load{next(numbers)}."
            if track(shaky, name)[0].body == OK:
                said_ok.append(name)

    with ThreadPoolExecutor(4) as pool:
        producers = [pool.submit(produce) for _ in range(4)]
        try:
            wait_until(lambda: len(said_ok) > 50)
            os.kill(redis_process(shaky), signal.SIGKILL)
            wait_until(lambda: track(shaky, "gone")[0].status == 503)
            redis = packaged_servers.valkey(folder)
            with packaged_servers.launching(redis) as how:
                child = subprocess.Popen(redis.argv, start_new_session=True, **how)
            before = len(said_ok)
            wait_until(lambda: len(said_ok) > before + 50, timeout=20)
        finally:
            over.set()
    assert [producer.exception() for producer in producers] == [None] * 4
    entries = b"".join(fields[b"entry"] for fields in buffered(shaky))
    assert [name for name in said_ok if name.encode() not in entries] == []
    assert "Traceback" not in shaky.log.read_text()
    child.terminate()
    child.wait()
