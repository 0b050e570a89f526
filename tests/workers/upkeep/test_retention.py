import threading
import time
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from redis import Redis

from tests.sending import ago
from tests.waiting import wait_until
from tests.workers.events import count, event, push_events
from tests.workers.worlds import account
from workers import clock
from workers.accounts import mappings
from workers.buffer.lanes import HISTORY, LIVE
from workers.ingest import dead_letters
from workers.ingest.ingest import drain
from workers.ingest.transaction import Outcome
from workers.process import Process
from workers.risk.rescore import rescore_due
from workers.settings import Settings, SettingsError, load
from workers.store import Connection, connect
from workers.store.locks import Lock, share
from workers.upkeep import retention, totals

JOE = "joe@example.com"
ROLLUP = "SELECT customer_id, day, event, detail, n, value, last_at, plan FROM customer_days ORDER BY 1, 2, 3, 4"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Events are kept for 30 days, counts for 400."""
    return msgspec.structs.replace(settings, retention_days=30, rollup_retention_days=400)


def ingested(process: Process, *events: dict[str, Any]) -> Outcome:
    push_events(process.redis, *events, lane=HISTORY)
    return drain(process, HISTORY)


def a_pass(process: Process) -> None:
    """Prune until a pass is through."""
    process.redis.delete(process.key(retention.RESTING))
    while not process.redis.exists(process.key(retention.RESTING)):
        retention.prune(process)


def ages(connection: Connection, table: str, column: str) -> list[int]:
    """The ages of the rows in whole days, the youngest first."""
    rows = connection.execute(
        f"SELECT extract(epoch FROM now() - {column})::float8 / 86400 AS age FROM {table} ORDER BY 1"
    )
    return [int(age) for (age,) in rows]


def test_events_go_and_what_was_counted_stays(process: Process, connection: Connection) -> None:
    ingested(process, *[event(timestamp=ago(days=days), event="login") for days in (1, 29, 31, 100)])
    ingested(process, event(timestamp=ago(days=31), customer_email=JOE))
    seen = "SELECT customer_id, first_seen, last_seen FROM customers ORDER BY 1"
    before = connection.execute(ROLLUP).fetchall(), connection.execute(seen).fetchall()
    a_pass(process)
    assert ages(connection, "events", "occurred_at") == [1, 29]
    assert (connection.execute(ROLLUP).fetchall(), connection.execute(seen).fetchall()) == before


def test_a_risk_is_the_same_without_its_old_events(process: Process, connection: Connection) -> None:
    ingested(process, *[event(timestamp=ago(days=days), event="login") for days in range(2, 90, 3)])
    rescore_due(process)
    a_pass(process)
    scored = "SELECT round(probability::numeric, 4), level, reasons FROM customers"
    before = connection.execute(scored).fetchall()
    connection.execute("UPDATE customers SET rescore_at = now()")
    assert rescore_due(process) == 1
    assert connection.execute(scored).fetchall() == before


def test_an_import_that_is_run_again_adds_nothing(process: Process, connection: Connection) -> None:
    """It makes no difference if its events were pruned, are there, or are new, nor how the settings have changed."""
    sent = [event(timestamp=ago(days=days), properties={"days": days}) for days in (1, 31, 32, 64, 200)]
    sent += [event(timestamp=ago(days=60), event_id="a"), event(timestamp=ago(days=500), customer_email=JOE)]
    assert ingested(process, *sent).stored == 7
    a_pass(process)
    before = connection.execute(ROLLUP).fetchall()
    new = event(timestamp=ago(days=64), properties={"days": "new"})
    assert ingested(process, *sent, new) == Outcome(stored=1, duplicate=7)
    a_pass(process)
    forever = Process(msgspec.structs.replace(process.settings, retention_days=None), process.redis)
    assert ingested(forever, *sent, new) == Outcome(duplicate=8)
    forever.disconnect()
    assert sum(row[4] for row in connection.execute(ROLLUP)) == sum(row[4] for row in before) + 1
    assert count(connection, "events") == 1


def test_a_replayed_dead_letter_that_was_stored_and_pruned_adds_nothing(
    process: Process, connection: Connection
) -> None:
    ingested(process, event(timestamp=ago(days=31), properties={"a": "\0"}))
    connection.execute("CREATE TABLE kept AS SELECT * FROM dead_letters")
    mended = r"UPDATE dead_letters SET body = decode(replace(encode(body, 'escape'), '\\\\u0000', ''), 'escape')"
    outcomes = []
    for _ in range(2):
        connection.execute(mended)
        outcomes += [one.outcome for one in dead_letters.replay(connection, dead_letters.list_ids(connection, []), 5)]
        a_pass(process)
        connection.execute("INSERT INTO dead_letters SELECT * FROM kept")
    assert outcomes == [Outcome(stored=1), Outcome(duplicate=1)]


def test_counts_and_risks_go_later_but_for_the_last_of_each_event(process: Process, connection: Connection) -> None:
    sent = [event(timestamp=ago(days=days), event="login") for days in (1, 399, 402, 500)]
    sent += [event(timestamp=ago(days=days), event="invoice_overdue") for days in (600, 700)]
    ingested(process, *sent)
    for days in (1, 399, 402):
        for table in ("risk_history", "risk_rebuilt"):
            connection.execute(
                f"INSERT INTO {table} SELECT customer_id, %s, 0.1, 'low', 'active', 'prior-1' FROM customers",
                [ago(days=days)],
            )
    a_pass(process)
    assert ages(connection, "risk_history", "at") == ages(connection, "risk_rebuilt", "at") == [1, 399]
    assert ages(connection, "customer_days", "last_at") == [1, 399, 600]
    months = {date.fromisoformat(ago(days=days)[:7] + "-01") for days in (399, 600)}
    assert {month for (month,) in connection.execute("SELECT month FROM pruned")} >= months
    counted = connection.execute(ROLLUP).fetchall()
    assert ingested(process, *sent[-2:]).duplicate >= 1
    a_pass(process)
    assert connection.execute(ROLLUP).fetchall() == counted


@pytest.mark.parametrize("name", ["invoice_overdue", "Charge Failed"])
def test_an_invoice_that_was_paid_stays_paid(process: Process, connection: Connection, name: str) -> None:
    """The last overdue one is never pruned, so its payment isn't either; other payments go."""
    assert account(connection) == 1
    mappings.add_mappings(connection, 1, {} if name == "invoice_overdue" else {name: "invoice_overdue"}, force=True)
    bills = [(name, 600, "in_1"), *(("invoice_paid", 590 - number, f"in_{number}") for number in (0, 1, 2, 3))]
    sent = [
        event(event=what, timestamp=ago(days=days), properties={"invoice_id": invoice}) for what, days, invoice in bills
    ]
    ingested(process, *sent, event(event="invoice_paid", properties={"invoice_id": "in_9"}))
    a_pass(process)
    details = connection.execute("SELECT event, detail FROM customer_days WHERE detail <> '' ORDER BY 2, 1").fetchall()
    kept = {(name, "invoice:in_1"), ("invoice_paid", "invoice:in_1"), ("invoice_paid", "invoice:in_9")}
    assert set(details) == kept
    rescore_due(process)
    assert connection.execute("SELECT overdue_since FROM customers").fetchall() == [(None,)]


def test_old_event_ids_and_dead_letters_are_forgotten(process: Process, connection: Connection) -> None:
    ingested(process, event(event_id="old"), event(event_id="new"), event(properties={"a": "\0"}))
    ingested(process, event(properties={"b": "\0"}))
    old = "UPDATE event_ids SET received_at = now() - interval '36 days' WHERE event_key = %s"
    connection.execute(old, connection.execute("SELECT min(event_key) FROM event_ids").fetchone())
    connection.execute(
        """UPDATE dead_letters SET received_at = now() - interval '31 days'
        WHERE dead_letter_id = (SELECT min(dead_letter_id::text)::uuid FROM dead_letters)"""
    )
    a_pass(process)
    assert (count(connection, "event_ids"), count(connection, "dead_letters")) == (1, 1)


def test_unless_it_is_told_to_it_keeps_everything(process: Process, connection: Connection) -> None:
    keeping = Process(Settings(**{**msgspec.structs.asdict(process.settings), **UNSET}), process.redis)
    ingested(keeping, *[event(timestamp=ago(days=days)) for days in (1, 1000, 5000)], event(properties={"a": "\0"}))
    connection.execute("UPDATE dead_letters SET received_at = '2010-01-01'")
    a_pass(keeping)
    keeping.disconnect()
    tables = ("events", "customer_days", "dead_letters", "pruned")
    assert [count(connection, table) for table in tables] == [3, 3, 1, 0]


UNSET = {"retention_days": None, "rollup_retention_days": None}


def test_a_pass_goes_in_small_steps_and_goes_on_where_it_was(
    process: Process, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More rows than a step takes, more customers than a step looks at, a clock that takes over."""
    monkeypatch.setattr(retention, "ROWS", 3)
    monkeypatch.setattr(retention, "CUSTOMERS", 2)
    monkeypatch.setattr(retention, "BUDGET_SECONDS", 0.0001)
    emails = [f"c{n}@example.com" for n in range(7)]
    ingested(process, *[event(timestamp=ago(days=40 + n), customer_email=email) for email in emails for n in range(5)])
    ticks, left = 0, [35]
    while not process.redis.exists(process.key(retention.RESTING)):
        another = Process(process.settings, process.redis)
        retention.prune(another)
        another.disconnect()
        ticks += 1
        left.append(count(connection, "events"))
    assert ticks > 10
    assert all(0 <= before - after <= 3 for before, after in pairwise(left))
    assert (left[-1], process.redis.exists(process.key(retention.STATE))) == (0, 0)
    retention.prune(process)  # it rests
    assert 0 < process.redis.pttl(process.key(retention.RESTING)) < 1_000_000


def test_events_that_come_again_while_they_are_pruned_are_counted_once(
    process: Process, connection: Connection, database_url: str
) -> None:
    sent = [
        event(timestamp=ago(days=31 + n % 40), properties={"n": n}, customer_email=f"c{n % 9}@example.com")
        for n in range(90)
    ]
    ingested(process, *sent)
    ending = threading.Event()
    pruner = threading.Thread(target=_prune_until, args=(process.settings, process.redis, ending))
    pruner.start()
    again = Outcome()
    for turn in range(40):
        again += ingested(process, *sent[turn::3])
    ending.set()
    pruner.join()
    assert again.stored == 0
    assert connection.execute("SELECT sum(n) FROM customer_days").fetchone() == (90,)
    a_pass(process)
    assert connection.execute("SELECT sum(cardinality(keys)) FROM pruned").fetchone() == (90,)


def test_what_was_counted_beside_a_longer_transaction_goes_though_nothing_follows(
    process: Process, connection: Connection, database_url: str
) -> None:
    """The last tally has seen the event, which was stored by a later transaction than one that it hasn't."""
    with connect(database_url) as longer, longer.transaction():
        longer.execute("SELECT pg_current_xact_id()")
        ingested(process, event(timestamp=ago(days=31)))
        totals.tally(connection)
    a_pass(process)
    assert count(connection, "events") == 0


def _prune_until(settings: Settings, redis: Redis, ending: threading.Event) -> None:
    pruning = Process(settings, redis)
    while not ending.is_set():
        a_pass(pruning)
    pruning.disconnect()


def test_pruning_gets_its_turn_while_an_import_runs(
    process: Process, connection: Connection, database_url: str
) -> None:
    """Two workers store without a pause, one batch always overlapping the other's."""
    ingested(process, event(timestamp=ago(days=31), customer_email=JOE))
    ending = threading.Event()

    def store() -> None:
        with connect(database_url) as mine:
            while not ending.is_set():
                with mine.transaction():
                    share(mine, Lock.PRUNING)
                    mine.execute("SELECT pg_sleep(0.3)")  # as long as a large batch takes

    threads = [threading.Thread(target=store) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            retention.prune(process)
            if count(connection, "events") == 0:
                break
        assert count(connection, "events") == 0
    finally:
        ending.set()
        for thread in threads:
            thread.join()


def test_pruning_waits_for_who_stores_old_events_and_for_nobody_else(
    process: Process, connection: Connection, database_url: str
) -> None:
    ingested(process, event(timestamp=ago(days=31)))
    pruner = threading.Thread(target=a_pass, args=(process,))
    with connect(database_url) as storing, storing.transaction():
        share(storing, Lock.PRUNING)
        pruner.start()
        wait_until(lambda: _somebody_waits(connection))
        live = Process(process.settings, process.redis)
        push_events(live.redis, event(), event(event_id="a"))
        assert drain(live, LIVE).stored == 2
        live.disconnect()
    pruner.join()
    assert ages(connection, "events", "occurred_at") == [0, 0]


def test_who_stores_old_events_for_long_is_not_waited_for(
    process: Process, connection: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by the clock, nor by those who would queue up behind it; the next tick goes on."""
    monkeypatch.setattr(retention, "WAIT_SECONDS", 0.1)
    ingested(process, event(timestamp=ago(days=31)))
    with connect(database_url) as storing, storing.transaction():
        share(storing, Lock.PRUNING)
        for _ in range(3):
            retention.prune(process)
        assert not process.redis.exists(process.key(retention.RESTING))
    a_pass(process)
    assert count(connection, "events") == 0


def _somebody_waits(connection: Connection) -> bool:
    row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
    return bool(row and row[0])


def test_the_clock_prunes(process: Process, connection: Connection) -> None:
    ingested(process, event(timestamp=ago(days=31)))
    thread = threading.Thread(target=clock.run, args=(process,))
    thread.start()
    try:
        wait_until(lambda: count(connection, "events") == 0, timeout=60)
    finally:
        process.stopping.set()
        thread.join()


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"WINDBACK_RETENTION_DAYS": "0"}, "WINDBACK_RETENTION_DAYS"),
        ({"WINDBACK_RETENTION_DAYS": "30", "WINDBACK_ROLLUP_RETENTION_DAYS": "30"}, "WINDBACK_ROLLUP_RETENTION_DAYS"),
        ({"WINDBACK_ROLLUP_RETENTION_DAYS": "400"}, "WINDBACK_RETENTION_DAYS"),
        ({"WINDBACK_RETENTION_DAYS": "500", "WINDBACK_ROLLUP_RETENTION_DAYS": "400"}, "WINDBACK_RETENTION_DAYS"),
    ],
)
def test_what_would_harm_is_refused(environment: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=f"^{named} "):
        load(environment)


def test_a_step_is_far_younger_than_what_may_be_pruned() -> None:
    """Events that are not looked up among the pruned can't have been pruned: a day is the least retention."""
    moments = retention.before(Settings(retention_days=1), datetime.now(UTC))
    assert moments.events
    assert moments.events.timestamp() < time.time() - retention.RECENT_SECONDS
