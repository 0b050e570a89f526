"""Doors whose clocks go wrong, by seconds or by minutes: nothing is lost or stored twice, and the next statement of an
address puts right what an earlier one could not."""

import time

import pytest

from tests.workers.events import event
from tests.workers.identities.test_resolving import JANE, NEW, named, of_user, say, send, stored
from workers.buffer.lanes import LIVE
from workers.buffer.stream import last_positions
from workers.ingest import ingest
from workers.ingest.ingest import drain
from workers.process import Process
from workers.store import Connection
from workers.upkeep.erasure import erase

SKEWS_US = [seconds * 1_000_000 for seconds in (-3600, -600, -5, 5, 600, 3600)]


@pytest.fixture(autouse=True)
def _no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "LINGER_SECONDS", 0.001)


def now_us() -> int:
    return time.time_ns() // 1000


@pytest.mark.parametrize("skew_us", SKEWS_US)
def test_an_address_by_a_door_with_a_wrong_clock_holds_when_it_is_said_again(
    process: Process, connection: Connection, skew_us: int
) -> None:
    """A statement that seems older than the one before changes nothing at first."""
    say(process, named(), at_us=now_us())
    send(process, of_user(event_id="1"))
    say(process, named(NEW), at_us=now_us() + skew_us)
    send(process, of_user(event_id="2"), event(customer_email=NEW, event_id="3"))
    drain(process, LIVE)
    assert sum(events for _, events in stored(connection)) == 3
    say(process, named(NEW), at_us=now_us() + max(skew_us, 0) + 1)
    send(process, of_user(event_id="4"))
    drain(process, LIVE)
    left = stored(connection)
    assert sum(events for _, events in left) == 4
    if skew_us >= -600_000_000:
        assert left == [(NEW, 4)]
    else:  # both addresses have a history, as a warning says
        assert left == [(JANE, 2), (NEW, 2)]


@pytest.mark.parametrize("skew_us", SKEWS_US)
def test_an_erasure_covers_events_that_wait_for_an_address_by_the_buffers_clock(
    process: Process, connection: Connection, skew_us: int
) -> None:
    """The address becomes known after the erasure. Events from before it stay away, later ones are stored."""
    send(process, of_user(event_id="before"), at_us=now_us() + skew_us)
    drain(process, LIVE)
    erase(connection, 1, JANE, last_positions(process.redis))
    send(process, of_user(event_id="after"), at_us=now_us() + skew_us)
    drain(process, LIVE)
    say(process, named())
    assert stored(connection) == [(JANE, 1)]
