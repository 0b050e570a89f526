"""Properties of events on one line; the rest folds out."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import msgspec

from api.dashboard.zones import local
from api.reading.customer import EventInTimeline

PAIRS = 5  # shown in the line
LONGEST_NAME, LONGEST_VALUE = 40, 80  # characters
LONGEST_WHOLE = 1000
DIRECTION_MARKS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class TimelineEvent(NamedTuple):
    """An event of a timeline. `whole` is the properties as JSON, its first LONGEST_WHOLE characters of `length`; empty
    where the pairs show everything."""

    event: EventInTimeline
    pairs: list[tuple[str, str]]
    whole: str
    length: int


def group_by_day(events: Sequence[EventInTimeline]) -> list[list[TimelineEvent]]:
    """Events in their order, grouped by day in the account's time zone."""
    return [list(map(shorten, group)) for _, group in groupby(events, lambda event: local(event.timestamp).date())]


def shorten(event: EventInTimeline) -> TimelineEvent:
    """An event with its properties shortened."""
    properties = msgspec.json.decode(event.properties)
    pairs = list(_pairs(properties))
    if len(properties) == len(pairs) and all(_is_plain(name, value) for name, value in properties.items()):
        return TimelineEvent(event, pairs, "", 0)
    whole = DIRECTION_MARKS.sub(_escape, msgspec.json.format(bytes(event.properties), indent=2).decode())
    return TimelineEvent(event, pairs, whole[:LONGEST_WHOLE], len(whole))


def _pairs(properties: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in list(properties.items())[:PAIRS]:
        yield _cut(name, LONGEST_NAME), _cut(text_of(value), LONGEST_VALUE)


def _is_plain(name: str, value: Any) -> bool:
    """True if the pair shows the whole value."""
    nested = isinstance(value, dict | list)
    return not nested and len(name) <= LONGEST_NAME and len(text_of(value)) <= LONGEST_VALUE


def _escape(mark: re.Match[str]) -> str:
    """A direction mark as a JSON escape."""
    return f"\\u{ord(mark[0]):04x}"


def text_of(value: object) -> str:
    """A property's value: text as it is, other types as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
