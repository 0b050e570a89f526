"""Events that can't be read or stored: each is buried alone."""

from datetime import datetime

import pytest
from redis import Redis

from tests.workers.events import T0, count, entry, event, ingested, push, request
from workers.buffer import rows
from workers.buffer.entries import Request, hash_customer
from workers.buffer.lanes import LIVE
from workers.ingest import dead_letters
from workers.ingest.ingest import drain
from workers.ingest.transaction import Outcome
from workers.process import Process
from workers.store import Connection

JANE = hash_customer(1, "jane@example.com")


def test_poison_is_isolated(process: Process, connection: Connection) -> None:
    """A data error goes to dead_letters with its reason; everything else of its batch is stored."""
    bad = event(event="poison", properties={"a": "\0"})
    outcome = ingested(process, *[event() for _ in range(20)], bad, *[event() for _ in range(20)])
    assert outcome == Outcome(stored=40, dead=1)
    ((customer, reason, body),) = connection.execute("SELECT customer_id::text, reason, body FROM dead_letters")
    assert customer.replace("-", "") == JANE
    assert b"poison" in body
    assert reason


def test_an_undecodable_entry_is_a_dead_letter(process: Process, connection: Connection, redis: Redis) -> None:
    push(redis, b"\xc1garbage", entry(request(event())))
    assert drain(process, LIVE) == Outcome(stored=1, dead=1)
    assert connection.execute("SELECT reason, body FROM dead_letters").fetchall() == [("undecodable", b"\xc1garbage")]


def test_what_cannot_be_read_of_an_entry_is_buried_alone(
    process: Process, connection: Connection, redis: Redis
) -> None:
    """A request that no JSON reader takes, an event with a time that is none: the others of their entry are stored."""
    broken = Request(1, T0, b'{"event": ')
    push(redis, entry(request(event()), broken, request(event(), event(timestamp="never"), event())), events=5)
    assert drain(process, LIVE) == Outcome(stored=3, dead=2)
    letters = connection.execute("SELECT customer_id::text, account_id, reason FROM dead_letters ORDER BY 1").fetchall()
    assert [(account, reason) for _, account, reason in letters] == [(1, "undecodable")] * 2
    assert letters[1][0].replace("-", "") == JANE


def test_a_letter_of_what_could_not_be_read_is_replayed_alone(
    process: Process, connection: Connection, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored events aren't stored again; two events of one entry stay two."""
    with monkeypatch.context() as fault:
        fault.setattr(rows, "parse_instant", _out_of_order)
        sent = [event(), event(timestamp="2025-12-01"), event(timestamp="2025-12-02")]
        push(redis, entry(request(*sent)), events=3)
        assert drain(process, LIVE) == Outcome(stored=1, dead=2)
    (replayed,) = dead_letters.replay(connection, dead_letters.list_ids(connection, []), 5)
    assert (replayed.letters, replayed.outcome) == (2, Outcome(stored=2))
    assert count(connection, "events") == 3


def _out_of_order(timestamp: str) -> datetime:
    raise ValueError(timestamp)
