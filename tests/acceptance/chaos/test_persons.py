"""The audit of persons finds what it looks for."""

import json
import threading
from typing import Any

import pytest
from redis import Redis

from tests.acceptance.chaos.persons import PersonsAccount, PersonsConnection
from tests.acceptance.chaos.producer import Request
from tests.workers.events import entry, push
from workers.buffer import entries
from workers.buffer.lanes import LIVE
from workers.ingest import ingest
from workers.process import Process
from workers.store import Connection

ROUNDS = 120


class WrittenPersons(PersonsConnection):
    """Writes straight into the buffer."""

    redis: Any = None

    def deliver(self, request: Request) -> None:
        """Write a request as the door does, and count it as answered for."""
        body = request.body if request.path.endswith("track") else b'{"identities":[' + request.body + b"]}"
        moment = int(self.redis.time()[0] * 1_000_000 + self.redis.time()[1])
        events = len(json.loads(request.body).get("events", ()))
        push(self.redis, entry(entries.Request(1, moment, body), batch_id=b"%d" % moment), events=events)
        for sent in request.valid:
            sent.acknowledged = True

    def _merge(self, person: Any) -> None:
        """Not without a door."""


@pytest.fixture
def persons(process: Process, redis: Redis, connection: Connection) -> PersonsAccount:
    """Persons of whom much was sent, stored or waiting."""
    connection.execute("INSERT INTO accounts (name) VALUES ('persons')")
    made = WrittenPersons(1, 1, "key", 7, 0.0)
    made.redis = redis
    for _ in range(ROUNDS):
        made.deliver(made._request())
    ingest.drain(process, LIVE)
    account = PersonsAccount.__new__(PersonsAccount)
    account._connection, account._fault, account._thread = made, None, threading.Thread()
    return account


def waiting(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM unresolved_events").fetchone()
    assert row
    return int(row[0])


def test_where_all_is_well_there_is_nothing_to_find(
    process: Process, persons: PersonsAccount, connection: Connection
) -> None:
    assert waiting(connection) > 0
    assert list(persons.find_waiting_faults([connection], waiting(connection))) == []
    persons.name_all()
    ingest.drain(process, LIVE)
    assert list(persons.find_faults([connection])) == []
    assert waiting(connection) == 0


def test_it_finds_what_is_wrong(persons: PersonsAccount, connection: Connection) -> None:
    counted = waiting(connection)
    assert "unresolved events" in "".join(persons.find_waiting_faults([connection], counted + 1))
    connection.execute("DELETE FROM unresolved_events WHERE ctid = (SELECT min(ctid) FROM unresolved_events)")
    assert "lost while they wait: 1" in "".join(persons.find_waiting_faults([connection], counted - 1))
    assert "wait though everybody is known" in "".join(persons.find_faults([connection]))
    connection.execute("UPDATE customers SET email = 'x' || email WHERE email LIKE 'person%'")
    assert "stored under another address" in "".join(persons.find_faults([connection]))
