"""Writers of the tables at the same time never wait in a circle."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from redis import Redis

from tests.waiting import wait_until
from tests.workers.events import event, push_events
from workers.accounts import renewals
from workers.buffer.lanes import HISTORY, LIVE
from workers.ingest.ingest import drain
from workers.process import Process
from workers.risk import renewal
from workers.risk.rebuild import rebuild_batch
from workers.risk.renewal_state import Means
from workers.risk.rescore import rescore_due
from workers.store import Connection
from workers.upkeep import erasure, retention
from workers.upkeep.erasure import erase

TURNS = 60


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "CUSTOMERS", 7)
    monkeypatch.setattr(retention, "LEAST_REST_SECONDS", 0.001)
    monkeypatch.setattr(retention, "REST", 0)
    monkeypatch.setattr(erasure, "CHUNK", 10)


def mixed(turn: int) -> list[dict[str, Any]]:
    """Events of the same few customers, in another order each time: fresh, old, again, with ids of their own."""
    now = datetime.now(UTC)
    return [
        event(customer_email=f"c{(n * 7 + turn) % 23}@example.com", event=("login", "page_viewed")[n % 2], **when)
        for n in range(40)
        for when in (
            {},
            {"event_id": f"{n}"},
            {"timestamp": (now - timedelta(days=n + turn)).isoformat()},
        )
    ]


def deadlocks(connection: Connection) -> int:
    connection.execute("SELECT pg_stat_clear_snapshot()")
    row = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
    assert row
    return int(row[0])


def test_storing_scoring_rebuilding_pruning_erasing_and_switching_models_at_once(
    process: Process, connection: Connection, redis: Redis
) -> None:
    """And in the end the counts are those of the events, kept and pruned."""
    process.settings = msgspec.structs.replace(process.settings, retention_days=30, batch_events=100, rescore_seconds=0)
    ending = threading.Event()
    failures: list[str] = []

    def repeat(work: Callable[[Process], object]) -> None:
        mine = Process(process.settings, redis)
        try:
            while not ending.is_set():
                work(mine)
        except psycopg.Error as error:
            failures.append(repr(error))
        mine.disconnect()

    def renew(mine: Process) -> None:
        renewals.request_rescore(mine.connection(), 1)
        renewal.run(mine.connection(), Means(mine.settings.levels), 1)

    connection.execute("INSERT INTO accounts (account_id, name) VALUES (1, 'acme') ON CONFLICT DO NOTHING")
    works: list[Callable[[Process], object]] = [
        *[lambda mine: drain(mine, LIVE)] * 2,
        *[lambda mine: drain(mine, HISTORY)] * 2,
        *[lambda mine: rescore_due(mine)] * 2,
        rebuild_batch,
        retention.prune,
        lambda mine: erase(mine.connection(), 1, "c3@example.com"),
        renew,
    ]
    threads = [threading.Thread(target=repeat, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for turn in range(TURNS):
        push_events(redis, *mixed(turn))
        push_events(redis, *mixed(turn + 1), lane=HISTORY)
    wait_until(lambda: failures or not (redis.xlen(LIVE.stream) or redis.xlen(HISTORY.stream)), timeout=120)
    ending.set()
    for thread in threads:
        thread.join()
    assert (failures, deadlocks(connection)) == ([], 0)
    erase(connection, 1, "c3@example.com")
    counted = connection.execute(
        """SELECT (SELECT sum(n) FROM customer_days),
        (SELECT count(*) FROM events) + (SELECT coalesce(sum(cardinality(keys)), 0) FROM pruned)"""
    ).fetchone()
    assert counted
    assert counted[0] == counted[1]


def test_two_workers_on_the_same_new_customers_never_wait_in_a_circle(
    process: Process, connection: Connection, redis: Redis
) -> None:
    """Their batches hold the same customers, who were never seen before, in other orders."""
    process.settings = msgspec.structs.replace(process.settings, batch_events=200)
    for turn in range(30):
        fresh = [event(customer_email=f"c{turn}-{n}@example.com") for n in range(200)]
        push_events(redis, *(fresh if turn % 2 else reversed(fresh)))
        push_events(redis, *(reversed(fresh) if turn % 2 else fresh))
    workers = [Process(process.settings, redis) for _ in range(2)]

    def drain_all(worker: Process) -> None:
        while redis.xlen(LIVE.stream):  # a ticket has a few seconds, which a busy machine exceeds
            drain(worker, LIVE)

    threads = [threading.Thread(target=drain_all, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers:
        worker.disconnect()
    assert deadlocks(connection) == 0
    assert connection.execute("SELECT count(*), min(n), max(n) FROM customer_days").fetchone() == (6000, 2, 2)
