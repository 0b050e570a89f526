"""Nothing is left of an address after its erasure, anywhere."""

import logging
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.sending import ago
from tests.traces import find_traces, hashes_of
from tests.workers.events import event, push, request
from workers import jobs
from workers.buffer.entries import Entry, encode_entry
from workers.buffer.lanes import LIVE
from workers.buffer.stream import Reader
from workers.ingest import dead_letters
from workers.process import Process
from workers.risk.rebuild import rebuild_batch
from workers.settings import Settings
from workers.store import Connection
from workers.upkeep import retention

JANE = "jane.q.public@forgotten.example"
AS_SENT = " Jane.Q.Public@Forgotten.Example "
TRACES = ("jane.q.public", "forgotten.example")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, retention_days=30)


def log_of_postgres(connection: Connection) -> str:
    """All that Postgres has logged."""
    (folder,) = connection.execute("SHOW data_directory").fetchone() or ("",)
    return Path(folder).with_name("postgres.log").read_text()


def a_life(acme: TestClient) -> None:
    """All that a producer may send of her, rightly and wrongly."""
    jane = event(customer_email=AS_SENT)
    batch = [jane | {"timestamp": ago(days=40 + n), "properties": {"feature": "exports"}} for n in range(5)]
    for body in (
        jane | {"event_id": "a"},
        {"events": [*batch, event(customer_email="joe@example.com")]},
        jane | {"event": "poison", "properties": {"huge": 1}, "timestmap": "x"},
        jane | {"event": "feature-used"},
        jane | {"timestamp": "yesterday"},
        jane | {"properties": [1]},
        {"customer_email": AS_SENT},
        {"event": "login", "customer_email": AS_SENT.strip() + "@"},
        {"events": [jane | {"event": "\0"}] * 3},
        {"event": "login", "email": AS_SENT},
    ):
        acme.post("/api/v1/track", json=body)
    acme.post("/api/v1/track", content=b'{"event": "login", "customer_email": "' + AS_SENT.encode() + b'"')
    for path in ("", "/events", "/risk"):
        acme.get(f"/api/v1/customers/{JANE}{path}")
    acme.get("/api/v1/customers", params={"email": JANE[:8]})


def test_an_erased_address_is_kept_nowhere(
    acme: TestClient,
    process: Process,
    work: Callable[[], None],
    connection: Connection,
    redis: Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In no table, no key, no log: from the buffer, dead letters, a pruned timeline, a job that failed on her event."""
    caplog.set_level(logging.DEBUG)
    a_life(acme)
    connection.execute("ALTER TABLE events ADD CONSTRAINT no_poison CHECK (event <> 'poison')")
    work()
    rebuild_batch(process)
    retention.prune(process)
    account_id = int(connection.execute("SELECT account_id FROM accounts").fetchone()[0])  # type: ignore[index]
    push(redis, _unreadable(account_id))
    work()
    a_life(acme)  # this waits in the buffer
    Reader(redis, LIVE, "dead").read_left_over(60, 1000)
    Reader(redis, LIVE, "dead").read(events=10, wait_seconds=0.01)  # and this was read by a worker that died
    _fail(process)
    tables = {trace.partition(":")[0] for trace in find_traces(connection, redis, TRACES)}
    assert tables >= {"public.customers", "public.dead_letters", "b'windback"}
    letters = dead_letters.list_ids(connection, [])
    assert len(letters) == 2

    assert acme.delete(f"/api/v1/customers/{AS_SENT.strip()}").status_code == 202
    process.settings = msgspec.structs.replace(process.settings, claim_seconds=0.0)
    work()
    assert find_traces(connection, redis, TRACES) == []
    (receipt,) = find_traces(connection, redis, hashes_of(account_id, [JANE]))
    assert receipt.startswith("public.erasures: ")
    assert connection.execute("SELECT email FROM customers").fetchall() == [("joe@example.com",)]
    assert connection.execute("SELECT count(*) FROM erasures").fetchone() == (1,)
    assert acme.get(f"/api/v1/customers/{JANE}").status_code == 404
    ours = [
        str(vars(record)) for record in caplog.records if record.name.startswith(("api", "workers", "rq", "uvicorn"))
    ]
    ours += log_of_postgres(connection).splitlines()
    assert not [our for our in ours if any(trace in our.lower() for trace in TRACES)]


def _unreadable(account_id: int) -> bytes:
    """An entry with one event of hers that can't be understood."""
    bad = event(customer_email=AS_SENT, timestamp="once upon a time")
    return encode_entry(Entry(b"batch", [request(bad, account_id=account_id)]))


def _fail(process: Process) -> None:
    """A job fails for a fault of ours."""
    jobs.current = process
    process.stopping.set()
    with pytest.raises(ZeroDivisionError):
        jobs._run(lambda _: 1 / 0)
    process.stopping.clear()
    jobs.current = None
