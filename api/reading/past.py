"""The risks of past moments, as parts of the query of a list of customers.

A few customers' are looked up, each in what was recorded of it. Those of a large account are read in one pass over
what was recorded shortly before the moment, which is where most are. Before the latest change of an account's model or
rules, the risks that were given are another model's: there, those count that were computed anew when it changed.

Most pages are full after a few hundred customers of the list, unless it is in the order of the rise itself. So the
first LOOKED_UP are looked up in large accounts too, and a pass is made where they don't fill the page.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, LiteralString, NamedTuple

from starlette.requests import Request

from api.reading.common import fetch_all
from workers.store import sql

MANY: Final = 3_000  # customers of an account; looking up so many takes about as long as a pass
LOOKED_UP: Final = 2_000  # the first of a list in each cell, before a pass: it takes a tenth as long


class Past(NamedTuple):
    """An account at a past moment: True if its model or rules have changed since, True if it is large."""

    has_changed: bool = False
    is_large: bool = False


class PastRisk(NamedTuple):
    """A join for a query of customers, and the expression of the risk or the level in it."""

    join: LiteralString
    value: LiteralString


async def describe_pasts(request: Request, account_id: int, moments: Mapping[str, datetime | None]) -> dict[str, Past]:
    """The facts about an account at these moments, by their names; nothing for a moment that is None."""
    pasts = {}
    for name, moment in moments.items():
        if moment is not None:
            parameters = {"account_id": account_id, "moment": moment, "many": MANY}
            rows = [row for (row,) in await fetch_all(request, sql("describe_past"), parameters)]
            pasts[name] = Past(any(row["has_changed"] for row in rows), any(row["is_large"] for row in rows))
    return pasts


def risk_since(past: Past) -> PastRisk:
    """The probability at the parameter `since`, by the model of now."""
    looked_up = PastRisk(sql("look_up"), "{past}.was")
    in_pass = PastRisk(sql("risks_in_pass"), sql("risk_in_pass"))
    changed = PastRisk(sql("restated_in_pass"), "{past}.probability")
    return _replace(
        _choose(past, looked_up, in_pass, changed),
        {
            "{risk}": sql("risk_since"),
            "{is_latest}": sql("is_latest_in_pass"),
            "{fraction}": "round(probability * 1048576) / 2097152",  # exact beside milliseconds, whenever it is asked
            "{epoch}": "date_part('epoch', {moment}::timestamptz)",
            "{moment}": "%(since)s",
            "{past}": "past_risk",
        },
    )


def level_then(past: Past) -> PastRisk:
    """The level (or `lapsed`) at the parameter `then`, as a chart of the levels shows it."""
    looked_up = PastRisk(sql("look_up"), "{past}.was")
    in_pass = PastRisk(sql("risks_in_pass"), sql("level_in_pass"))
    changed = PastRisk(sql("restated_in_pass"), "standing({past}.state, {past}.level)")
    return _replace(
        _choose(past, looked_up, in_pass, changed),
        {
            "{risk}": sql("level_restated" if past.has_changed else "level_then"),
            "{is_latest}": sql("is_latest_in_pass"),
            "{fraction}": sql("level_fraction"),
            "{epoch}": "date_part('epoch', {moment}::timestamptz)",
            "{moment}": "%(then)s",
            "{past}": "past_level",
        },
    )


def _choose(past: Past, looked_up: PastRisk, in_pass: PastRisk, changed: PastRisk) -> PastRisk:
    if not past.is_large:
        return looked_up
    return changed if past.has_changed else in_pass


def _replace(risk: PastRisk, marks: Mapping[str, LiteralString]) -> PastRisk:
    join, value = risk
    for mark, text in marks.items():
        join, value = join.replace(mark, text), value.replace(mark, text)
    return PastRisk(join, value)
