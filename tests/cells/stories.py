"""The same histories of customers for worlds of one cell and of several, and the answers about them."""

import itertools
import random
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from difflib import unified_diff
from inspect import getsource
from pprint import pformat
from typing import Any

import pytest

from tests.cells.conftest import World

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=2)  # before anything is stored
CUSTOMERS = 60
# What chance decides: ids, tokens, keys.
CHANCE = re.compile(r"""name="token" value="[^"]+"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|sk_live_[\w-]+…[\w-]+""")
# What the moment of storing or asking may decide: times in JSON and in pages.
TIME = re.compile(r"""<time datetime="([^"]+)"[^>]*>[^<]*</time>|\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)""")
SORTS = ("risk", "last_seen", "email", "risen", "urgency", "mrr", "mrr_at_risk")
DAY = f"{NOW:%Y-%m-%d}"
WEEK_AGO = f"{NOW - timedelta(days=7):%Y-%m-%d}"
LISTS = [
    *(f"/api/v1/customers?limit=7&sort={sign}{name}" for name in SORTS for sign in ("", "-")),
    "/api/v1/customers?limit=7&level=high,critical&include=advice",
    "/api/v1/customers?limit=7&state=active&plan=pro",
    "/api/v1/customers?limit=7&state=new,lapsed",
    "/api/v1/customers?limit=7&search=3%40example",
    "/api/v1/customers?limit=7&email=c1",
    "/api/v1/customers?limit=7&company=Firm 2",
    "/api/v1/customers?limit=7&risen=1&since=7d",
    "/api/v1/alerts?limit=3",
    "/api/v1/customers/c3@example.com/events?limit=4",
    "/api/v1/model/track-record?limit=3",
    "/api/v1/model/track-record?days=90&before=7&level=medium&limit=5",
]
LONGER_LISTS = [path.replace("limit=7", "limit=67") for path in LISTS]  # of hundreds of customers
ANSWERS = [
    "/api/v1/analytics/events",
    f"/api/v1/analytics/events?from={WEEK_AGO}&to={DAY}",
    *(f"/api/v1/analytics/events/feature_used?interval={interval}" for interval in ("hour", "day", "week", "month")),
    "/api/v1/analytics/events/report_shared",
    "/api/v1/analytics/events/never_sent",
    "/api/v1/analytics/risk",
    f"/api/v1/analytics/risk?from={WEEK_AGO}&to={DAY}",
    "/api/v1/model",
    "/api/v1/mappings",
    "/api/v1/alerts/effect",
    "/api/v1/webhooks",
    "/api/v1/drafts/templates",
    "/api/v1/warnings",
    "/api/v1/customers/c3@example.com",
    "/api/v1/customers/c4@example.com",
    *(f"/api/v1/customers/c{number}@example.com" for number in (7, 14, 21, 28)),  # who have user ids
    "/api/v1/customers/c3@example.com/risk",
    "/api/v1/customers/c3@example.com/draft",
    "/api/v1/customers/c3@example.com/handlings",
    "/api/v1/customers/nobody@example.com",
    "/customers.csv",
    "/customers.csv?sort=email",
    "/customers.csv?level=high,critical&sort=mrr_at_risk",
    "/money.csv",
]
PAGES = [
    "/",
    "/customers",
    "/customers?sort=email&state=all",
    "/customers?search=3%40example",
    "/customers?level=high&state=active",
    f"/customers?then=high&on={WEEK_AGO}",
    "/customers/c3@example.com",
    "/customers/c4@example.com",
    "/events",
    "/events/feature_used",
    "/companies",
    "/companies/Firm 2",
    "/mappings",
    "/import",
    "/model",
    "/alerts",
    "/alerts/effect",
    "/drafts",
    "/drafts/payment_recovery",
    "/settings",
    "/first-event",
]


def history() -> Iterator[dict[str, Any]]:
    """Customers' events, of each a little different."""
    for customer, day in itertools.product(range(CUSTOMERS), range(40)):
        if (customer * 7 + day * 3) % (2 + customer % 11) == 0 and day >= customer % 9:
            yield {
                "event": ("login", "feature_used", "report_shared")[(customer + day) % 3],
                "customer_email": f"c{customer}@example.com",
                "timestamp": (NOW - timedelta(days=day, hours=1, minutes=customer, seconds=day)).isoformat(),
                "properties": {
                    "feature": f"f{day % 4}",
                    "plan": ("free", "pro", "team")[customer % 3],
                    "size": day % 5,
                    "company": f"Firm {customer % 5}",
                    "mrr": 1000 + customer * 10,
                    "currency": ("EUR", "USD")[customer % 2],
                },
            }


def trouble() -> Iterator[dict[str, Any]]:
    """Events that raise the risk of several customers now."""
    for customer in range(0, CUSTOMERS, 4):
        for name in ("subscription_downgraded", "invoice_overdue", "support_ticket_opened", "refund_requested"):
            yield {
                "event": name,
                "customer_email": f"c{customer}@example.com",
                "timestamp": (NOW - timedelta(minutes=1, seconds=customer)).isoformat(),
                "properties": {"reason": f"too dear {customer}", "subject": f"help {customer}"},
            }


def some_history(chance: random.Random, customers: int, events: int) -> list[dict[str, Any]]:
    """Customers' events at random."""
    return [
        {
            "event": chance.choice(["login", "feature_used", "report_shared", "invoice_overdue", "nps_response", "x"]),
            "customer_email": f"c{int(customers * chance.random() ** 2)}@example.com",
            "timestamp": (NOW - timedelta(seconds=chance.randrange(60, 60 * 86_400))).isoformat(),
            "properties": {
                name: chance.choice(values)
                for name, values in (
                    ("feature", ["f1", "f2", "f3"]),
                    ("plan", ["free", "pro", None]),
                    ("score", [0, 7, 10]),
                    ("company", ["Firm 1", "Firm 2"]),
                    ("mrr", [0, 1000, 25_000]),
                    ("currency", ["EUR", "USD"]),
                )
                if chance.random() < 0.6
            },
        }
        for _ in range(events)
    ]


def plain(value: Any) -> Any:
    """An answer without what the moment, or chance, decides; numbers to 6 digits, since sums have another order."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return TIME.sub(_drop_moment, CHANCE.sub("", value)) if isinstance(value, str) else value


def _drop_moment(time: re.Match[str]) -> str:
    """A time, unless it is that of storing or asking."""
    return time[0] if datetime.fromisoformat(time[1] or time[2]) < NOW + timedelta(minutes=1) else ""


def read(world: World, path: str) -> Any:
    """The answer to GET, as far as it is the same for the same history."""
    answer = world.client.get(path)
    if "json" in answer.headers["content-type"]:
        return answer.status_code, plain(answer.json())
    return answer.status_code, plain(answer.text)


def read_all(world: World, path: str) -> list[Any]:
    """All pages of a list, one after the other."""
    pages: list[Any] = []
    cursor = ""
    while not pages or cursor:
        answer = world.client.get(path + (f"&cursor={cursor}" if cursor else ""))
        assert answer.status_code == 200, f"{path}: {answer.text}"
        cursor = answer.json().pop("next_cursor") or ""
        pages.append(plain({**answer.json(), "next_cursor": bool(cursor)}))
        assert len(pages) < 100
    return pages


def sign_in(world: World) -> None:
    """Begin a session, for the pages."""
    key = world.client.headers["X-API-Key"]
    assert world.client.post("/sign-in", data={"key": key}, follow_redirects=False).status_code == 303


class IsDatetime(type):
    """Of a class that stands in for datetime: all datetimes are its instances."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, datetime)


@contextmanager
def at_one_moment(moment: datetime) -> Iterator[None]:
    """For as long as the block lasts it is the same moment for whatever answers: else a chart that ends now, and all
    that counts the days up to now, may differ between two worlds that are asked one after the other."""

    class StandingDatetime(datetime, metaclass=IsDatetime):
        def __new__(cls, *parts: Any, **zone: Any) -> datetime:  # type: ignore[misc]
            return datetime(*parts, **zone)  # noqa: DTZ001

        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return moment.astimezone(tz)

    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("api.") and "datetime.now(" in getsource(module):
                patch.setattr(module, "datetime", StandingDatetime)
        yield


def differences(
    one: World, other: World, lists: Sequence[str] = LISTS, answers: Iterable[str] = (*ANSWERS, *PAGES)
) -> list[str]:
    """The lists, answers and pages that two worlds give otherwise, each with the first lines that differ."""
    for world in (one, other):
        sign_in(world)
    with at_one_moment(datetime.now(UTC)):
        pairs = [(path, read_all(one, path), read_all(other, path)) for path in lists]
        pairs += [(path, read(one, path), read(other, path)) for path in answers]
    return [f"{path}: {compare(first, second)}" for path, first, second in pairs if first != second]


def compare(first: Any, second: Any) -> list[str]:
    before, after = (pformat(each, width=150).splitlines() for each in (first, second))
    return list(unified_diff(before, after, lineterm="", n=0))[3:9]
