"""A history that goes to another cell, and an interruption at any statement: afterwards it is there, once."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count as count_up
from typing import Any, NamedTuple

import psycopg
import pytest

from tests.cells.conftest import MakeWorld, World
from tests.cells.test_identities import customers
from tests.cells.test_line import NOW, counted
from tests.workers.events import count
from workers import placement
from workers.buffer.entries import hash_customer
from workers.cells import cell_of
from workers.upkeep import retention
from workers.upkeep.retention import Before

CELLS = 3
DAYS_KEPT = 30
MOST_STATEMENTS = 300  # of a merge


class Killed(psycopg.OperationalError):
    """The process that sent the statement is gone."""


class Guillotine:
    """Ends the process, as far as its servers see, before the so-manieth statement or right after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        self.after = False
        self.changing: list[int] = []  # the numbers, from the last, of the statements that change something
        for name in ("execute", "executemany"):
            monkeypatch.setattr(psycopg.Cursor, name, self._wrap(getattr(psycopg.Cursor, name)))

    def _wrap(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def run_or_die(cursor: Any, *arguments: Any, **options: Any) -> Any:
            if self.left is None:
                return run(cursor, *arguments, **options)
            self.left -= 1
            if re.search("INSERT|UPDATE|DELETE", str(arguments[0])):
                self.changing.append(self.left)
            if self.left > 0:
                return run(cursor, *arguments, **options)
            if self.after and self.left == 0:
                run(cursor, *arguments, **options)
            cursor.connection.close()
            raise Killed  # and so do all statements from now on, since the process is gone

        return run_or_die

    @contextmanager
    def falls(self, statement: int, after: bool) -> Iterator[None]:
        """Let the process end at this statement, from 1."""
        self.left, self.after, self.changing = statement, after, []
        try:
            yield
        finally:
            self.left = None


@pytest.fixture
def guillotine(monkeypatch: pytest.MonkeyPatch) -> Guillotine:
    return Guillotine(monkeypatch)


def email_in(cell: int, name: str) -> str:
    """An address of this cell."""
    emails = (f"{name}{n}@example.com" for n in count_up())
    return next(email for email in emails if cell_of(hash_customer(1, email), CELLS) == cell)


def did(email: str, name: str, *days: int) -> list[dict[str, Any]]:
    """Logins so many days ago."""
    return [
        {"event": "login", "customer_email": email, "event_id": f"{name}-{day}", "timestamp": str(NOW - timedelta(day))}
        for day in days
    ]


def prune(world: World) -> None:
    """Delete the events that are older than DAYS_KEPT."""
    before = NOW - timedelta(days=DAYS_KEPT)
    for place in world.places:
        after: str | None = retention.FIRST
        while after:
            after = retention.step(place.connection(), after, Before(before, before, None))


def merge(world: World, email: str, into: str) -> bool:
    """Returns False if the process ended."""
    answer = world.client.post(f"/api/v1/customers/{email}/merge", json={"into": into})
    assert answer.status_code in (200, 503), answer.text
    return answer.status_code == 200


def finish(world: World) -> None:
    """Do what the clock calls for, once an interruption is old enough."""
    for place in world.places:
        place.connection().execute("UPDATE relocations SET left_at = left_at - interval '1 hour'")
    world.work()
    world.work()


def logins(world: World) -> dict[str, int]:
    """How many logins the days of each customer hold."""
    return {email: int(days["login"]) for email, (_, _, days) in customers(world).items() if days}


class Pair(NamedTuple):
    """Two customers of different cells. Both have days whose events retention has pruned, and a login in common."""

    old: str
    new: str

    @classmethod
    def of(cls, number: int) -> "Pair":
        return cls(email_in(number % CELLS, f"old{number}x"), email_in((number + 1) % CELLS, f"new{number}x"))

    def history(self) -> list[dict[str, Any]]:
        common = {"event": "login", "timestamp": str(NOW - timedelta(2)), "event_id": "both"}
        both = ({**common, "customer_email": email} for email in self)
        return [*did(self.old, "a", 1, 40, 41, 80), *did(self.new, "b", 1, 40, 90), *both]


def count_statements(world: World, guillotine: Guillotine, number: int) -> int:
    """How many statements it takes to merge a pair."""
    pair = Pair.of(number)
    world.track(*pair.history())
    world.work()
    with guillotine.falls(MOST_STATEMENTS, after=False):
        assert merge(world, *pair)
        return MOST_STATEMENTS - (guillotine.left or 0)


def count_connecting(world: World, guillotine: Guillotine) -> int:
    """How many statements it takes to connect to the cells."""
    with guillotine.falls(MOST_STATEMENTS, after=False), placement.connect_cells(world.settings):
        return MOST_STATEMENTS - (guillotine.left or 0)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("after", "again"), [(False, "by the client"), (True, "by the clock")])
def test_a_merge_that_ends_at_any_statement(
    make_world: MakeWorld, guillotine: Guillotine, after: bool, again: str
) -> None:
    """Pair by pair, it ends a statement later: before that statement, or right after it. Then it is asked for again, or
    the clock finds it."""
    world = make_world(CELLS)
    first, statements = count_connecting(world, guillotine), count_statements(world, guillotine, 0)
    assert first + 20 < statements < MOST_STATEMENTS
    pairs = {number: Pair.of(number) for number in range(first, statements + 1)}
    world.track(*(event for pair in pairs.values() for event in pair.history()))
    world.work()
    prune(world)
    for statement, pair in pairs.items():
        with guillotine.falls(statement, after):
            assert not merge(world, *pair) or (after and statement == statements)
        if again == "by the client":
            assert merge(world, *pair), statement
    if again == "by the clock":
        finish(world)
        begun = [pair for pair in pairs.values() if pair.old not in logins(world)]
        assert len(begun) > len(pairs) / 3
        assert all(merge(world, *pair) for pair in pairs.values())
    world.work()
    assert logins(world) == {pair.new: 8 for pair in [Pair.of(0), *pairs.values()]}
    assert sum(counted(world)) == 3 * (len(pairs) + 1)
    for place in world.places:
        for table in ("relocations", "relocated_rows"):
            assert count(place.connection(), table) == 0
