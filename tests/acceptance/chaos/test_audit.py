"""The audit finds what it looks for."""

from typing import Any

import pytest
from redis import Redis

from tests.acceptance.chaos import audit, books
from tests.acceptance.chaos.producer import Sent
from tests.workers.events import count, event, push_events
from workers.buffer.lanes import LIVE
from workers.ingest import ingest
from workers.process import Process
from workers.risk import rescore
from workers.store import Connection


@pytest.fixture
def sent(process: Process, redis: Redis, connection: Connection) -> dict[str, Sent]:
    """Events of two customers, acknowledged, stored and scored."""
    connection.execute("INSERT INTO accounts (name) VALUES ('acme')")
    made = {str(number): Sent(_event(number), acknowledged=True) for number in range(10)}
    push_events(redis, *(one.event for one in made.values()))
    ingest.drain(process, LIVE)
    rescore.rescore_due(process)
    return made


def _event(number: int) -> dict[str, Any]:
    name = "page_viewed" if number % 2 else "login"
    properties = {"mark": str(number), "duration_seconds": number, "plan": "pro"}
    return event(event=name, customer_email=f"c{number % 4 // 2}@example.com", properties=properties)


def findings(connection: Connection, sent: dict[str, Sent]) -> list[str]:
    """The findings of the audit of Postgres."""
    return list(audit.all_of([connection], sent))


def test_where_all_is_well_there_is_nothing_to_find(connection: Connection, sent: dict[str, Sent]) -> None:
    assert findings(connection, sent) == []
    assert audit.quiet(connection)


AN_EVENT = "(SELECT customer_id, occurred_at, event_key FROM events LIMIT 1)"
FAULTS = {
    f"DELETE FROM events WHERE (customer_id, occurred_at, event_key) IN {AN_EVENT}": "lost: 1",
    "INSERT INTO events SELECT customer_id, occurred_at, event_key + 1, event, properties, received_at FROM events "
    "LIMIT 1": "stored twice: 1",
    "UPDATE events SET event = 'logins' WHERE event = 'login'": "stored otherwise: 5",
    "UPDATE events SET occurred_at = occurred_at - interval '1 s'": "stored otherwise: 10",
    "UPDATE customer_days SET n = n + 1 WHERE event = 'login'": "a day is",
    "UPDATE customer_days SET value = value + 1": "a day is",
    "UPDATE customer_days SET last_at = last_at - interval '1 s'": "a day is",
    "UPDATE customer_days SET plan = 'free'": "the plan of",
    "DELETE FROM customer_days WHERE event = 'login'": "a day that is missing",
    "UPDATE customer_days SET day = day - 1": "a day without events",
    "UPDATE customers SET last_seen = last_seen - interval '1 s'": "was seen",
    "UPDATE customers SET first_seen = first_seen - interval '1 s'": "was seen",
    "DELETE FROM customers WHERE email = 'c0@example.com'": "a customer is missing",
    "UPDATE customers SET scored_at = NULL": "never scored",
    "UPDATE customers SET scored_at = scored_at - interval '1 h'": "before the last event was stored",
    "UPDATE customers SET probability = probability / 2": "and should have",
    "UPDATE risk_history SET level = 'none'": "the history of the risk ends otherwise",
    "DELETE FROM risk_history": "the history of the risk ends otherwise",
}


@pytest.mark.parametrize(("fault", "said"), FAULTS.items())
def test_it_finds(connection: Connection, sent: dict[str, Sent], fault: str, said: str) -> None:
    connection.execute(fault)
    found = findings(connection, sent)
    assert any(said in one for one in found), found


def test_it_finds_what_nobody_sent(connection: Connection, sent: dict[str, Sent]) -> None:
    del sent["3"]
    assert "sent by nobody: 1, such as 3" in findings(connection, sent)


def test_it_knows_when_somebody_is_due(connection: Connection, sent: dict[str, Sent]) -> None:
    connection.execute("UPDATE customers SET rescore_at = now() WHERE email = 'c0@example.com'")
    assert not audit.quiet(connection)


def test_it_finds_what_the_ledger_lacks(connection: Connection, redis: Redis, sent: dict[str, Sent]) -> None:
    none = range(1)
    assert list(books.balanced(books.ledgers(redis), [connection], 10, none)) == []
    assert list(books.balanced(books.ledgers(redis), [connection], 11, none)) != []
    redis.hincrby(LIVE.ledger, "accepted", 1)
    assert "1 unaccounted" in "".join(books.balanced(books.ledgers(redis), [connection], 10, none))
    redis.hincrby(LIVE.ledger, "accepted", -1)
    connection.execute(f"DELETE FROM events WHERE (customer_id, occurred_at, event_key) IN {AN_EVENT}")
    said = "".join(books.balanced(books.ledgers(redis), [connection], 10, none))
    assert "10 are said to be stored, and there are 9" in said
    assert count(connection, "events") == 9


@pytest.mark.parametrize(
    ("key", "seconds", "is_found"),
    [
        ("windback:nonsense", None, True),
        ("windback:ticket:ingest", None, True),
        ("windback:ticket:ingest", 3600, True),
        ("windback:ticket:ingest", 60, False),
        ("windback:rq:job:0-0", None, True),
    ],
)
def test_it_finds_keys_without_a_purpose(redis: Redis, key: str, seconds: int | None, is_found: bool) -> None:
    redis.hset(key, "status", "started") if "job" in key else redis.set(key, 1, ex=seconds)
    assert bool(list(books.keys(redis))) is is_found
