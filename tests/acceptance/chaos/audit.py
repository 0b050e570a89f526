"""The promises that hold once all is quiet, whatever happened before. Each check returns its findings in words: an
empty list is good."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from psycopg.rows import namedtuple_row

from scoring.levels import LevelBounds
from scoring.model import PRIOR
from scoring.score import STATES, score
from tests.acceptance.chaos.producer import Sent
from workers.buffer.rows import read_content
from workers.risk.days import read_rollup
from workers.store import Connection

SHOWN = 5  # examples of a finding
SCORE_SLACK = timedelta(seconds=1)  # between a transaction's begin, which dates the score, and the look at what is due
# An event whose user id has no address yet came when the buffer's clock says, and happened when the door's says.
WAITING_SLACK = timedelta(seconds=5)

STORED_AT = """CASE current_setting('track_commit_timestamp') WHEN 'on' THEN pg_xact_commit_timestamp(xmin)
            ELSE received_at END"""
KEPT = """WHERE customer_id NOT IN (
    SELECT customer_id FROM customers JOIN accounts USING (account_id) WHERE accounts.name = 'past'
)"""  # all but the account whose events are pruned, see past.py
EVENTS = f"""
SELECT customer_id::text, occurred_at, event, coalesce(properties, '{{}}') AS properties, properties::text AS body,
       received_at, least(occurred_at, received_at) AS seen_at,
       {STORED_AT} AS stored_at
FROM events {KEPT}
"""
CUSTOMERS = f"""
SELECT customer_id::text, email, first_seen, last_seen, scored_at, probability, level, state, open_tickets
FROM customers {KEPT}
"""
DAYS = f"SELECT customer_id::text, day, event, detail, n, value, last_at, plan FROM customer_days {KEPT}"
QUIET = """
SELECT NOT EXISTS (SELECT FROM customers WHERE rescore_at <= now() + interval '6 s' OR scored_at IS NULL)
   AND NOT EXISTS (SELECT FROM rebuilds) AND NOT EXISTS (SELECT FROM news)
   AND NOT EXISTS (SELECT FROM identities WHERE has_waiting OR next_email IS NOT NULL)
   AND NOT EXISTS (SELECT FROM ledger_moves) AND NOT EXISTS (SELECT FROM forwards)
"""


class Day(NamedTuple):
    """A row of the rollup. `plan` is None where it isn't known which of several it must be."""

    n: int
    value: float
    last_at: datetime
    plan: str | None


def all_of(connections: Sequence[Connection], sent: Mapping[str, Sent], are_copied: bool = False) -> Iterator[str]:
    """Everything that the Postgres of each cell can be asked. Of rows that were copied to another cell or server, the
    time at which they were stored isn't known: they were, after they had been received."""
    events = EVENTS.replace(STORED_AT, "received_at") if are_copied else EVENTS
    by_cell = [rows(connection, events) for connection in connections]
    yield from once([row for stored in by_cell for row in stored], sent)
    for connection, stored in zip(connections, by_cell, strict=True):
        yield from derived(connection, stored)


def derived(connection: Connection, stored: list[Any]) -> Iterator[str]:
    """All that is computed from events."""
    yield from rollup(stored, rows(connection, DAYS))
    customers = rows(connection, CUSTOMERS)
    yield from seen(stored, customers)
    yield from scored(connection, stored, customers)
    yield from risks(connection)


def rows(connection: Connection, query: str) -> list[Any]:
    """All rows, with their columns as attributes."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute(query).fetchall()


def gather(connections: Sequence[Connection], query: str) -> list[Any]:
    """All rows of all cells."""
    return [row for connection in connections for row in rows(connection, query)]


def once(stored: list[Any], sent: Mapping[str, Sent]) -> Iterator[str]:
    """Acknowledged events are there once and as they were sent, others at most once, and nothing else."""
    times = Counter(row.properties.get("mark") for row in stored)
    yield from describe("lost", (mark for mark, one in sent.items() if one.acknowledged and not times[mark]))
    yield from describe("stored twice", (mark for mark, n in times.items() if n > 1))
    yield from describe("sent by nobody", (mark for mark in times if mark not in sent))
    pairs = [(row, sent[row.properties["mark"]].event) for row in stored if row.properties.get("mark") in sent]
    yield from describe("stored otherwise", (row for row, event in pairs if not _as_sent(row, event)))


def find_lost(connections: Sequence[Connection], sent: Mapping[str, Sent]) -> list[Sent]:
    """Returns what was acknowledged and is not there."""
    marks = "SELECT properties ->> 'mark' AS mark FROM events"
    there = {row.mark for row in gather(connections, marks)}
    return [each for mark, each in sent.items() if each.acknowledged and mark not in there]


def _as_sent(row: Any, event: Mapping[str, Any]) -> bool:
    timestamp = event.get("timestamp")
    at = datetime.fromisoformat(timestamp) if timestamp else row.received_at
    slack = WAITING_SLACK if not timestamp and "user_id" in event else timedelta(0)
    is_then = abs(row.occurred_at - at) <= slack
    return bool(is_then and (row.event, row.properties) == (event["event"], event["properties"]))


def rollup(stored: list[Any], days: list[Any]) -> Iterator[str]:
    """The rollup is what a recount of the events gives."""
    kept = {(row.customer_id, row.day, row.event, row.detail): row for row in days}
    counted = recount(stored)
    yield from describe("a day without events", kept.keys() - counted.keys())
    yield from describe("a day that is missing", counted.keys() - kept.keys())
    for key in counted.keys() & kept.keys():
        day, row = counted[key], kept[key]
        if (day.n, day.last_at) != (row.n, row.last_at) or abs(day.value - row.value) > 1e-6:
            yield f"a day is {row}, and should be {day}"
        if day.plan is not None and row.plan != day.plan:
            yield f"the plan of {row} should be {day.plan}"


def recount(stored: list[Any]) -> dict[tuple[str, Any, str, str], Day]:
    """The rollup, from events."""
    groups: defaultdict[tuple[str, Any, str, str], list[tuple[datetime, float, str | None]]] = defaultdict(list)
    for row in stored:
        content = read_content(row.event, (row.body or "{}").encode())
        key = (row.customer_id, row.seen_at.astimezone(UTC).date(), row.event, content.detail)
        groups[key].append((row.seen_at, content.value, content.plan))
    return {key: _day(group) for key, group in groups.items()}


def _day(group: list[tuple[datetime, float, str | None]]) -> Day:
    last_at = max(at for at, _, _ in group)
    last_plans = {plan for at, _, plan in group if at == last_at}
    return Day(len(group), sum(v for _, v, _ in group), last_at, last_plans.pop() if len(last_plans) == 1 else None)


def seen(stored: list[Any], customers: list[Any]) -> Iterator[str]:
    """Every customer is there, and their first and last events are known."""
    moments = defaultdict(list)
    for row in stored:
        moments[row.customer_id].append(row.seen_at)
    yield from describe("a customer too many", {customer.customer_id for customer in customers} - moments.keys())
    yield from describe("a customer is missing", moments.keys() - {customer.customer_id for customer in customers})
    for one in customers:
        span = (min(moments[one.customer_id]), max(moments[one.customer_id])) if moments[one.customer_id] else None
        if span and span != (one.first_seen, one.last_seen):
            yield f"{one.email} was seen {one.first_seen} … {one.last_seen}, and should be {span[0]} … {span[1]}"


def scored(connection: Connection, stored: list[Any], customers: list[Any]) -> Iterator[str]:
    """Every customer's score is later than their last event, and is what the rollup gives as of that moment."""
    last: dict[str, datetime] = {}
    for row in stored:
        last[row.customer_id] = max(row.stored_at, last.get(row.customer_id, row.stored_at))
    yield from describe("never scored", (customer.email for customer in customers if customer.scored_at is None))
    known = [customer for customer in customers if customer.scored_at is not None]
    for one in known:
        if one.customer_id in last and one.scored_at < last[one.customer_id] - SCORE_SLACK:
            yield f"{one.email} was scored {one.scored_at}, before the last event was stored, {last[one.customer_id]}"
    days, levels = read_rollup(connection, [one.customer_id for one in known]), LevelBounds()
    for at in sorted({one.scored_at for one in known}):
        chosen = np.array([number for number, one in enumerate(known) if one.scored_at == at])
        instants = np.full(len(chosen), at.timestamp())
        scores = score(days.at(chosen, instants), at.timestamp(), levels=levels, model=PRIOR)
        for number, place in enumerate(chosen.tolist()):
            one, probability = known[place], float(scores.probability[number])
            fresh = (levels.name(probability), STATES[scores.state[number]], scores.open_tickets[number])
            if abs(one.probability - probability) > 1e-6 or (one.level, one.state, one.open_tickets) != fresh:
                yield f"{one.email} has {one.probability} {one.level}, and should have {probability} {fresh}"


def risks(connection: Connection) -> Iterator[str]:
    """The history of the risk ends where the risk is."""
    wrong = """
        SELECT email FROM customers LEFT JOIN LATERAL (
            SELECT * FROM risk_history WHERE risk_history.customer_id = customers.customer_id ORDER BY at DESC LIMIT 1
        ) AS last ON true
        WHERE last.at IS NULL OR (last.level, last.state, last.at) IS DISTINCT FROM
              (customers.level, customers.state, customers.recorded_at) OR customers.probability NOT BETWEEN 0 AND 1
    """
    yield from describe("the history of the risk ends otherwise", (row.email for row in rows(connection, wrong)))
    orphans = "SELECT customer_id FROM risk_history WHERE customer_id NOT IN (SELECT customer_id FROM customers)"
    yield from describe("a risk of nobody", rows(connection, orphans))


def quiet(connection: Connection) -> bool:
    """Returns whether nobody is due, or will be as soon as a customer may be scored again, and nothing is to be rebuilt
    or moved."""
    row = connection.execute(QUIET).fetchone()
    return bool(row and row[0])


def describe(what: str, found: Any) -> Iterator[str]:
    some = list(found)
    if some:
        yield f"{what}: {len(some)}, such as {', '.join(map(str, some[:SHOWN]))}"
