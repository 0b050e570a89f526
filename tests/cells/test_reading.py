"""One history through one cell and through eight: every answer and every page is the same."""

import itertools
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cells.conftest import MakeWorld, World
from workers.risk import rescore
from workers.risk.causes import DueCustomer

NOW = datetime.now(UTC).replace(microsecond=0)
CUSTOMERS = 60
# What chance, or the moment of storing or asking, decides: ids, tokens, keys; the time of a tally or a note.
CHANCE = re.compile(
    r"""name="token" value="[^"]+"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|sk_live_[\w-]+…[\w-]+|"""
    r"""<time datetime="[^"]+" title="[^"]+">(just now|\d+ seconds? ago)</time>"""
)
MOMENT = {"received_at", "next_attempt_at"}
SORTS = ("risk", "last_seen", "email", "risen", "urgency", "mrr", "mrr_at_risk")
LISTS = [
    *(f"/api/v1/customers?limit=7&sort={sign}{name}" for name in SORTS for sign in ("", "-")),
    "/api/v1/customers?limit=7&level=high,critical&include=advice",
    "/api/v1/customers?limit=7&state=active&plan=pro",
    "/api/v1/customers?limit=7&search=3%40example",
    "/api/v1/customers?limit=7&company=Firm 2",
    "/api/v1/customers?limit=7&risen=1&since=7d",
    "/api/v1/alerts?limit=3",
]
ANSWERS = [
    "/api/v1/analytics/events",
    f"/api/v1/analytics/events?from={NOW - timedelta(days=9):%Y-%m-%d}&to={NOW:%Y-%m-%d}",
    *(f"/api/v1/analytics/events/feature_used?interval={interval}" for interval in ("hour", "day", "week", "month")),
    "/api/v1/analytics/events/report_shared",
    "/api/v1/analytics/risk",
    "/api/v1/model",
    "/api/v1/model/track-record",
    "/api/v1/mappings",
    "/api/v1/alerts/effect",
    "/api/v1/customers/c3@example.com",
    "/api/v1/customers/c3@example.com/events?limit=5",
    "/api/v1/customers/c3@example.com/risk",
    "/api/v1/customers/c3@example.com/draft",
    "/api/v1/customers/nobody@example.com",
    "/customers.csv",
    "/customers.csv?sort=email",
    "/money.csv",
]
PAGES = [
    "/",
    "/customers",
    "/customers?sort=email&state=all",
    "/customers/c3@example.com",
    "/events",
    "/events/feature_used",
    "/companies",
    "/companies/Firm 2",
    "/mappings",
    "/model",
    "/alerts",
    "/alerts/effect",
    "/drafts/payment_recovery",
    "/first-event",
]


def history() -> Iterator[dict[str, Any]]:
    """What customers did, each a little otherwise."""
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


@pytest.fixture
def at_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores are as of NOW whenever they are computed, so that those of two worlds are the same."""

    class AsOfNow(DueCustomer):
        @classmethod
        def _make(cls, columns: Iterable[Any]) -> DueCustomer:  # type: ignore[override]
            return DueCustomer(*columns)._replace(now=NOW.timestamp())

    monkeypatch.setattr(rescore, "DueCustomer", AsOfNow)


def fill(world: World) -> World:
    """Make a webhook, send the history, and score everybody."""
    hook = {"url": "https://example.com/hook", "min_level": "medium"}
    assert world.client.post("/api/v1/webhooks", json=hook).status_code == 201
    world.track(*history())
    world.work()
    return world


def plain(value: Any) -> Any:
    """An answer without what the moment, or chance, decides."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items() if name not in MOMENT}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return CHANCE.sub("", value) if isinstance(value, str) else value


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
        assert answer.status_code == 200, answer.text
        cursor = answer.json().pop("next_cursor") or ""
        pages.append(plain({**answer.json(), "next_cursor": bool(cursor)}))
        assert len(pages) < 100
    return pages


@pytest.mark.usefixtures("at_one_moment")
def test_eight_cells_answer_as_one_does(make_world: MakeWorld) -> None:
    one, eight = fill(make_world(1)), fill(make_world(8))
    for world in (one, eight):
        key = world.client.headers["X-API-Key"]
        assert world.client.post("/sign-in", data={"key": key}, follow_redirects=False).status_code == 303
    different = [path for path in LISTS if read_all(one, path) != read_all(eight, path)]
    different += [path for path in (*ANSWERS, *PAGES) if read(one, path) != read(eight, path)]
    assert different == []
    listed = [customer["email"] for page in read_all(eight, LISTS[0]) for customer in page["customers"]]
    assert sorted(listed) == sorted({event["customer_email"] for event in history()})


def test_what_is_done_about_a_customer_is_kept_in_the_cell(make_world: MakeWorld) -> None:
    world = fill(make_world(8))
    path = "/api/v1/customers/c3@example.com/handlings"
    assert world.client.post(path, json={"what": "noted", "text": "called", "who": "Ann"}).status_code == 201
    (noted,) = world.client.get(path).json()["handlings"]
    assert (noted["what"], noted["text"], noted["who"]) == ("noted", "called", "Ann")


def test_a_name_that_any_cell_knows_can_be_mapped(make_world: MakeWorld) -> None:
    world = make_world(8)
    world.track({"event": "Signed In", "customer_email": "c1@example.com"})
    world.work()
    assert world.client.put("/api/v1/mappings", json={"mappings": {"Signed In": "login"}}).status_code == 200
    assert world.client.put("/api/v1/mappings", json={"mappings": {"signed in": "login"}}).status_code == 422
