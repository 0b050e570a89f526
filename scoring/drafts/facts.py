"""Facts as templates use them: each knows its name, so that a draft can say which ones it rests on."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import jinja2

LONGEST: Final = 200  # characters of a fact

MISSING: Final = "\ue000"  # stands for a fact that isn't known, until its sentence goes
STOPS: Final = {ord("."): "\ue001", ord("!"): "\ue002", ord("?"): "\ue003", ord("…"): "\ue004"}
BACK: Final = {ord(mark): chr(stop) for stop, mark in STOPS.items()}
NAMED: Final = ("\ue005", "\ue006")  # around the name of a fact, before its text
PRIVATE: Final = re.compile("[\ue000-\uf8ff]")


class Text(str):
    """A fact that is text, or became text."""

    __slots__ = ("name",)

    name: str


class Whole(int):
    """A fact that is a number."""

    name: str


Fact = Text | Whole


class Unknown(jinja2.Undefined):
    """A fact that isn't known: it is false, and a sentence that shows it goes."""

    __slots__ = ()

    def __str__(self) -> str:
        return MISSING

    def _is_less(self, *others: Any) -> Any:
        return False

    __lt__ = __le__ = __gt__ = __ge__ = _is_less


def text_fact(name: str, text: str) -> Text:
    """Text that knows its name: one line, not long."""
    line = " ".join(PRIVATE.sub("", text).split())
    fact = Text(line if len(line) <= LONGEST else f"{line[: LONGEST - 1].rstrip()}…")
    fact.name = name
    return fact


def facts_for(values: Mapping[str, Any]) -> dict[str, Fact]:
    """The known facts of an advice. The first of a list, `…s`, also stands alone."""
    return dict(_facts(values))


def show(value: object) -> object:
    """The text that `{{ … }}` writes; with a fact goes its name, for the time being."""
    if isinstance(value, Text | Whole):
        return f"{NAMED[0]}{value.name}{NAMED[1]}{str(value).translate(STOPS)}"
    return MISSING if value is None else value


def _facts(values: Mapping[str, Any]) -> Iterator[tuple[str, Fact]]:
    for name, value in values.items():
        if isinstance(value, list) and value:
            texts = [str(text) for text in value]
            yield name, text_fact(name, ", ".join(f"“{text}”" for text in texts))
            yield name.removesuffix("s"), text_fact(name, texts[0])
        elif isinstance(value, int) and not isinstance(value, bool):
            number = Whole(value)
            number.name = name
            yield name, number
        elif isinstance(value, str) and value.strip():
            yield name, text_fact(name, value)
