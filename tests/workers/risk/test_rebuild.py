import random
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from scoring.model import PRIOR
from scoring.rollup import DAY
from scoring.score import risks_at, score
from tests.scoring.world import NOW, logins, rollup, row
from tests.workers.events import count, event, push_events
from workers import tickets
from workers.buffer.lanes import HISTORY, LIVE
from workers.ingest.ingest import drain
from workers.process import Process
from workers.risk import rebuild, rescore
from workers.risk.rebuild import MONDAY, WEEK, list_mondays, rebuild_batch
from workers.store import Connection


def history() -> list[dict[str, Any]]:
    """The events of two customers in the last 100 days, in order."""
    now = datetime.now(UTC).replace(microsecond=0)
    names = ["login", "feature_used", "login", "invoice_overdue", "support_ticket_opened", "nps_response"]
    return [
        event(
            event=names[n % len(names)],
            customer_email=f"c{n % 2}@example.com",
            timestamp=(now - timedelta(days=100 - n, minutes=n)).isoformat(),
            properties={"score": n % 11, "plan": f"p{n % 3}", "feature": f"f{n % 5}", "duration_seconds": n},
        )
        for n in range(98)
    ]


def imported(process: Process, events: list[dict[str, Any]], at_once: int) -> None:
    for start in range(0, len(events), at_once):
        push_events(process.redis, *events[start : start + at_once], lane=HISTORY)
        drain(process, HISTORY)


def state(connection: Connection) -> Any:
    """Everything that the order could have changed."""
    tables = {
        "days": """SELECT email, day, event, detail, n, value, last_at, days.plan
                FROM customer_days AS days JOIN customers USING (customer_id)""",
        "risks": """SELECT email, at, round(past.probability::numeric, 5), past.level, past.state
                 FROM risk_rebuilt AS past JOIN customers USING (customer_id)""",
        "customers": """SELECT email, first_seen, last_seen, round(probability::numeric, 4), level, state, plan,
                     open_tickets, overdue_since, nps FROM customers""",
    }
    return {name: sorted(connection.execute(query).fetchall(), key=repr) for name, query in tables.items()}


@pytest.mark.parametrize(("seed", "at_once"), [(1, 98), (2, 13), (3, 5)])
def test_history_in_any_order_gives_the_same_as_the_events_live(
    process: Process, connection: Connection, seed: int, at_once: int
) -> None:
    """Rollup, risk and the risk of the past: rebuilding meanwhile does not show."""
    events = history()
    for number, one in enumerate(events):
        push_events(process.redis, one)
        if number % 10 == 9:
            drain(process, LIVE)
    drain(process, LIVE)
    rebuild_batch(process)
    rescore.drain(process)
    live = state(connection)
    assert len(live["risks"]) >= 26
    connection.execute("TRUNCATE events, customers, customer_days, risk_history, risk_rebuilt, rebuilds")
    random.Random(seed).shuffle(events)
    imported(process, events[:40], at_once)
    rebuild_batch(process)
    imported(process, events[40:], at_once)
    rebuild_batch(process)
    rescore.drain(process)
    assert state(connection) == live


def test_what_was_really_said_stands(process: Process, connection: Connection) -> None:
    push_events(process.redis, event(customer_email="c0@example.com"))
    drain(process, LIVE)
    rescore.drain(process)
    connection.execute("UPDATE risk_history SET at = now() - interval '50 days'")
    imported(process, history(), 98)
    rebuild_batch(process)
    spans = """SELECT max(at) < now() - interval '50 days' FROM risk_rebuilt JOIN customers USING (customer_id)
        GROUP BY email ORDER BY email"""
    assert connection.execute(spans).fetchall() == [(True,), (False,)]
    assert count(connection, "risk_history") == 1


def test_live_events_are_no_history(process: Process, connection: Connection) -> None:
    push_events(process.redis, event(), event(timestamp=datetime.now(UTC).isoformat()))
    drain(process, LIVE)
    assert count(connection, "rebuilds") == 0


def test_the_clock_calls_once_all_history_is_stored(process: Process, connection: Connection) -> None:
    imported(process, history(), 98)
    process.redis.delete(*process.redis.keys("windback:rq:*") or ["none"])
    push_events(process.redis, event(timestamp="2025-12-01"), lane=HISTORY)
    rebuild.issue_job(process)
    assert tickets.count_waiting(process.redis, HISTORY.queue) == 0
    drain(process, HISTORY)
    process.redis.delete(*process.redis.keys("windback:rq:*") or ["none"])
    rebuild.issue_job(process)
    rebuild.issue_job(process)
    assert tickets.count_waiting(process.redis, HISTORY.queue) == 1
    rebuild.drain(process)
    assert count(connection, "rebuilds") == 0


def test_points_are_mondays_the_latest_of_them() -> None:
    assert list_mondays(MONDAY, MONDAY + 2 * WEEK).tolist() == [MONDAY, MONDAY + WEEK]
    assert list_mondays(MONDAY + 1, MONDAY + 2 * WEEK + 1).tolist() == [MONDAY + WEEK, MONDAY + 2 * WEEK]
    assert list_mondays(MONDAY, MONDAY + 9 * WEEK, most=2).tolist() == [MONDAY + 7 * WEEK, MONDAY + 8 * WEEK]
    assert list_mondays(MONDAY + WEEK, MONDAY).tolist() == []


def test_a_risk_of_the_past_is_the_one_that_would_have_been_given() -> None:
    known = rollup(*logins(1, 5, 8, 20, 40), row("invoice_overdue", 10), *logins(3, 30, customer=1), customers=2)
    instants = np.array([NOW - 25 * DAY, NOW - 6 * DAY, NOW - 2 * DAY])
    then, _ = risks_at(known, np.array([0, 0, 1]), instants, 30, PRIOR)
    said = [score(known.until(at), at).probability[who] for who, at in zip((0, 0, 1), instants.tolist(), strict=True)]
    assert then.tolist() == pytest.approx(said)


def test_a_customer_who_is_being_scored_is_rebuilt_the_next_time(process: Process, connection: Connection) -> None:
    """Both count how customers move between the levels: at the same time, both would count the first one."""
    imported(process, history(), 98)
    scorer = Process(process.settings, process.redis)
    with scorer.connection().transaction():
        assert rescore.rescore_due(scorer) == 2
        assert rebuild_batch(process) == 0
    scorer.disconnect()
    assert rebuild_batch(process) == 2
    levels = connection.execute("SELECT sum(customers) FROM risk_moves").fetchone()
    assert levels == (2,)
