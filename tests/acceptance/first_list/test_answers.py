"""The answers about the first list are right: refusals, searches, files, facts. The product admits when it does not
understand."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.acceptance.first_list import terms
from tests.acceptance.first_list.world import CUSTOMERS, WAIT_SECONDS, Imported, Reader
from tests.sending import ago, track
from tests.waiting import wait_until
from tests.workers.events import event

STEADY = terms.address("steady", 1)
IN_PATHS = {"{email}": STEADY, "{name}": "login", "{strategy}": "re_engagement", "{key}": "none"}
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
MONTHS = re.compile(r"\b\d{1,2} (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b")
ALL_IS_WELL = "Everything is working"


def list_routes(reader: Reader) -> Iterator[tuple[str, list[str]]]:
    """Every route that reads, with the names of its parameters, as the service describes itself."""
    yield from (("/customers.csv", ["sort", "level"]), ("/money.csv", ["bom"]))
    for path, methods in reader.get("/openapi.json")["paths"].items():
        if "get" in methods and path.startswith("/api/v1/"):
            names = [each["name"] for each in methods["get"].get("parameters", []) if each.get("in") == "query"]
            for mark, value in IN_PATHS.items():
                path = path.replace(mark, value)
            yield path, names


def test_every_route_refuses_parameters_that_it_does_not_know(today: Reader) -> None:
    """By name, with the nearest one that there is."""
    routes = list(list_routes(today))
    assert len(routes) > 15
    for path, names in routes:
        misspelt = f"{names[0]}s" if names else "limit"
        answer = today.client.get(path, params={misspelt: "1"})
        assert (answer.status_code, answer.json().get("code")) == (422, "invalid_parameter"), (path, answer.text)
        message = answer.json()["message"]
        assert f"`{misspelt}`" in message
        assert f"did you mean `{names[0]}`" in message if names else "takes none" in message, (path, message)


def test_a_file_is_the_same_by_key_and_by_session(today: Reader) -> None:
    query = {"state": "active,new", "sort": "email", "level": "low,medium"}
    by_key = today.client.get("/customers.csv", params=query)
    session = {"X-API-Key": today.client.headers.pop("X-API-Key")}
    try:
        by_session = today.client.get("/customers.csv", params=query)
    finally:
        today.client.headers.update(session)
    listed = [customer["email"] for customer in today.walk(**query)]
    assert [line.partition(",")[0] for line in by_key.text.splitlines()[1:]] == listed
    assert (by_session.status_code, by_session.text) == (200, by_key.text)


@pytest.mark.parametrize(
    ("part", "kinds"),
    [
        ("teady", {"steady": terms.STEADY}),
        ("@left.example.com", {"left": terms.LEFT}),
        ("T-1@", {"steady": 0, "left": 1, "ghost": 1}),
        ("nobody", {}),
    ],
)
def test_a_search_finds_parts_and_domains(today: Reader, part: str, kinds: dict[str, int]) -> None:
    assert today.kinds(search=part, limit=5) == {kind: number for kind, number in kinds.items() if number}


def test_the_risk_of_a_time_begins_with_the_one_in_force_then(today: Reader) -> None:
    """The past is that of the import, week by week."""
    path = f"{CUSTOMERS}/{STEADY}/risk"
    points = today.get(path)["risk"]
    assert len(points) > 10
    between = datetime.fromisoformat(points[4]["at"]) + timedelta(days=2)
    later = today.get(path, **{"from": between.isoformat()})["risk"]
    assert later == points[4:]
    assert today.get(path, **{"from": between.isoformat(), "to": between.isoformat()})["risk"] == points[4:5]


def test_facts_of_advice_are_for_programs(today: Reader) -> None:
    """Times are ISO 8601, and nothing is a day in words."""
    facts = [customer["advice"]["facts"] for customer in today.walk(include="advice", limit=30)]
    times = [value for each in facts for name, value in each.items() if name.startswith(("last_", "overdue_since"))]
    assert len(times) > terms.STEADY
    assert [time for time in times if not ISO.fullmatch(str(time))] == []
    assert [value for each in facts for value in each.values() if MONTHS.search(str(value))] == []


def test_the_list_says_when_nobodys_use_is_understood(imported: Imported) -> None:
    """Until an event of the account's own counts as use; then the list follows."""
    own = imported.account("own names")
    names = [f"c{number}@example.com" for number in range(15)]
    sent = [
        event(event="User Signed In", customer_email=email, timestamp=ago(days=day, minutes=3))
        for email in names
        for day in range(1, 40, 3)
    ]
    track(own.client, *sent)
    wait_until(lambda: len(own.walk(state="new,active,lapsed")) == len(names) and imported.is_scored(), WAIT_SECONDS)
    question = "Which of your events means that somebody uses your product?"
    wait_until(lambda: question in own.page("/"), WAIT_SECONDS, 0.2)  # it comes with the totals
    assert ALL_IS_WELL not in own.page("/")
    mapping = {"mappings": {"User Signed In": "login"}}
    assert own.client.put("/api/v1/mappings", json=mapping).status_code == 200
    wait_until(lambda: own.kinds(state="active").total() == len(names), WAIT_SECONDS)
    assert question not in own.page("/")


def test_the_page_says_that_events_are_refused(imported: Imported) -> None:
    """Over a twentieth of the last day's; the figures are the account's own, and another account has none of this."""
    careless, bystander = imported.account("careless"), imported.account("bystander")
    for reader, refused in ((careless, 3), (bystander, 0)):
        bad = [event(timestamp="yesterday")] * refused
        track(reader.client, *([event(customer_email="ann@example.com")] * 20 + bad), expected=(200, 207))
        wait_until(lambda reader=reader: reader.walk(state="new,active"), WAIT_SECONDS)  # type: ignore[misc]
    wait_until(lambda: "Events were refused" in careless.page("/"), WAIT_SECONDS)
    page = careless.page("/")
    assert "3 of about 23 events of the last day" in page
    assert ALL_IS_WELL not in page
    other = bystander.page("/")
    assert "Events were refused" not in other
    wait_until(lambda: "All 20\xa0events of this account are stored" in bystander.page("/"), WAIT_SECONDS)
    assert careless.get("/api/v1/warnings")["counts"] == {"timestamp_invalid": 3}
    assert bystander.get("/api/v1/warnings")["counts"] == {}


def test_an_account_without_an_event_shows_nobody_elses_figures(imported: Imported) -> None:
    empty = imported.account("empty")
    page = empty.page("/")
    assert "No event is missing." in page
    assert "of this account are stored" not in page
    assert empty.get("/api/v1/analytics/events")["events"] == []
    assert empty.walk() == []


def test_a_redis_that_would_lose_events_is_told(imported: Imported, today: Reader) -> None:
    """On the page, in /readyz and by `windback status`, until it is mended."""

    def detail() -> str:
        return str(today.client.get("/readyz").json())

    def status() -> str:
        return str(json.loads(imported.command("status", "--json"))["redis"])

    assert "append" not in detail() + status()
    redis: Any = imported.door.redis
    redis.config_set("appendonly", "no")
    try:
        wait_until(lambda: "append" in detail(), WAIT_SECONDS)
        assert today.client.get("/readyz").status_code == 200
        wait_until(lambda: "Events could be lost" in today.page("/"), WAIT_SECONDS)
        assert ALL_IS_WELL not in today.page("/")
        assert "appendonly yes" in status()
    finally:
        redis.config_set("appendonly", "yes")
    wait_until(lambda: "append" not in detail(), WAIT_SECONDS)
