"""Errors that don't say whose fault they are: SQLSTATE XX000, by which a proxy or an extension reports any."""

import pytest
from redis import Redis

from tests.workers.events import count, event, ingested, push_events
from workers import retry
from workers.buffer.lanes import LIVE
from workers.ingest.ingest import drain
from workers.ingest.transaction import Outcome
from workers.process import Process
from workers.store import Connection

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'a node says no' USING ERRCODE = 'XX000'; END
$$;
CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse()
"""


def refuse(connection: Connection, table: str, condition: str = "true") -> None:
    """Have an internal error raised for rows of a table."""
    connection.execute(REFUSE.format(table=table, condition=condition))


def test_an_event_that_alone_meets_an_internal_error_is_buried(process: Process, connection: Connection) -> None:
    refuse(connection, "events", "NEW.event = 'poison'")
    outcome = ingested(process, *[event() for _ in range(10)], event(event="poison"), *[event() for _ in range(9)])
    assert outcome == Outcome(stored=19, dead=1)
    assert connection.execute("SELECT reason, sqlstate FROM dead_letters").fetchall() == [("InternalError", "XX000")]
    assert count(connection, "customers") == 1  # the probe is taken back


def test_it_is_buried_although_it_is_the_only_event(process: Process, connection: Connection) -> None:
    refuse(connection, "events", "NEW.event = 'poison'")
    assert ingested(process, event(event="poison")) == Outcome(dead=1)


def test_an_identity_that_alone_meets_an_internal_error_is_buried(process: Process, connection: Connection) -> None:
    refuse(connection, "identities", "NEW.user_id = 'poison'")
    identities = [{"user_id": user_id, "customer_email": f"{user_id}@example.com"} for user_id in ("good", "poison")]
    push_events(process.redis, {"identities": identities})
    drain(process, LIVE)
    assert connection.execute("SELECT user_id FROM identities").fetchall() == [("good",)]
    assert connection.execute("SELECT fingerprint FROM dead_letters").fetchall() == [("identity: InternalError_",)]


@pytest.mark.parametrize("table", ["events", "customer_days", "customers"])
def test_a_server_that_fails_for_all_events_buries_none(
    process: Process, redis: Redis, connection: Connection, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """They wait in the buffer, and are stored when the fault is mended."""
    monkeypatch.setattr(retry, "RETRY_SECONDS", 0)
    refuse(connection, table)
    ingested(process, event(), event())
    assert (count(connection, "events"), count(connection, "dead_letters"), redis.xlen(LIVE.stream)) == (0, 0, 1)
    connection.execute(f"DROP TRIGGER refuse ON {table}")
    assert drain(process, LIVE) == Outcome(stored=2)
