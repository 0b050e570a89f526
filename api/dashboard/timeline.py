"""Properties of events, whatever they hold, in a line: the rest folds out."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import msgspec

from api.reading.customer import EventInTimeline

PAIRS = 5  # shown in the line
LONGEST_NAME, LONGEST_VALUE = 40, 80  # characters
LONGEST_WHOLE = 1000
TURNING = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # marks that turn the direction of text


class Shown(NamedTuple):
    """An event of a timeline. `whole` is the properties as JSON, its first LONGEST_WHOLE characters of `length`; it is
    empty where the pairs say everything."""

    event: EventInTimeline
    pairs: list[tuple[str, str]]
    whole: str
    length: int


def by_day(events: Sequence[EventInTimeline]) -> list[list[Shown]]:
    """Events in their order, those of a day (UTC) together."""
    return [list(map(shown, some)) for _, some in groupby(events, lambda event: event.timestamp.date())]


def shown(event: EventInTimeline) -> Shown:
    """An event with its properties made short."""
    properties = msgspec.json.decode(event.properties)
    pairs = list(_pairs(properties))
    if len(properties) == len(pairs) and all(_is_plain(name, value) for name, value in properties.items()):
        return Shown(event, pairs, "", 0)
    whole = TURNING.sub(_escaped, msgspec.json.format(bytes(event.properties), indent=2).decode())
    return Shown(event, pairs, whole[:LONGEST_WHOLE], len(whole))


def _pairs(properties: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in list(properties.items())[:PAIRS]:
        yield _cut(name, LONGEST_NAME), _cut(text_of(value), LONGEST_VALUE)


def _is_plain(name: str, value: Any) -> bool:
    """Whether the pair shows all of it."""
    nested = isinstance(value, dict | list)
    return not nested and len(name) <= LONGEST_NAME and len(text_of(value)) <= LONGEST_VALUE


def _escaped(mark: re.Match[str]) -> str:
    """As JSON may write it, too."""
    return f"\\u{ord(mark[0]):04x}"


def text_of(value: object) -> str:
    """A property's value: text as it is, all else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
