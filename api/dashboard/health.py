"""Is everything working? Events arriving, waiting and missing, and scores, in words."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from starlette.requests import Request

from api.dashboard.filters import count, number, span
from api.dashboard.remedies import is_refusal
from api.dashboard.zones import local, offset
from api.health import probes
from api.health.probes import NO_CLOCK, PipelineState
from api.reading.common import fetch, fetch_all
from api.reading.merging import add_up
from scoring.outages import HOUR, WEEK_HOURS
from workers import warnings
from workers.accounts.renewals import RenewalProgress
from workers.redis import REDIS_AWAY
from workers.store import sql
from workers.tracking import volume

LATE_SECONDS = 300.0  # scores may lag behind this long before a warning
MOST_DEAD = 1000  # dead letters counted at most
REFUSED_SHARE = 0.05  # of the events of a day
HOURS = 24
MISSING = "Accepted events are unaccounted for. `windback status` shows how many."

Mark = Literal["good", "none", "warn", "bad"]


class Check(NamedTuple):
    """One check: its mark (`none`: can't tell), its title, the finding, and the page with more, if there is one."""

    mark: Mark
    title: str
    text: str
    address: str | None = None


class StoreHealth(NamedTuple):
    """From Postgres, all of the account: the start of an open outage of tracking, dead letters, stored events and the
    last of them, and the lag of the scores."""

    out_since: datetime | None
    dead_letters: int
    events: int
    last_at: datetime | None
    due_seconds: float


class Traffic(NamedTuple):
    """From Redis: the account's live events an hour, of the last hour and of the last 24 hours."""

    last_hour: float
    last_day: int


async def run_checks(request: Request, account_id: int) -> list[Check]:
    """All checks, in the order of the page. Every figure is the account's own. Raises Refused, store_unavailable."""
    door = request.app.state.door
    line = await probes.read_pipeline(door.redis, door.buffers.by_cell)
    cells = await fetch_all(request, sql("account_health"), {"account_id": account_id, "limit": MOST_DEAD + 1})
    (row,) = add_up(cells, last_at=max, due_seconds=max)
    outage = await fetch(request, sql("find_open_outage"), {"account_id": account_id})
    stored = StoreHealth(outage[0]["began_at"] if outage else None, **row)
    if line is None:
        text = "Redis doesn't answer. Events are refused until it does; your product has to send them again."
        return [Check("bad", "Events are refused", text)]
    traffic = await _read_traffic(request, account_id)
    return [
        *await _check_refused(request, account_id, traffic),
        _check_arriving(traffic, stored),
        _check_waiting(line, stored),
        await _check_durable(request, line, stored),
        *_check_dead(stored),
        _check_working(line, stored),
    ]


async def _check_refused(request: Request, account_id: int, traffic: Traffic | None) -> list[Check]:
    """A warning if over REFUSED_SHARE of the events of the last day were refused."""
    door = request.app.state.door
    try:
        await door.warnings.flush(door.redis)
        counts = await warnings.count_last_day(door.redis, account_id, datetime.now(UTC))
    except REDIS_AWAY:
        return []
    refused = sum(number for code, number in counts.items() if is_refusal(code))
    sent = refused + (traffic.last_day if traffic else 0)
    if refused <= REFUSED_SHARE * sent:
        return []
    text = f"{number(refused)} of about {number(sent)} events of the last day. See the reasons and what to do."
    return [Check("bad" if refused > sent / 2 else "warn", "Events were refused", text, "/events#problems")]


def _check_arriving(traffic: Traffic | None, stored: StoreHealth) -> Check:
    if stored.out_since:
        here = local(stored.out_since)
        since = f"{here:%-d %b, %H:%M} {offset(here)}"
        text = f"Almost no events since {since}. Risks are frozen until events arrive again. Check your product."
        return Check("bad", "Tracking seems to be down", text)
    if not stored.events and not (traffic and traffic.last_day):
        return Check("none", "No events yet", "Send the first one. It is stored within seconds.")
    if not traffic or not traffic.last_hour:
        return Check("none", "No live events in the last hour", "That may be normal for this hour.")
    received = count(max(round(traffic.last_hour), 1), "event")
    return Check("good", "Events arrive", f"{received} arrived in the last hour, imported history aside.")


def _check_waiting(line: PipelineState, stored: StoreHealth) -> Check:
    if stalled := probes.describe_buffer(line.ledgers, None):
        return Check("bad", "Events are not stored", f"{stalled[0].upper()}{stalled[1:]}.")
    oldest = max((ledger.oldest_seconds for ledger in line.ledgers.values() if ledger.buffered), default=None)
    if oldest is not None:
        return Check("good", "Being stored", f"The oldest event in the buffer has waited {span(oldest)}.")
    if stored.last_at is None:
        return Check("good", "Ready to store", "No event is waiting.")
    return Check("good", "Stored", f"No event is waiting. The latest one happened {_describe_age(stored.last_at)}.")


def _describe_age(at: datetime) -> str:
    seconds = (datetime.now(UTC) - at).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 1 else "just now"


async def _check_durable(request: Request, line: PipelineState, stored: StoreHealth) -> Check:
    if any(ledger.unaccounted for ledger in line.ledgers.values()):
        return Check("bad", "Events are missing", MISSING)
    if risk := await probes.find_redis_warning(request.app.state.door.redis):
        return Check("warn", "Events could be lost", f"{risk[0].upper()}{risk[1:]}.")
    all_stored = f"All {count(stored.events, 'event')} of this account are stored."
    kept = all_stored if stored.events else "No event is missing."
    return Check("good", "Nothing is lost", kept)


def _check_dead(stored: StoreHealth) -> Iterator[Check]:
    if stored.dead_letters:
        events = (
            f"Over {MOST_DEAD:,} events" if stored.dead_letters > MOST_DEAD else count(stored.dead_letters, "event")
        )
        yield Check("warn", "Some events could not be stored", f"{events}. `windback dead-letters list` shows why.")


def _check_working(line: PipelineState, stored: StoreHealth) -> Check:
    fault = probes.describe_idle_workers(line.beats, stored.due_seconds) or (None if line.clock else NO_CLOCK)
    if fault:
        return Check("bad", "Processing has stopped", f"{fault[0].upper()}{fault[1:]}.")
    if stored.due_seconds > LATE_SECONDS:
        return Check("warn", "Scores lag behind", f"By {span(stored.due_seconds)}. Start more `score` workers.")
    return Check("good", "Scores are up to date", "No customer is waiting for a new score.")


async def _read_traffic(request: Request, account_id: int) -> Traffic | None:
    """The last hour is this one, and of the hour before as much as is left of an hour."""
    hour, into = divmod(time.time(), HOUR)
    pipeline: Any = request.app.state.door.redis.pipeline(transaction=False)
    for back in range(HOURS):
        week, of_week = divmod(int(hour) - back, WEEK_HOURS)
        pipeline.hget(volume.key(account_id, week), str(of_week))
    try:
        events = [int(value or 0) for value in await pipeline.execute()]
    except REDIS_AWAY:
        return None
    return Traffic(events[0] + events[1] * (1 - into / HOUR), sum(events))


def check_renewal(renewal: RenewalProgress | None) -> list[Check]:
    """Says how far new scores are, while a new model or setting is being applied."""
    if renewal is None:
        return []
    progress = f"{number(renewal.scored)} of {number(renewal.total)} customers are done."
    return [Check("none", "Scores are being renewed", f"{progress} Until all are, you see the old scores.")]


def find_worst(checks: list[Check]) -> Mark:
    """The worst mark of these checks."""
    marks = {check.mark for check in checks}
    return "bad" if "bad" in marks else "warn" if "warn" in marks else "good"
