"""The effect of alerts: `GET /api/v1/alerts/effect`."""

from collections.abc import Iterable
from typing import Annotated, Any

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from api.reading.common import Count, account_of, answer, fetch, fetch_all
from api.reading.merging import add_up
from api.reading.query import accepts
from scoring.event_roles import Meaning
from scoring.events import ENGAGEMENT
from scoring.learning.effect import Group, compare
from workers.store import sql

Share = Annotated[float, Meta(ge=-1, le=1)]


class Outcomes(Struct):
    """Customers, and how many of them did nothing within the horizon after their first alert."""

    customers: Count
    lapsed: Count


class StrategyEffect(Struct):
    """The effect among the customers with one advised strategy."""

    strategy: str
    alerted: Outcomes
    held_out: Outcomes
    difference: Share | None
    interval: tuple[Share, Share] | None
    needed: Count | None


class AlertEffect(Struct):
    """The share of the alerted who lapsed, less that of those held out: below 0 it helped. The interval holds the true
    difference in 95 of 100 cases; `needed` is about how many more customers it takes until it can tell. All three are
    null where a group is empty."""

    alerted: Outcomes
    held_out: Outcomes
    difference: Share | None
    interval: tuple[Share, Share] | None
    needed: Count | None
    by_strategy: list[StrategyEffect]


@accepts()
async def show_effect(request: Request) -> Response:
    """`GET /api/v1/alerts/effect`: by intention to treat, over alerts whose horizon is past."""
    return answer(await read_effect(request, await account_of(request)))


async def read_effect(request: Request, account_id: int) -> AlertEffect:
    """The effect of an account's alerts. Raises Refused."""
    mapped = await fetch(request, sql("mappings_of_account"), {"account_id": account_id})
    meaning = Meaning.of_mappings(mapped[0]["mappings"] if mapped else {})
    parameters = {
        "account_id": account_id,
        "engagement": [*ENGAGEMENT, *meaning.names_of(ENGAGEMENT)],
        "churn": list(meaning.churn),
    }
    rows = add_up(await fetch_all(request, sql("count_outcomes"), parameters), ("strategy", "held_out"))
    strategies = sorted({row["strategy"] for row in rows})
    return AlertEffect(
        *_effect(rows),
        [StrategyEffect(name, *_effect(row for row in rows if row["strategy"] == name)) for name in strategies],
    )


def _effect(rows: Iterable[dict[str, Any]]) -> tuple[Outcomes, Outcomes, float | None, Any, int | None]:
    """The fields besides the name: both groups, and their difference."""
    groups = {False: Group(0, 0), True: Group(0, 0)}
    for row in rows:
        group = groups[row["held_out"]]
        groups[row["held_out"]] = Group(group.customers + row["customers"], group.lapsed + row["lapsed"])
    effect = compare(groups[False], groups[True])
    interval = effect.interval and tuple(round(bound, 4) for bound in effect.interval)
    difference = None if effect.difference is None else round(effect.difference, 4)
    return Outcomes(*groups[False]), Outcomes(*groups[True]), difference, interval, effect.needed
