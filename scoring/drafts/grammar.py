"""The part of Jinja2 that templates may use, and our own filters."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Final, NamedTuple

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from scoring.drafts.facts import Fact, Text, Unknown, Whole, show, text_fact
from scoring.facts import date, duration
from scoring.rollup import DAY

NODES: Final = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.If, nodes.CondExpr, nodes.Filter,
    nodes.Test, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not,
)  # fmt: skip
BUILTIN: Final = ("capitalize", "lower", "title", "trim", "upper")
QUOTES: Final = '“”" '
TESTS: Final = ("defined", "undefined")


class TemplateFault(NamedTuple):
    """A part of a template that is not allowed, and its line."""

    problem: str
    line: int


def check(tree: nodes.Template) -> TemplateFault | None:
    """The first thing in a template that the language doesn't have."""
    for node in tree.find_all(nodes.Node):
        if not isinstance(node, NODES):
            return TemplateFault(
                f"a template can't use {_word(node)}; it has {{{{ facts }}}}, filters and {{% if %}}", node.lineno
            )
        if isinstance(node, nodes.Filter) and node.name not in ENVIRONMENT.filters:
            return TemplateFault(
                f"there is no filter `{node.name}`; there are {', '.join(sorted(ENVIRONMENT.filters))}", node.lineno
            )
        if isinstance(node, nodes.Test) and node.name not in ENVIRONMENT.tests:
            return TemplateFault(f"there is no test `{node.name}`; there are {', '.join(TESTS)}", node.lineno)
    return None


def _word(node: nodes.Node) -> str:
    return f"`{type(node).__name__.lower()}`"


def _keep_name(filter: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose result keeps the name of the fact that it was made from; of the unknown it makes nothing."""

    @wraps(filter)
    def keep(value: object, *arguments: Any) -> object:
        if isinstance(value, jinja2.Undefined):
            return value
        result = filter(value, *arguments)
        return text_fact(value.name, str(result)) if isinstance(value, Text | Whole) else result

    return keep


@jinja2.pass_context
def day(context: Context, value: object) -> object:
    """A time as its day: "3 May"."""
    return _of_time(context, value, lambda at, now: date(at, now))


@jinja2.pass_context
def ago(context: Context, value: object) -> object:
    """Returns the time that has passed since: "12 days"; in the first hour "less than an hour"."""
    return _of_time(context, value, lambda at, now: duration(max(now - at, 0.0) / DAY))


@jinja2.pass_context
def days(context: Context, value: object) -> object:
    """Whole days since a time, to compare with."""
    passed = _of_time(context, value, lambda at, now: str(int(max(now - at, 0.0) // DAY)))
    if not isinstance(passed, Text):
        return passed
    number = Whole(passed)
    number.name = passed.name
    return number


def words(value: object) -> str:
    """A name that programs use, as people write it: "export failed" of `export_failed`."""
    return " ".join(str(value).replace("_", " ").replace("-", " ").split())


def quoted(value: object) -> str:
    """Returns a customer's words between quotation marks."""
    words = str(value).strip(QUOTES).rstrip(".")
    return f"“{words}”"


def first(value: object) -> str:
    """Returns the first word: of a full name, the first name."""
    return str(value).split()[0] if str(value).split() else ""


def _of_time(context: Context, value: object, describe: Callable[[float, float], str]) -> object:
    if isinstance(value, jinja2.Undefined):
        return value
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"{str(value)!r} is no time") from None
    at = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    text = describe(at, context["_now"])
    return text_fact(value.name, text) if isinstance(value, Text) else text


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=Unknown, finalize=show, trim_blocks=True, lstrip_blocks=True, autoescape=False, cache_size=0
    )
    environment.globals.clear()
    environment.filters = {name: _keep_name(environment.filters[name]) for name in BUILTIN}
    environment.filters |= {
        "words": _keep_name(words),
        "first": _keep_name(first),
        "quoted": _keep_name(quoted),
        "day": day,
        "ago": ago,
        "days": days,
    }
    environment.tests = {name: environment.tests[name] for name in TESTS}
    return environment


ENVIRONMENT: Final = _environment()

__all__ = ["ENVIRONMENT", "Fact", "TemplateFault", "check"]
