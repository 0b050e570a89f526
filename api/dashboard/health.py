"""Whether the data can be trusted: what arrives, what waits, what is missing, in words."""

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

LATE_SECONDS = 300.0  # that scores may lag behind before it is worth a word
MOST_DEAD = 1000  # that are counted

Mark = Literal["good", "none", "warn", "bad"]


class Check(NamedTuple):
    """Something that was looked at: whether it is well (`none`: who knows), what it is about, what was found."""

    mark: Mark
    title: str
    text: str


class Stored(NamedTuple):
    """What Postgres knows: since when tracking is out, dead letters, for how long rescores have been due."""

    out_since: datetime | None
    dead_letters: int
    due_seconds: float


async def checks(request: Request, account_id: int) -> list[Check]:
    """Everything that was looked at, the same in every order. Raises Refused, store_unavailable."""
    redis = request.app.state.door.redis
    line = await probes.read_pipeline(redis)
    ((row),) = await fetch(request, sql("account_health"), {"account_id": account_id, "limit": MOST_DEAD + 1})
    stored = Stored(**row)
    if line is None:
        text = "Redis doesn't answer: events are refused until it does, and producers have to send them again."
        return [Check("bad", "Events are refused", text)]
    return [
        _arriving(await _a_minute(request, account_id), stored),
        _waiting(line),
        _accounted(line),
        *_dead(stored),
        _working(line, stored),
    ]


def _arriving(a_minute: float | None, stored: Stored) -> Check:
    if stored.out_since:
        since = f"{stored.out_since:%-d %b, %H:%M} UTC"
        text = f"Next to no events since {since}. Risks stand still until they come again: look at what sends them."
        return Check("bad", "Tracking seems to be out", text)
    if not a_minute:
        return Check("none", "No live events in the last hour", "Nothing says that this is unusual at this hour.")
    rate = number(a_minute) if a_minute >= 10 else f"{a_minute:.1f}"
    return Check("good", "Events arrive", f"{rate} a minute, over the last hour.")


def _waiting(line: PipelineState) -> Check:
    if stalled := probes.describe_stalls(line.ledgers):
        return Check("bad", "Events are not stored", f"{stalled[0].upper()}{stalled[1:]}.")
    waiting = sum(one.buffered for one in line.ledgers.values())
    if waiting:
        oldest = max(one.oldest_seconds for one in line.ledgers.values())
        return Check("good", "Being stored", f"{count(waiting, 'event')} in the buffer, the first for {span(oldest)}.")
    last = min((one.settled_seconds for one in line.ledgers.values() if one.settled_seconds is not None), default=None)
    return Check(
        "good", "Stored", "Nothing waits." if last is None else f"Nothing waits; the last was {span(last)} ago."
    )


def _accounted(line: PipelineState) -> Check:
    missing = sum(one.unaccounted for one in line.ledgers.values())
    accepted = sum(one.accepted for one in line.ledgers.values())
    if missing:
        return Check(
            "bad", "Events are unaccounted for", f"{number(missing)} of {number(accepted)} that were accepted."
        )
    return Check("good", "Nothing is lost", f"All of {count(accepted, 'accepted event')} accounted for.")


def _dead(stored: Stored) -> Iterator[Check]:
    if stored.dead_letters:
        some = f"over {MOST_DEAD:,}" if stored.dead_letters > MOST_DEAD else f"{stored.dead_letters:,}"
        text = f"{some} could not be stored; `windback dead-letters list` tells why."
        yield Check("warn", "Dead letters", text[0].upper() + text[1:])


def _working(line: PipelineState, stored: Stored) -> Check:
    fault = probes.describe_idle_workers(line.beats, stored.due_seconds) or (None if line.clock else NO_CLOCK)
    if fault:
        return Check("bad", "Work stands still", f"{fault[0].upper()}{fault[1:]}.")
    if stored.due_seconds > LATE_SECONDS:
        return Check("warn", "Scores lag behind", f"By {span(stored.due_seconds)}; more score workers would help.")
    return Check("good", "Scores are current", "Everybody whose risk was due is scored.")


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


def worst(found: list[Check]) -> Mark:
    """The worst of these marks."""
    marks = {one.mark for one in found}
    return "bad" if "bad" in marks else "warn" if "warn" in marks else "good"
