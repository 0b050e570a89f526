"""An entry that can't be handled is tried with fewer and fewer others, then alone, and then set aside."""

import fakeredis
import pytest

from workers.buffer.attempts import ALONE_AFTER, SET_ASIDE_AFTER, Attempts
from workers.buffer.lanes import LIVE
from workers.buffer.stream import StreamEntry

ENTRIES = [StreamEntry(b"%d-0" % number, 1, b"") for number in range(40)]


@pytest.fixture
def attempts() -> Attempts:
    return Attempts(fakeredis.FakeRedis(), LIVE)


def test_a_batch_is_tried_in_smaller_parts_each_time(attempts: Attempts) -> None:
    sizes = []
    for _ in range(SET_ASIDE_AFTER):
        chosen = attempts.choose(ENTRIES).entries
        attempts.begin(chosen)
        sizes.append(len(chosen))
    assert sizes == [40, 5, 1, 1, 1]
    assert attempts.choose(ENTRIES) == (ENTRIES[:1], True)
    assert attempts.choose(ENTRIES[1:]) == (ENTRIES[1:2], False)


def test_entries_that_failed_are_not_tried_with_others(attempts: Attempts) -> None:
    attempts.begin(ENTRIES[3:4])
    assert attempts.choose(ENTRIES).entries == ENTRIES[:3]


def test_what_ended_well_is_forgotten(attempts: Attempts) -> None:
    attempts.begin(ENTRIES)
    attempts.end(ENTRIES)
    assert attempts.choose(ENTRIES).entries == ENTRIES


def test_an_entry_that_could_be_read_is_never_set_aside(attempts: Attempts) -> None:
    """It is Postgres then that doesn't take it in time: an outage, however long."""
    for _ in range(2 * SET_ASIDE_AFTER):
        attempts.begin(ENTRIES[:1])
        attempts.forgive(ENTRIES[:1])
    assert attempts.choose(ENTRIES) == (ENTRIES[:1], False)
    assert ALONE_AFTER < SET_ASIDE_AFTER


def test_counts_end_by_themselves() -> None:
    redis = fakeredis.FakeRedis()
    Attempts(redis, LIVE).begin(ENTRIES)
    assert redis.ttl("windback:attempts:live") > 0
