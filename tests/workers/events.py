"""Small worlds for the tests of the line: requests, entries, and what is in the tables afterwards."""

import time
from collections.abc import Collection
from typing import Any

import msgspec
from redis import Redis

from workers.buffer.arrivals import QUIET_SECONDS
from workers.buffer.entries import Entry, Request, encode_entry
from workers.buffer.lanes import LIVE, Lane
from workers.buffer.push import PUSH
from workers.ingest.ingest import drain
from workers.ingest.transaction import Outcome
from workers.process import Process
from workers.settings import Settings
from workers.store import Connection
from workers.tickets import mark_key

T0 = 1_760_000_000_000_000  # some moment in October 2025, in microseconds


def event(**fields: Any) -> dict[str, Any]:
    """An event as a producer sends it."""
    return {"event": "login", "customer_email": "jane@example.com", **fields}


def request(*events: dict[str, Any], account_id: int = 1, received_us: int = T0) -> Request:
    """A request with these events."""
    body = events[0] if len(events) == 1 else {"events": list(events)}
    return Request(account_id, received_us, msgspec.json.encode(body))


def entry(*requests: Request, batch_id: bytes = b"batch") -> Entry:
    """An entry of the buffer."""
    return Entry(batch_id, list(requests))


def push(
    redis: Redis, *entries: Entry | bytes, lane: Lane = LIVE, events: int = 1, arriving: Collection[int] = ()
) -> None:
    """Write entries to the buffer, each said to hold so many events; `arriving` are accounts whose history this is."""
    arguments: list[Any] = [60, " ".join(map(str, arriving)), int(QUIET_SECONDS * 1000)]
    for one in entries:
        arguments += [events, 0, 0, one if isinstance(one, bytes) else encode_entry(one)]
    keys = (lane.stream, lane.ledger, mark_key(lane.queue, lane.prefix), lane.other.ledger, lane.arrivals)
    redis.eval(PUSH, len(keys), *keys, *arguments)


def push_events(redis: Redis, *events: dict[str, Any], lane: Lane = LIVE, received_us: int | None = None) -> None:
    """Write events to the buffer as one request, received now by default."""
    entry = Entry(b"%d" % time.time_ns(), [request(*events, received_us=received_us or time.time_ns() // 1000)])
    push(redis, entry, lane=lane, events=len(events))


def count(connection: Connection, table: str) -> int:
    """The number of rows of a table."""
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row
    return int(row[0])


def ingested(process: Process, *events: dict[str, Any], lane: Lane = LIVE) -> Outcome:
    """Write events to the buffer, and store what is in it."""
    push_events(process.redis, *events, lane=lane)
    return drain(process, lane)


def with_batch(process: Process, events: int) -> Settings:
    """Returns the settings of a process with batches of so many events."""
    return msgspec.structs.replace(process.settings, batch_events=events)


def store_names(process: Process, account_id: int, *names: str, email: str = "jane@example.com") -> None:
    """Store an event of each name for an account."""
    sent = [event(event=name, customer_email=email) for name in names]
    entry = Entry(b"%d" % time.time_ns(), [request(*sent, account_id=account_id, received_us=time.time_ns() // 1000)])
    push(process.redis, entry, events=len(sent))
    drain(process, LIVE)
