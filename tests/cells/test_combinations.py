"""Several filters at once, in every order, page by page, in one cell and in several: exactly the customers that each
filter alone lets through, each once."""

import itertools
import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.cells.conftest import MakeWorld, World
from tests.cells.stories import SORTS
from tests.cells.test_reading import fill
from workers.store import connect

COMBINATIONS = 60
VALUES: Mapping[str, tuple[str, ...]] = {
    "level": ("low", "critical,high", "medium,low"),
    "state": ("active", "new,lapsed", "lapsed"),
    "plan": ("pro", "free", "nothing"),
    "company": ("Firm 1", "Firm 4"),
    "currency": ("eur", "USD"),
    "email": ("c1", "C", "zzz"),
    "search": ("5@", "example.com", "%"),
    "risen": ("1", "5", "20"),
}
FIELDS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "risk": lambda customer: customer["risk"]["score"],
    "last_seen": lambda customer: customer["last_seen"],
    "email": lambda customer: customer["email"],
    "risen": lambda customer: customer["risen"] or 0,
    "mrr": lambda customer: customer["mrr"] or 0,
    "mrr_at_risk": lambda customer: customer["mrr_at_risk"] or 0,
}


def passes(customer: Mapping[str, Any], name: str, value: str) -> bool:
    """True if a filter alone lets a customer through, judged by the customer's own fields."""
    if name in ("level", "state"):
        return customer["risk"][name] in value.split(",")
    if name == "email":
        return bool(customer["email"].startswith(value.lower()))
    if name == "search":
        return value in customer["email"]
    if name == "risen":
        return customer["risk"]["state"] != "lapsed" and (customer["risen"] or -1) >= float(value)
    return bool(customer[name] == (value.upper() if name == "currency" else value))


def walk(world: World, query: Mapping[str, str], limit: int) -> list[dict[str, Any]]:
    """All pages of a list."""
    listed: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = world.client.get("/api/v1/customers", params={**query, **cursor, "limit": limit})
        assert answer.status_code == 200, answer.text
        listed += answer.json()["customers"]
        if not answer.json()["next_cursor"]:
            return listed
        cursor = {"cursor": answer.json()["next_cursor"]}


def tie(world: World) -> None:
    """Let many customers stand at the same place of each order."""
    for cell in world.settings.all_cells:
        with connect(cell) as connection:
            connection.execute("""
                UPDATE customers SET risk_before = probability, mrr = 1000
                WHERE account_id > 0 AND length(email) = 15 AND email LIKE 'c1%'
            """)
            connection.execute("UPDATE customers SET mrr = NULL, currency = NULL WHERE email LIKE 'c2%'")


@pytest.mark.parametrize("cells", [1, 4])
def test_filters_orders_and_pages_go_together(make_world: MakeWorld, cells: int) -> None:
    world = fill(make_world(cells))
    tie(world)
    everybody = walk(world, {}, 1000)
    assert len(everybody) > 40
    chance = random.Random(cells)
    orders = itertools.cycle(sign + name for name in SORTS for sign in ("", "-"))
    found = 0
    for sort in itertools.islice(orders, COMBINATIONS):
        chosen = {name: chance.choice(VALUES[name]) for name in chance.sample(sorted(VALUES), chance.randrange(4))}
        listed = walk(world, {**chosen, "sort": sort}, chance.randrange(1, 9))
        expected = {
            customer["email"]
            for customer in everybody
            if all(passes(customer, name, value) for name, value in chosen.items())
        }
        emails = [customer["email"] for customer in listed]
        assert len(emails) == len(set(emails))
        edge = float(chosen.get("risen", -1000))  # rises are rounded where they are shown
        rounded = {customer["email"] for customer in everybody if abs((customer["risen"] or 0) - edge) < 0.06}
        assert set(emails) - rounded == expected - rounded, (sort, chosen)
        if value_of := FIELDS.get(sort.removeprefix("-")):
            values = [value_of(customer) for customer in listed]
            assert values == sorted(values, reverse=sort.startswith("-")), (sort, chosen)
        found += bool(listed)
    assert COMBINATIONS / 3 < found < COMBINATIONS


def test_a_cursor_of_another_order_is_refused(make_world: MakeWorld) -> None:
    world = fill(make_world(4))
    cursor = world.client.get("/api/v1/customers", params={"limit": 3, "sort": "-mrr"}).json()["next_cursor"]
    for sort in ("mrr", "-risk", "email", "-last_seen"):
        answer = world.client.get("/api/v1/customers", params={"cursor": cursor, "sort": sort})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter")
