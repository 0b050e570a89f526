"""The language of templates: Jinja2, as far as a letter needs it.

A template names facts: `{{ plan }}`. A sentence whose fact isn't known is left out whole, so no placeholder ever shows;
`{% if %}` is there for longer parts. There are no loops, no calls and no arithmetic: whatever an account
writes, a template ends at once and makes no text much longer than itself and its facts.

While it is rendered, private characters stand for unknown facts, for the names of facts, and for stops inside facts,
which end no sentence.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from types import TracebackType
from typing import Final

import jinja2
from jinja2 import meta

from scoring.drafts.facts import BACK, MISSING, NAMED, PRIVATE, Fact
from scoring.drafts.grammar import ENVIRONMENT, check

MOST_CHARACTERS: Final = 20_000  # of a template
SENTENCE: Final = re.compile(r"(?<=[.!?…])[ \t]+")
NAME: Final = re.compile(f"{NAMED[0]}([a-z_]*){NAMED[1]}")


class TemplateError(ValueError):
    """A template can't be used. The message says what is wrong with it, and `line` where."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line


def render(template: str, facts: Mapping[str, Fact], now: float) -> tuple[str, list[str]]:
    """The text of a template at `now` (epoch seconds), and the names of the facts in it. Raises TemplateError."""
    try:
        rendered = compiled(template).render(**facts, _now=now)
    except TemplateError:
        raise
    except Exception as error:  # a filter on the wrong type, a comparison of unlike things
        raise TemplateError(str(error) or type(error).__name__, _line_of(error.__traceback__)) from None
    lines = [whole for line in rendered.splitlines() if (whole := _whole_sentences(line)) is not None]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return NAME.sub("", text).translate(BACK), list(dict.fromkeys(NAME.findall(text)))


@lru_cache(maxsize=512)
def compiled(template: str) -> jinja2.Template:
    """A template that keeps to the language. Raises TemplateError."""
    if len(template) > MOST_CHARACTERS:
        raise TemplateError(f"a template has at most {MOST_CHARACTERS:,} characters", 1)
    if odd := PRIVATE.search(template):
        raise TemplateError(
            f"the character U+{ord(odd[0]):04X} can't be used", template.count("\n", 0, odd.start()) + 1
        )
    try:
        if fault := check(ENVIRONMENT.parse(template)):
            raise TemplateError(fault.problem, fault.line)
        return ENVIRONMENT.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(error.message or "this is no template", error.lineno) from None
    except (RecursionError, MemoryError, SyntaxError):
        raise TemplateError("it is nested too deeply", 1) from None


def names_of(template: str) -> set[str]:
    """The names of facts that a template uses, known or not. Raises TemplateError."""
    compiled(template)
    return meta.find_undeclared_variables(ENVIRONMENT.parse(template)) - {"_now"}


def _whole_sentences(line: str) -> str | None:
    """A line without the sentences that lack a fact; None where nothing is left of it."""
    if MISSING not in line:
        return line
    return " ".join(sentence for sentence in SENTENCE.split(line) if MISSING not in sentence) or None


def _line_of(traceback: TracebackType | None) -> int:
    line = 1
    while traceback:
        if traceback.tb_frame.f_code.co_filename == "<template>":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
