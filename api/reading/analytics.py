"""Analytics: the events of an account, and their effect on the model."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from api.etags import has
from api.reading.common import Count, Time, account_of, answer, fetch, fetch_merged
from api.reading.etags import not_modified, tag_of_totals
from api.reading.intervals import bounds, clamp, floor, following, interval_of
from api.reading.query import accepts
from api.reading.statements import Sums
from scoring.event_roles import Meaning
from scoring.events import CHURNED, RECOGNISED
from scoring.history import EVENT
from scoring.learning.samples import ELIGIBLE
from scoring.learning.training import Candidate
from scoring.model import Model
from workers.accounts.models import Card
from workers.risk.rollups import EVER
from workers.store import sql

MOST_NAMES = 10_000  # that are counted one by one, the most frequent: an account with more puts data into names
BY_NAME = Sums(("event",), ("count", "customers"), ("first_seen",), ("last_seen",))

Signal = Literal["positive", "negative", "neutral", "varies"]
EventState = Literal["stored", "counting", "tested", "in_use"]


class Standing(Struct):
    """The state of a custom event in the model: `stored` until a training has seen at least two weeks of it, `counting`
    until enough customers sent it, then `tested` without effect, or `in_use` with its weight in log-odds."""

    state: EventState
    customers: Count
    customers_needed: Count
    weight: float | None


class CountedEvent(Struct):
    """An event by name. `signal` and `model` show its effect on the risk; `first_seen` is exact to the day;
    `stands_for` is the meaning that the account has mapped it to."""

    event: str
    count: Annotated[int, Meta(ge=1)]
    customers: Annotated[int, Meta(ge=1)]
    first_seen: Time
    last_seen: Time
    kind: Literal["recognised", "custom"]
    signal: Signal | None
    model: Standing | None
    stands_for: str | None = None


class CountedEvents(Struct):
    """The events of an account, the most frequent first; 10,000 names at most."""

    events: list[CountedEvent]


@accepts("from", "to", "interval")
async def count_events(request: Request) -> Response:
    """`GET /api/v1/analytics/events`: events by name, of all time or of whole days, weeks or months."""
    account_id = await account_of(request)
    interval = interval_of(request)
    whole = "day" if interval == "hour" else interval
    since, until = bounds(request)
    first = floor(clamp(since), whole) if since else None
    end = following(floor(clamp(until), whole), whole) if until else None
    tag = await tag_of_totals(request, account_id)
    if has(request, tag):
        return not_modified(tag)
    return answer(CountedEvents(await read_events(request, account_id, first, end)), {"ETag": tag})


async def read_events(
    request: Request, account_id: int, since: datetime | None = None, until: datetime | None = None
) -> list[CountedEvent]:
    """Events by name, the most frequent first, from the day that begins at `since` up to, not including, `until`.

    Raises Refused, store_unavailable.
    """
    span = {"since": since or EVER[0], "until": until or EVER[1]}
    parameters = {"account_id": account_id, **span, "limit": MOST_NAMES}
    rows = await fetch_merged(request, sql("count_account_events"), parameters, BY_NAME)
    rows = sorted(rows, key=lambda row: (-row["count"], row["event"]))[:MOST_NAMES]
    (learnt,) = await fetch(request, sql("show_model"), {"account_id": account_id}) or [{}]
    weights, candidates = _list_weights(learnt["weights"]), _list_candidates(learnt["training"])
    meaning = Meaning.of_mappings(learnt["mappings"] or {})
    return [_describe_event(row, weights, candidates, meaning) for row in rows]


def _list_weights(model: str | None) -> dict[str, float]:
    if model is None:
        return {}
    terms = msgspec.json.decode(model, type=Model).terms
    return {term.feature.removeprefix(EVENT): term.weights[0] for term in terms if term.feature.startswith(EVENT)}


def _list_candidates(training: str | None) -> dict[str, Candidate]:
    candidates = msgspec.json.decode(training, type=Card).candidates if training else []
    return {candidate.event: candidate for candidate in candidates}


def _describe_event(
    row: dict[str, Any], weights: dict[str, float], candidates: dict[str, Candidate], meaning: Meaning
) -> CountedEvent:
    name = row["event"]
    if name in RECOGNISED:
        return CountedEvent(**row, kind="recognised", signal=RECOGNISED[name], model=None)
    if meaning.of(name) != name:
        standing = Standing("in_use", row["customers"], ELIGIBLE, None)
        return CountedEvent(
            **row,
            kind="custom",
            signal=_find_signal(meaning.of(name)),
            model=standing,
            stands_for=meaning.mappings[name],
        )
    model = _find_standing(row["customers"], weights.get(name), candidates.get(name))
    learnt: Signal | None = None
    if model.weight:
        learnt = "negative" if model.weight > 0 else "positive"
    return CountedEvent(**row, kind="custom", signal=learnt, model=model)


def _find_signal(recognised: str) -> Signal:
    return "negative" if recognised == CHURNED else RECOGNISED[recognised]


def _find_standing(customers: int, weight: float | None, candidate: Candidate | None) -> Standing:
    state: EventState = "stored"
    if weight is not None:
        state = "in_use"
    elif candidate is not None:
        state = "counting" if candidate.p_value is None else "tested"
    return Standing(state, candidate.customers if candidate else customers, ELIGIBLE, weight)
