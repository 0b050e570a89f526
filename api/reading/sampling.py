"""The commonest property values of an event, of its latest occurrences.

The latest customers and hours of the event are found in all cells, and then the values of each in the customer's own.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Raw, Struct
from starlette.requests import Request

from api.reading.common import fetch_merged
from api.reading.statements import Order, Sums
from workers.cells import cell_of
from workers.store import sql

SCALARS = ("string", "number", "boolean")
SAMPLED = 1000  # events, the latest of a name
PIECE = SAMPLED // 2
MOST_PROPERTIES = 50
MOST_VALUES = 10
LATEST = Order(("hour", "customer_id"), descending=True)
BY_VALUE = Sums(("name", "value"), ("count",))


class Value(Struct):
    """The number of events in which a property had a value."""

    value: Annotated[Raw, Meta(extra_json_schema={"anyOf": [{"type": scalar} for scalar in SCALARS]})]
    count: Annotated[int, Meta(ge=1)]


class Property(Struct):
    """A property and its commonest values, the most frequent first."""

    name: str
    values: list[Value]


class EventSample(NamedTuple):
    """The properties of so many of the latest events."""

    events: int
    properties: list[Property]


async def read_sample(request: Request, account_id: int, event: str) -> EventSample:
    """The latest events of a name: how many, at most SAMPLED, and their most common values."""
    rows = await _find_latest(request, account_id, event)
    limits = list(_limit_events(rows))
    values = await _count_values(request, event, rows, limits) if rows else []
    return EventSample(sum(limits), _choose_commonest(values))


async def _find_latest(request: Request, account_id: int, event: str) -> list[dict[str, Any]]:
    """The latest hours of customers with an event, at most SAMPLED of them, and how many there are in each. They are
    read in pieces until they hold SAMPLED events."""
    rows: list[dict[str, Any]] = []
    parameters = {"account_id": account_id, "event": event, "most": SAMPLED, "limit": PIECE}
    position: dict[str, Any] = {"first": True, "hour": None, "customer_id": None}
    while len(rows) < SAMPLED and sum(row["events"] for row in rows) < SAMPLED:
        piece = await fetch_merged(request, sql("recent_hours"), {**parameters, **position}, LATEST)
        rows += piece
        if len(piece) < PIECE:
            break
        position = {"first": False, "hour": piece[-1]["hour"], "customer_id": piece[-1]["customer_id"]}
    return rows


def _limit_events(rows: Iterable[dict[str, Any]]) -> Iterator[int]:
    """Yields how many events of each of these hours belong to the SAMPLED latest, as long as there are any."""
    left = SAMPLED
    for row in rows:
        if not left:
            return
        taken = min(row["events"], left)
        yield taken
        left -= taken


async def _count_values(
    request: Request, event: str, rows: Sequence[dict[str, Any]], limits: Sequence[int]
) -> list[dict[str, Any]]:
    """The values of each property in the first of these hours, of so many events of each."""
    hours = rows[: len(limits)]
    cells = request.app.state.settings.cells
    parameters = {
        "event": event,
        "customer_ids": _array(row["customer_id"].hex for row in hours),
        "hours": _array(row["hour"].isoformat() for row in hours),
        "limits": _array(map(str, limits)),
        "cells": _array(str(cell_of(row["customer_id"].hex, cells)) for row in hours),
    }
    return await fetch_merged(request, sql("event_values"), parameters, BY_VALUE)


def _array(texts: Iterable[str]) -> str:
    """An array of texts without blanks and commas, as Postgres writes it: psycopg would look at each for such."""
    return f"{{{','.join(texts)}}}"


def _choose_commonest(rows: Sequence[dict[str, Any]]) -> list[Property]:
    """The properties that come most, and the values of each that do; those that come equally often by name or value."""
    by_name = [
        (name, list(values)) for name, values in groupby(sorted(rows, key=itemgetter("name")), itemgetter("name"))
    ]
    by_name.sort(key=lambda pair: (-sum(row["count"] for row in pair[1]), pair[0]))
    return [Property(name, _list_values(values)) for name, values in by_name[:MOST_PROPERTIES]]


def _list_values(rows: Sequence[dict[str, Any]]) -> list[Value]:
    commonest = sorted(rows, key=lambda row: (-row["count"], _order_of(row["value"])))[:MOST_VALUES]
    return [Value(Raw(row["value"].encode()), row["count"]) for row in commonest]


def _order_of(text: str) -> tuple[int, Any]:
    """Texts come before numbers, these before true and false, as in jsonb."""
    value = msgspec.json.decode(text)
    return (0 if isinstance(value, str) else 2 if isinstance(value, bool) else 1, value)
