"""Entries as bytes: the larger ones are compressed, and read as they were."""

import pytest
from redis import Redis

from tests.workers.events import entry, event, push, request
from workers.buffer.entries import BEGINNING, COMPRESSED, decode_entry, encode_entry, measure_entry
from workers.buffer.lanes import LIVE
from workers.buffer.stream import READ_BYTES, Reader
from workers.ingest.ingest import drain
from workers.ingest.transaction import Outcome
from workers.process import Process

LARGE = entry(request(*[event(properties={"n": n, "note": "x" * 50}) for n in range(100)]), batch_id=b"0123456789ab")


def test_a_large_entry_is_compressed_and_read_as_it_was() -> None:
    data = encode_entry(LARGE)
    assert data[:1] == COMPRESSED
    assert decode_entry(data) == LARGE
    assert len(data) * 5 < measure_entry(data)


def test_a_small_entry_stays_as_it_is() -> None:
    data = encode_entry(entry(request(event())))
    assert data[:1] != COMPRESSED
    assert measure_entry(data) == len(data)


def test_entries_of_the_same_content_begin_differently() -> None:
    """By their beginning a receipt knows them."""
    first, second = (encode_entry(entry(*LARGE.requests, batch_id=b"%012d" % n))[:BEGINNING] for n in (1, 2))
    assert first != second


@pytest.mark.parametrize("left", [slice(-9), slice(3), slice(1), slice(BEGINNING)])
def test_what_is_damaged_says_so(left: slice) -> None:
    with pytest.raises(ValueError):
        decode_entry(encode_entry(LARGE)[left])


def test_no_more_is_unpacked_than_an_entry_says() -> None:
    data = encode_entry(LARGE)
    with pytest.raises(ValueError, match="as long as it says"):
        decode_entry(data[:1] + (10).to_bytes(4, "big") + data[5:])


def test_compressed_entries_are_stored_and_damaged_ones_buried(process: Process, redis: Redis) -> None:
    push(redis, LARGE, encode_entry(LARGE)[:-9], events=100)
    assert drain(process, LIVE) == Outcome(stored=100, dead=100)


def test_a_batch_is_read_up_to_its_bytes_before_compression(redis: Redis) -> None:
    """However well its entries compress, no worker needs more memory for it."""
    huge = entry(request(event(properties={"note": "x" * (1 << 20)})))
    push(redis, *[huge] * 10)
    reader = Reader(redis, LIVE, "reader")
    reader.read_left_over(60, 1000)
    batch = reader.read(events=5000, wait_seconds=0.01)
    assert sum(measure_entry(each.data) for each in batch) < READ_BYTES + 2 * (1 << 20)
    assert sum(len(each.data) for each in batch) < 100_000
