"""Nobody can stop the line: whatever stands before it, an event of another account is stored."""

import json
import random
from collections.abc import Iterator
from typing import Any

import hypothesis
import psutil
import pytest
from hypothesis import strategies as st

from api.up.embedded import Servers
from tests.acceptance.door import OK, TRACK, Door, door, own_database
from tests.waiting import wait_until
from tests.workers.events import event

EACH = 3  # batches of a kind
BEHIND_SECONDS = 30.0  # on a machine of its own; this one may be busy with other things
PATIENCE = 4
WORK_SECONDS = BEHIND_SECONDS / 2  # of a processor, for the worker and its part of Postgres, start included

KINDS: dict[str, dict[str, Any]] = {
    "card numbers": {"a": ["4111111111111112"] * 1700},
    "words": {"a": ["word"] * 4500, "b": "@"},
    "numbers": {"a": [123] * 8000},
    "digits with dashes": {"a": ["1-11-1-1x1 11" * 70] * 33},
    "almost addresses": {"a": ["a" * 989 + "@"] * 32},
    "keys like secrets": {f"passwor{n}": {"secre": 1} for n in range(250)},
    "empty lists": {"a": [[[]]] * 4500},
    "texts": {"a": "x" * 32_000},
    "many of one": {"a": [{f"k{n}": n} for n in range(2000)]},
    "escapes": {"a": '\\\t\n"' * 4000},
}


@pytest.fixture(scope="module")
def heavy(all_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A service whose ingest workers are not running yet, with the usual size of batches."""
    with (
        own_database(all_servers.database_url, "heavy") as url,
        door(url, tmp_path_factory.mktemp("heavy"), "web", "clock") as made,
    ):
        made.line.environment["WINDBACK_BATCH_EVENTS"] = "5000"
        yield made


def attack(properties: dict[str, Any], number: int) -> bytes:
    events = [event(customer_email=f"bot{number}.{n}@example.com", properties=properties) for n in range(100)]
    return json.dumps({"events": events}, separators=(",", ":")).encode()


def stored_behind(service: Door, bodies: list[bytes]) -> None:
    """An event of another account, sent last, is stored in time once a worker runs."""
    with service.client() as client:
        for body in bodies:
            answer = client.post(TRACK, content=body, timeout=60)
            assert answer.status_code in (200, 207), answer.text
    email = f"jane{random.random()}@example.com"
    other = json.dumps(event(customer_email=email)).encode()
    assert service.once(service.request(other, key=service.other_account())).body == OK
    service.line.start("ingest")
    try:
        wait_until(lambda: service.count("customers WHERE email = %s", email), timeout=PATIENCE * BEHIND_SECONDS)
        assert worked_seconds(service) < WORK_SECONDS
        wait_until(service.is_empty, timeout=PATIENCE * BEHIND_SECONDS)
    finally:
        service.line.terminate("ingest")


def worked_seconds(service: Door) -> float:
    """Returns for how long a processor was at work for the ingest worker: in it, and in Postgres."""
    backends = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    pids = [service.line.processes["ingest"].pid, *(pid for (pid,) in service.connection.execute(backends))]
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


@pytest.mark.timeout(600)
def test_large_events_of_all_kinds_hold_nobody_up(heavy: Door) -> None:
    bodies = [attack(properties, number) for number in range(EACH) for properties in KINDS.values()]
    stored_behind(heavy, bodies)
    assert "a job failed" not in heavy.log.read_text()
    assert heavy.count("dead_letters") == 0


@pytest.mark.timeout(600)
@hypothesis.given(kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1), sizes=st.lists(st.integers(1, 100)))
@hypothesis.settings(max_examples=3)
def test_any_mixture_of_them_holds_nobody_up(heavy: Door, kinds: list[str], sizes: list[int]) -> None:
    stored_behind(heavy, [mix(kinds, size, number) for number, size in enumerate(sizes[:5])])


def mix(kinds: list[str], size: int, number: int) -> bytes:
    events = [
        event(customer_email=f"mix{number}.{n}@example.com", properties=KINDS[kinds[n % len(kinds)]])
        for n in range(size)
    ]
    return json.dumps({"events": events}, separators=(",", ":")).encode()


def test_a_publishable_key_is_enough_to_send_and_not_to_stop(heavy: Door) -> None:
    """As a browser may: a batch a second, while the worker runs."""
    heavy.line.start("ingest")
    try:
        bodies = [attack(KINDS["keys like secrets"], number) for number in range(5)]
        for body in bodies:
            heavy.once(heavy.request(body, key=heavy.publishable))
        other = json.dumps(event(customer_email="last@example.com")).encode()
        assert heavy.once(heavy.request(other, key=heavy.other_account())).body == OK
        wait_until(lambda: heavy.count("customers WHERE email = 'last@example.com'"), timeout=PATIENCE * BEHIND_SECONDS)
    finally:
        heavy.line.terminate("ingest")
