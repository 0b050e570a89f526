"""Filters and functions of templates:

| in a template | gives |
|---|---|
| `{{ moment \\| ago }}` | `<time>`: "2 hours ago", the exact time on hover; "never" for none |
| `{{ moment \\| day }}` | `<time>`: "12 Nov 2026" |
| `{{ moment \\| clock }}` | `<time>`: "17:05" |
| `{{ 12345 \\| number }}` | 12,345 |
| `{{ 0.634 \\| percent }}`, `{{ 0.634 \\| percent(1) }}` | 63%, 63.4% |
| `{{ customer \\| money }}` | 199 USD a month |
| `{{ -1.25 \\| signed }}` | -1.2, with a real minus |
| `{{ bytes \\| size }}` | 640 kB, 12 MB, 1 GB |
| `{{ seconds \\| span }}` | 0.4 s, 12 s, 3 min, 5 h, 2 days |
| `{{ 3 \\| count("customer") }}` | 3 customers |
| `{{ text \\| isolate }}` | text from outside: its direction can't affect other text; cut at 200 characters |
| `{{ email \\| mail }}` | the same for an address, which may break at its `@` |
| `{{ customer \\| because }}` | why to do what the row of a list advises, unless its reason says so already |
| `{{ text \\| code }}` | our own text, with its `quoted` words as code |
| `{{ email \\| path }}` | escaped for a path: `href="/customers/{{ email \\| path }}"` |
| `{{ asset("dashboard.css") }}` | the address of a file of `api/static` |
| `{{ with_query(sort="email", cursor=none) }}` | this page's address with this change of its query |
| `{{ link("/customers", {"level": "high"}) }}` | an address with a query; empty values are left out |
| `{{ first_event(address) }}` | the command that sends a first event |

`parts.html` has macros: a badge, an empty box, a pager, text to copy and others.
"""

import re
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
from markupsafe import Markup, escape
from starlette.requests import Request

from api.assets import asset
from api.dashboard.zones import current, local, offset
from scoring.currencies import describe_amount

LONGEST = 200
YEAR_DAYS = 365.25
STEPS = ((int(86400 * YEAR_DAYS), "year"), (86400 * 30, "month"), (86400, "day"), (3600, "hour"), (60, "minute"))
NO_BREAK = "\u00a0"
YEARS = 2  # from then on a duration is in years
_TIME = Markup('<time datetime="{}" title="{}">{}</time>')


def ago(moment: datetime | None, now: datetime | None = None) -> Markup | str:
    """The time relative to now, with the exact one on hover."""
    if moment is None:
        return "never"
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    words = _round_down(abs(seconds))
    if words is None:
        return _time(moment, "just now")
    return _time(moment, f"{words} ago" if seconds > 0 else f"in {words}")


def day(moment: datetime | None) -> Markup | str:
    """The day of a time, with the exact one on hover."""
    return "never" if moment is None else _time(moment, f"{local(moment):%-d %b %Y}".replace(" ", NO_BREAK))


def clock(moment: datetime) -> Markup:
    """The hour and minute of a time, with the exact one on hover."""
    return _time(moment, f"{local(moment):%H:%M}")


def number(value: float) -> str:
    """A number with its thousands apart."""
    return f"{value:,.0f}"


def percent(share: float, digits: int = 0) -> str:
    """A share, 0 to 1, in percent."""
    return f"{share * 100:.{digits}f}%"


def money(customer: Mapping[str, Any]) -> str:
    """The value of a customer: 199 USD a month, else the amount of the last invoice, else nothing."""
    if customer["mrr"] is not None:
        return f"{describe_amount(customer['mrr'], customer['currency'])} a month"
    return f"last invoice {customer['paid']:,.0f} {customer['currency'] or ''}".rstrip() if customer["paid"] else ""


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign: +3.2, or a real minus sign."""
    return f"{value:+.{digits}f}".replace("-", "\u2212")


def size(length: int) -> str:
    """A number of bytes."""
    for unit, most in (("kB", 1e6), ("MB", 1e9)):
        if length < most:
            return f"{length * 1000 / most:,.0f}{NO_BREAK}{unit}"
    return f"{length / 1e9:,.3g}{NO_BREAK}GB"


def span(seconds: float) -> str:
    """A duration."""
    if seconds < 10:
        return f"{seconds:.1f}{NO_BREAK}s"
    for size, unit, most in ((1, "s", 120), (60, "min", 7200), (3600, "h", 172_800)):
        if seconds < most:
            return f"{seconds / size:.0f}{NO_BREAK}{unit}"
    days = seconds / 86400
    return f"{days:.0f}{NO_BREAK}days" if days < YEARS * YEAR_DAYS else f"{days / YEAR_DAYS:.0f}{NO_BREAK}years"


def count(n: int, noun: str) -> str:
    """So many of something: 1 customer, 2,000 customers."""
    return f"{n:,}{NO_BREAK}{noun}" if n == 1 else f"{n:,}{NO_BREAK}{noun}s"


def isolate(text: object, longest: int = LONGEST) -> Markup:
    """Text from outside, isolated from the direction of the text around it. If it was cut, more of it on hover."""
    whole = str(text)
    if len(whole) <= longest:
        return Markup("<bdi>{}</bdi>").format(whole)
    return Markup('<bdi title="{}">{}…</bdi>').format(whole[: longest * 5], whole[:longest])


def mail(email: str, longest: int = LONGEST) -> Markup:
    """An address as `isolate` writes it, which may break before its `@`."""
    shown = isolate(email, longest)
    return shown.replace("@", Markup("<wbr>@")) if len(email) <= longest else shown


def because(customer: Mapping[str, Any]) -> str:
    """The reason for the advice; empty without advice, or if the reason of the risk begins with the same word."""
    why, reason = customer["why"] or "", customer["reason"] or ""
    repeats_reason = why.partition(" ")[0] == reason.partition(" ")[0]
    return "" if repeats_reason or customer["strategy"] in (None, "none") else why


def code(text: str) -> Markup:
    """Text whose `quoted` words are code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


def path(text: str) -> str:
    """Text as a part of a path; `@` stays readable."""
    return quote(text, safe="@")


def environment(loader: jinja2.BaseLoader) -> jinja2.Environment:
    """Templates with all of these filters and functions."""
    templates = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    filters = (ago, day, clock, number, percent, signed, span, count, isolate, path, code, mail, because, money, size)
    templates.filters.update({function.__name__: function for function in filters})
    functions = {"asset": asset, "first_event": first_event, "link": link, "with_query": with_query}
    templates.globals.update(functions, time_zone=current, local=local)
    return templates


@jinja2.pass_context
def with_query(context: jinja2.runtime.Context, **changes: str | None) -> str:
    """The address of this page with its query changed; `None` takes a parameter out."""
    request = context["request"]
    return link(here(request), {**request.query_params, **changes})


def here(request: Request) -> str:
    """The path of a request, still escaped: a slash inside a name stays apart from the others."""
    raw: bytes = request.scope["raw_path"]
    return raw.decode("latin-1")


def link(path: str, query: Mapping[str, Any]) -> str:
    """A path with a query."""
    words = urlencode({name: value for name, value in query.items() if value not in (None, "")})
    return f"{path}?{words}" if words else path


def first_event(address: str, key: str = "sk_live_…") -> str:
    """The command that sends an event."""
    event = '{"event": "login", "customer_email": "jane@example.com"}'
    return f"curl {shlex.quote(f'{address}/api/v1/track')} \\\n  -H 'X-API-Key: {key}' \\\n  -d '{event}'"


def name_company(address: str) -> str:
    """The command that says which company a customer works for, and what it pays."""
    traits = '{"company": "Example Ltd", "mrr": 4900, "currency": "EUR"}'
    identity = f'{{"customer_email": "jane@example.com", "traits": {traits}}}'
    return f"curl {shlex.quote(f'{address}/api/v1/identify')} \\\n  -H 'X-API-Key: sk_live_…' \\\n  -d '{identity}'"


def _time(moment: datetime, words: str) -> Markup:
    here = local(moment)
    exact = f"{here:%-d %b %Y, %H:%M:%S} {offset(here)}"
    return _TIME.format(f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", exact, words)


def _round_down(seconds: float) -> str | None:
    for size, unit in STEPS:
        if seconds >= size:
            n = int(seconds // size)
            return f"{n} {unit}{'' if n == 1 else 's'}"
    return None
