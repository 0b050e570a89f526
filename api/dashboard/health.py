"""Is everything working? Events arriving, waiting and missing, and scores, in words."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Literal, NamedTuple

from starlette.requests import Request

from api.dashboard.filters import count, number, span
from api.health import probes
from api.health.probes import NO_CLOCK, PipelineState
from api.reading.common import fetch
from scoring.outages import HOUR, WEEK_HOURS
from workers.redis import REDIS_AWAY
from workers.store import sql
from workers.tracking import volume

LATE_SECONDS = 300.0  # scores may lag behind this long before a warning
MOST_DEAD = 1000  # dead letters counted at most

Mark = Literal["good", "none", "warn", "bad"]


class Check(NamedTuple):
    """One check: its mark (`none`: can't tell), its title, and the finding."""

    mark: Mark
    title: str
    text: str


class StoreHealth(NamedTuple):
    """From Postgres: the start of an open outage of tracking, dead letters, and the lag of the scores."""

    out_since: datetime | None
    dead_letters: int
    due_seconds: float


async def run_checks(request: Request, account_id: int) -> list[Check]:
    """All checks, in the order of the page. Raises Refused, store_unavailable."""
    redis = request.app.state.door.redis
    line = await probes.read_pipeline(redis)
    ((row),) = await fetch(request, sql("account_health"), {"account_id": account_id, "limit": MOST_DEAD + 1})
    stored = StoreHealth(**row)
    if line is None:
        text = "Redis doesn't answer. Events are refused until it does; your product has to send them again."
        return [Check("bad", "Events are refused", text)]
    return [
        _arriving(await _a_minute(request, account_id), stored),
        _waiting(line),
        _accounted(line),
        *_dead(stored),
        _working(line, stored),
    ]


def _arriving(a_minute: float | None, stored: StoreHealth) -> Check:
    if stored.out_since:
        since = f"{stored.out_since:%-d %b, %H:%M} UTC"
        text = f"Almost no events since {since}. Risks are frozen until events arrive again. Check your product."
        return Check("bad", "Tracking seems to be down", text)
    if not a_minute:
        return Check("none", "No live events in the last hour", "That may be normal for this hour.")
    rate = number(a_minute) if a_minute >= 10 else f"{a_minute:.1f}"
    return Check("good", "Events arrive", f"{rate} a minute, over the last hour.")


def _waiting(line: PipelineState) -> Check:
    if stalled := probes.describe_buffer(line.ledgers, None):
        return Check("bad", "Events are not stored", f"{stalled[0].upper()}{stalled[1:]}.")
    waiting = sum(ledger.buffered for ledger in line.ledgers.values())
    if waiting:
        oldest = max(ledger.oldest_seconds for ledger in line.ledgers.values())
        return Check(
            "good", "Being stored", f"{count(waiting, 'event')} in the buffer; the oldest has waited {span(oldest)}."
        )
    last = min((one.settled_seconds for one in line.ledgers.values() if one.settled_seconds is not None), default=None)
    return Check(
        "good", "Stored", "Nothing waits." if last is None else f"Nothing waits; the last was {span(last)} ago."
    )


def _accounted(line: PipelineState) -> Check:
    missing = sum(ledger.unaccounted for ledger in line.ledgers.values())
    accepted = sum(ledger.accepted for ledger in line.ledgers.values())
    if missing:
        return Check(
            "bad", "Events are missing", f"{number(missing)} of {number(accepted)} accepted events are unaccounted for."
        )
    return Check("good", "Nothing is lost", f"All {count(accepted, 'accepted event')} are accounted for.")


def _dead(stored: StoreHealth) -> Iterator[Check]:
    if stored.dead_letters:
        events = (
            f"Over {MOST_DEAD:,} events" if stored.dead_letters > MOST_DEAD else count(stored.dead_letters, "event")
        )
        yield Check("warn", "Some events could not be stored", f"{events}. `windback dead-letters list` shows why.")


def _working(line: PipelineState, stored: StoreHealth) -> Check:
    fault = probes.describe_idle_workers(line.beats, stored.due_seconds) or (None if line.clock else NO_CLOCK)
    if fault:
        return Check("bad", "Processing has stopped", f"{fault[0].upper()}{fault[1:]}.")
    if stored.due_seconds > LATE_SECONDS:
        return Check("warn", "Scores lag behind", f"By {span(stored.due_seconds)}. Start more `score` workers.")
    return Check("good", "Scores are up to date", "No customer is waiting for a new score.")


async def _a_minute(request: Request, account_id: int) -> float | None:
    """Live events a minute over the last hour: this hour's, and of the hour before as much as is left of an hour."""
    hour, into = divmod(time.time(), HOUR)
    redis = request.app.state.door.redis
    found = []
    try:
        for one in (int(hour), int(hour) - 1):
            week, of_week = divmod(one, WEEK_HOURS)
            found.append(int(await redis.hget(volume.key(account_id, week), str(of_week)) or 0))
    except REDIS_AWAY:
        return None
    return (found[0] + found[1] * (1 - into / HOUR)) / 60


def find_worst(checks: list[Check]) -> Mark:
    """The worst mark of these checks."""
    marks = {check.mark for check in checks}
    return "bad" if "bad" in marks else "warn" if "warn" in marks else "good"
