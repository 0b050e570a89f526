"""Earlier days that are kept: they give the scores that all rows give, and hold only while those are as they were."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from scoring.look_back import LOOK_BACK
from scoring.rollup import DAY, Rollup
from tests.sending import ago
from tests.workers.events import count, event, ingested
from tests.workers.risk.long_histories import IDS, MEANING, NOW, assert_same_scores, put, put_any
from workers.buffer.entries import hash_customer
from workers.buffer.lanes import HISTORY
from workers.identities.moving import merge_known
from workers.process import Process
from workers.risk import days, earlier_days
from workers.risk.days import read_rollup
from workers.risk.earlier_days import Reach
from workers.risk.rebuild import rebuild_batch
from workers.risk.rescore import rescore_due
from workers.store import Connection
from workers.upkeep.retention import prune_rollups

SINCE = NOW - 28 * DAY
REACH = Reach(LOOK_BACK + 28, ["asked_for"], SINCE)
JANE, JOE = "jane@example.com", "joe@example.com"


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few that three rows are many."""
    monkeypatch.setattr(days, "FEW_ROWS", 3)


def read(connection: Connection, reach: Reach = REACH) -> Rollup:
    return read_rollup(connection, IDS, MEANING, reach, keeps=True)


def put_long(connection: Connection) -> None:
    """A customer with many rows of earlier days, and of some that are not."""
    for day in (0, 1, *range(40, 60)):
        put(connection, 1, "login", day)


def days_read(rollup: Rollup) -> list[int]:
    return sorted((int(NOW // DAY) - rollup.day).tolist())


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("reach", "instants"), [(REACH, [NOW]), (REACH._replace(days=2000), [NOW, NOW - 14 * DAY, SINCE])]
)
def test_what_is_kept_and_what_came_since_give_the_scores_that_all_rows_give(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, seed: int, reach: Reach, instants: list[float]
) -> None:
    """Risks of before look back from the use of then, so they are compared where nothing is out of reach."""
    monkeypatch.setattr(days, "FEW_ROWS", 8)
    chance = random.Random(seed)
    put_any(connection, chance, lambda ago: ago > 12)
    read(connection, reach._replace(since=SINCE - 12 * DAY))
    put_any(connection, chance, lambda ago: ago < 40)
    whole = read_rollup(connection, IDS, MEANING)
    for _ in range(2):
        assert_same_scores(whole, read(connection, reach), *instants)


def test_days_that_are_kept_are_not_read_again(connection: Connection) -> None:
    put_long(connection)
    assert days_read(read(connection)) == [0, 1, *range(40, 60)]
    connection.execute("DELETE FROM customer_days WHERE day < '2026-05-01'")
    put(connection, 0, "login", 1)
    found = read(connection)
    assert days_read(found) == [0, 1, 1, *range(40, 60)]
    assert Counter(found.customer.tolist()) == {0: 1, 1: 22}
    assert {found.names[code] for code in found.event} == {"login"}


@pytest.mark.parametrize(
    "other",
    [
        REACH._replace(custom_events=["asked_for", "another"]),
        REACH._replace(days=REACH.days + 1),
        REACH._replace(since=SINCE - DAY),
    ],
)
def test_for_another_reach_they_are_read_anew(connection: Connection, other: Reach) -> None:
    put_long(connection)
    read(connection)
    put(connection, 1, "feature_used", 50, "exports")
    assert days_read(read(connection, other)).count(50) == 2


def test_while_history_of_the_customer_is_to_be_rebuilt_they_do_not_hold(connection: Connection) -> None:
    put_long(connection)
    read(connection)
    put(connection, 1, "feature_used", 50, "exports")
    connection.execute("INSERT INTO rebuilds VALUES (%s, now())", [IDS[1]])
    assert days_read(read(connection)).count(50) == 2


def test_only_who_holds_the_customers_keeps_them(connection: Connection) -> None:
    put_long(connection)
    read_rollup(connection, IDS, MEANING, REACH)
    assert count(connection, "earlier_days") == 0
    read(connection)
    assert connection.execute("SELECT customer_id::text, until, oldest FROM earlier_days").fetchall() == [
        (IDS[1], datetime.fromtimestamp(SINCE, UTC).date(), datetime.fromtimestamp(NOW - 59 * DAY, UTC).date())
    ]


def test_they_are_not_kept_where_so_much_came_since_that_all_would_soon_be_read_again(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earlier_days, "MOST_SINCE", 1)
    put_long(connection)
    read(connection)
    assert count(connection, "earlier_days") == 0


def risk_of(connection: Connection, email: str) -> float:
    row = connection.execute("SELECT probability FROM customers WHERE email = %s", [email]).fetchone()
    assert row
    return float(row[0])


def scored_anew(process: Process, connection: Connection) -> float:
    """Jane's risk, with nothing kept."""
    connection.execute("TRUNCATE earlier_days")
    connection.execute("UPDATE customers SET rescore_at = now()")
    rescore_due(process)
    return risk_of(connection, JANE)


def test_history_that_arrives_late_is_scored_at_once_and_kept_after_the_rebuild(
    process: Process, connection: Connection
) -> None:
    ingested(process, *(event(timestamp=ago(days=day)) for day in (1, *range(20, 80, 3))))
    rebuild_batch(process)
    rescore_due(process)
    before = risk_of(connection, JANE)
    assert count(connection, "earlier_days") == 1
    sent = [event(timestamp=ago(days=day)) for day in range(20, 70) if day % 3 != 2]
    ingested(process, *sent, lane=HISTORY)
    connection.execute("UPDATE customers SET rescore_at = now()")
    rescore_due(process)
    after = risk_of(connection, JANE)
    assert after != pytest.approx(before, abs=1e-3)
    assert rebuild_batch(process) == 1
    assert count(connection, "earlier_days") == 0
    connection.execute("UPDATE customers SET rescore_at = now()")
    rescore_due(process)
    assert count(connection, "earlier_days") == 1
    assert risk_of(connection, JANE) == pytest.approx(after, abs=1e-6)
    assert scored_anew(process, connection) == pytest.approx(after, abs=1e-6)


def test_of_merged_customers_nothing_that_was_kept_holds(process: Process, connection: Connection) -> None:
    for email, first in ((JANE, 20), (JOE, 22)):
        ingested(process, *(event(customer_email=email, timestamp=ago(days=day)) for day in range(first, 80, 5)))
    rebuild_batch(process)
    rescore_due(process)
    assert count(connection, "earlier_days") == 2
    before = risk_of(connection, JANE)
    merge_known(connection, 1, JOE, JANE)
    assert rescore_due(process) == 1
    merged = risk_of(connection, JANE)
    assert merged != pytest.approx(before, abs=1e-3)
    rebuild_batch(process)
    assert not connection.execute("SELECT FROM earlier_days WHERE customer_id = %s", [hash_customer(1, JOE)]).fetchall()
    assert merged == pytest.approx(scored_anew(process, connection), abs=1e-6)


def test_counts_that_are_pruned_are_not_kept(connection: Connection) -> None:
    put_long(connection)
    read(connection)
    for days_ago, left in ((60, 1), (58, 0)):
        prune_rollups(connection, IDS, datetime.fromtimestamp(NOW, UTC) - timedelta(days=days_ago))
        assert count(connection, "earlier_days") == left
