"""Random histories in one cell and in several, read with random filters, sorts and sizes of pages: the same answers.

WINDBACK_TEST_HISTORIES says how many histories (1); each is read WINDBACK_TEST_READS times (25).
"""

import os
import random
from urllib.parse import urlencode

import pytest

from tests.cells.conftest import MakeWorld, World
from tests.cells.stories import NOW, SORTS, differences, some_history
from tests.cells.test_reading import Moment, moment

__all__ = ["moment"]  # a fixture

HISTORIES = int(os.environ.get("WINDBACK_TEST_HISTORIES", "1"))
READS = int(os.environ.get("WINDBACK_TEST_READS", "25"))
LEVELS = ("low", "medium", "high", "critical")
STATES = ("new", "active", "lapsed")


def any_list(chance: random.Random, customers: int) -> str:
    """A list of customers with filters, of which each is there or not."""
    filters = {
        "level": ",".join(chance.sample(LEVELS, chance.randint(1, 3))),
        "state": ",".join(chance.sample(STATES, chance.randint(1, 2))),
        "plan": chance.choice(["free", "pro"]),
        "company": chance.choice(["Firm 1", "firm 2", "nobody"]),
        "email": f"c{chance.randrange(customers)}"[:2],
        "search": chance.choice(["1@", "example", "c2", "nobody"]),
        "risen": str(chance.choice([1, 5, 20])),
        "include": "advice",
    }
    chosen = {name: value for name, value in filters.items() if chance.random() < 0.25}
    if "risen" in chosen:
        chosen["since"] = chance.choice(["7d", "30d"])
    sort = chance.choice(["", "-"]) + chance.choice(SORTS)
    return "/api/v1/customers?" + urlencode({**chosen, "sort": sort, "limit": chance.randint(1, 20)})


def any_answer(chance: random.Random, customers: int) -> str:
    """An answer about all customers, or about one of them."""
    name = chance.choice(["login", "feature_used", "report_shared", "x", "nps_response", "never"])
    interval = chance.choice(["hour", "day", "week", "month"])
    customer = f"/api/v1/customers/c{chance.randrange(customers)}@example.com"
    since = f"{NOW.replace(hour=0, minute=0, second=0):%Y-%m-%d}"
    return chance.choice(
        [
            f"/api/v1/analytics/events/{name}?interval={interval}",
            f"/api/v1/analytics/events?to={since}",
            "/api/v1/analytics/risk",
            customer,
            f"{customer}/events?limit={chance.randint(1, 30)}",
            f"{customer}/risk",
            "/money.csv",
            f"/customers.csv?sort={chance.choice(SORTS)}",
            "/companies",
            "/events",
            f"/events/{name}",
        ]
    )


def told(world: World, events: list[dict[str, object]]) -> World:
    """A world to which this happened, in two halves."""
    half = len(events) // 2
    for part in (events[:half], events[half:]):
        world.track(*part)
        world.work()
    return world


@pytest.mark.usefixtures("moment")
@pytest.mark.parametrize("seed", range(HISTORIES))
def test_any_history_is_read_the_same(make_world: MakeWorld, moment: Moment, seed: int) -> None:
    chance = random.Random(seed)
    customers = chance.randint(5, 60)
    events = some_history(chance, customers, chance.randint(100, 600))
    one, several = (told(make_world(cells, rescore_seconds=0.0), events) for cells in (1, chance.randint(2, 9)))
    lists = [any_list(chance, customers) for _ in range(READS)]
    answers = [any_answer(chance, customers) for _ in range(READS // 2)]
    assert not (different := differences(one, several, lists, answers)), "\n".join(different)
