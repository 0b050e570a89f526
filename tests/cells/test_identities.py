"""User ids and addresses over several cells: into whatever cells an address, its user ids and its next address fall,
the customers come out as with a single cell."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from tests.cells.conftest import MakeWorld, World
from tests.cells.test_line import NOW, counted, history
from tests.waiting import wait_until
from tests.workers.events import count
from workers.identities import across, relocations
from workers.identities.changes import AddressChange, Course
from workers.store import Connection

PEOPLE = 12


def identify(world: World, **fields: Any) -> None:
    """Send an identity until it is taken, as producers do: Redis may need longer than a door waits."""
    wait_until(lambda: world.client.post("/api/v1/identify", json=fields).json()["status"] == "ok")


def logins(person: int, days: int = 3, first: int = 0) -> list[dict[str, Any]]:
    """The logins of a user id."""
    return [
        {
            "event": "login",
            "user_id": f"user-{person}",
            "timestamp": (NOW - timedelta(days=first + day, minutes=person)).isoformat(),
        }
        for day in range(days)
    ]


def tell_the_story(world: World) -> World:
    """Events of user ids before and after their address is known, traits, addresses that change and are merged."""
    for person in range(PEOPLE):
        world.track(*logins(person))
    world.work()
    for person in range(PEOPLE):
        email = f"p{person}@example.com"
        identify(world, user_id=f"user-{person}", customer_email=email, traits={"name": f"Person {person}"})
        identify(world, user_id=f"user-{person}", traits={"company": f"Company {person % 3}"})
    world.work()
    for person in range(PEOPLE):
        world.track(*logins(person, first=5))
        world.track({"event": "report_shared", "customer_email": f"p{person}@example.com", "event_id": f"e{person}"})
    world.work()
    for person in range(0, PEOPLE, 3):
        identify(world, user_id=f"user-{person}", customer_email=f"moved{person}@example.com")
    world.work()
    for person in range(PEOPLE):
        world.track(*logins(person, first=9))
        world.track({"event": "feature_used", "customer_email": f"p{person}@example.com", "event_id": f"f{person}"})
    world.work()
    for person in range(1, PEOPLE, 3):
        into = f"p{person + 1}@example.com"
        merged = world.client.post(f"/api/v1/customers/p{person}@example.com/merge", json={"into": into})
        assert (merged.status_code, merged.json()["email"]) == (200, into)
    world.work()
    world.work()
    return world


def customers(world: World) -> dict[str, tuple[Any, ...]]:
    """The customers' data, and the days."""
    rows = [
        row
        for place in world.places
        for row in place.connection().execute(
            """SELECT email, name, company, (
                SELECT jsonb_object_agg(event, n) FROM (
                    SELECT event, sum(n) AS n FROM customer_days AS days
                    WHERE days.customer_id = customers.customer_id GROUP BY event
                ) AS counted
            ) FROM customers"""
        )
    ]
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: row[1:] for row in rows}


def totals(world: World) -> Counter[tuple[str, Any]]:
    """The totals of analytics: the count of an event on a day."""
    counts: Counter[tuple[str, Any]] = Counter()
    for place in world.places:
        for event, day, n in place.connection().execute("SELECT event, day, n FROM event_days"):
            counts[event, day] += n
    return counts


def test_identities_come_out_as_in_a_single_cell(make_world: MakeWorld) -> None:
    one, four = (tell_the_story(make_world(cells)) for cells in (1, 4))
    assert Outcome.of(four) == Outcome.of(one)
    assert len(customers(one)) == PEOPLE - PEOPLE // 3
    assert [count(place.connection(), "forwards") for place in four.places] == [0, 0, 0, 0]
    assert sum(count(place.connection(), "unresolved_events") for place in four.places) == 0


class Outcome(NamedTuple):
    """What a story leads to."""

    customers: dict[str, tuple[Any, ...]]
    totals: Counter[tuple[str, Any]]
    counted: int

    @classmethod
    def of(cls, world: World) -> "Outcome":
        return cls(customers(world), totals(world), sum(counted(world)))


class Lost(Exception):
    """The cell that a customer leaves is gone, after the other one has the copy."""


class ShakenWorld(World):
    """A world whose work is tried again until no server is lost any more."""

    def work(self) -> None:
        while True:
            try:
                return super().work()
            except Lost:
                self.track({"event": "returned", "customer_email": "p0@example.com", "event_id": "while-lost"})


_undisturbed: list[Outcome] = []


def find_undisturbed(make_world: MakeWorld) -> Outcome:
    """What the story leads to where no cell is lost; it is told once for all tests."""
    if not _undisturbed:
        whole = tell_the_story(make_world(4))
        whole.track({"event": "returned", "customer_email": "p0@example.com", "event_id": "while-lost"})
        whole.work()
        whole.work()
        _undisturbed.append(Outcome.of(whole))
    return _undisturbed[0]


@pytest.mark.parametrize("step", ["_unpack_once", "own_identities"])
def test_a_cell_that_is_lost_in_the_middle_of_a_move(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Before the history arrives, or when it has: it is there once, whatever came to the old address meanwhile."""
    expected = find_undisturbed(make_world)
    lost: set[str] = set()
    carry_out, take_step = across._carry_out, getattr(relocations, step)
    now: list[AddressChange] = []

    def note_change(cells: Sequence[Connection], change: AddressChange) -> Course:
        now[:] = [change]
        course = carry_out(cells, change)
        now.clear()
        return course

    def lose_once(*arguments: Any) -> Any:
        if now and now[0].next_email.startswith("moved") and now[0].old not in lost:
            lost.add(now[0].old)
            raise Lost
        return take_step(*arguments)

    monkeypatch.setattr(across, "_carry_out", note_change)
    monkeypatch.setattr(relocations, step, lose_once)
    shaken = tell_the_story(ShakenWorld(*make_world(4)))
    assert lost
    assert Outcome.of(shaken) == expected


def test_a_customer_is_erased_in_all_cells(make_world: MakeWorld) -> None:
    world = tell_the_story(make_world(4))
    for person in range(PEOPLE):
        for email in (f"p{person}@example.com", f"moved{person}@example.com"):
            assert world.client.delete(f"/api/v1/customers/{email}").status_code == 202
    world.work()
    for table in ("customers", "events", "customer_days", "identities", "profiles", "unresolved_events"):
        assert sum(count(place.connection(), table) for place in world.places) == 0, table
    assert not +totals(world)


def test_a_customer_has_its_user_ids_of_all_cells(make_world: MakeWorld) -> None:
    world, users = make_world(4), [f"user-{person}" for person in range(8)]
    for user in users:
        identify(world, user_id=user, customer_email="p0@example.com")
    world.track({"event": "login", "customer_email": "p0@example.com"})
    world.work()
    assert world.client.get("/api/v1/customers/p0@example.com").json()["user_ids"] == users


def test_a_forward_that_is_written_twice_is_stored_once(make_world: MakeWorld) -> None:
    """A process that ends between the write and its commit leaves the note where it was."""
    world = make_world(4)
    for person in range(PEOPLE):
        identify(world, user_id=f"user-{person}", customer_email=f"p{person}@example.com")
    world.work()
    for person in range(PEOPLE):
        world.track(*logins(person), *({"event": "opened", "user_id": f"user-{person}"} for _ in range(2)))
    kept = {}
    for place in world.places:
        connection = place.connection()
        connection.execute(
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN INSERT INTO kept SELECT OLD.*; RETURN OLD; END'"
        )
        connection.execute("CREATE TABLE kept (LIKE forwards)")
        connection.execute("CREATE TRIGGER keep BEFORE DELETE ON forwards FOR EACH ROW EXECUTE FUNCTION keep()")
    world.work()
    world.work()
    for place in world.places:
        connection = place.connection()
        kept[place.cell.name] = count(connection, "kept")
        connection.execute("DROP TRIGGER keep ON forwards")
        connection.execute("INSERT INTO forwards SELECT * FROM kept")
    assert sum(kept.values()) > 0
    world.work()
    world.work()
    assert sum(counted(world)) == PEOPLE * 5


def test_a_history_without_user_ids_forwards_nothing(make_world: MakeWorld) -> None:
    world = make_world(4)
    world.track(*history())
    world.work()
    assert world.redis.hget(world.places[0].lanes["live"].outcomes, "moved") in (None, b"0")


def addresses(world: World) -> dict[str, str]:
    """The address of each user id."""
    return {
        user_id: email
        for place in world.places
        for user_id, email in place.connection().execute(
            "SELECT user_id, email FROM identities WHERE user_id IS NOT NULL"
        )
    }


def stored(world: World) -> dict[str, int]:
    """The number of logins of each address."""
    return {email: int(days["login"]) for email, (_, _, days) in customers(world).items() if days and "login" in days}


RINGS = [  # of each group: for each person, whose address follows; then who has events
    ([1, 0], []),
    ([1, 0], [0]),
    ([1, 0], [1]),
    ([1, 2, 0], []),
    ([1, 2, 0], [1]),
    ([1, 2, 0], [0, 2]),
    ([1, 2, 3], [0, 1, 2]),
]


@pytest.mark.parametrize("together", [True, False], ids=["together", "one after the other"])
@pytest.mark.parametrize("cells", [1, 4])
def test_addresses_that_are_passed_on(make_world: MakeWorld, cells: int, together: bool) -> None:
    """Each user id has the address that was said of it last, and takes along what it did. If both addresses have a
    history, that stays; cells hear of changes one after the other."""
    world = make_world(cells)
    next_of = {4 * group + n: 4 * group + to for group, (ring, _) in enumerate(RINGS) for n, to in enumerate(ring)}
    doers = {4 * group + n for group, (_, active) in enumerate(RINGS) for n in active}
    alone = {4 * group + n for group, (_, active) in enumerate(RINGS) for n in active if len(active) == 1}
    for number in next_of:
        identify(world, user_id=f"user-{number}", customer_email=f"p{number}@example.com")
    world.work()
    world.track(*(login for number in doers for login in logins(number)))
    world.work()
    for number, to in next_of.items():
        identify(world, user_id=f"user-{number}", customer_email=f"p{to}@example.com")
        if not together:
            world.work()
    for _ in range(3):
        world.work()
    assert addresses(world) == {f"user-{number}": f"p{to}@example.com" for number, to in next_of.items()}
    moved = doers if together and cells == 1 else alone
    assert {f"p{next_of[number]}@example.com" for number in moved} <= {e for e, n in stored(world).items() if n == 3}
    if moved == doers:
        assert stored(world) == {f"p{next_of[number]}@example.com": 3 for number in doers}
    world.track(*(login for number in next_of for login in logins(number, days=1, first=20)))
    for _ in range(2):
        world.work()
    assert {f"p{to}@example.com" for to in next_of.values()} <= stored(world).keys()
    assert sum(stored(world).values()) == sum(counted(world)) == 3 * len(doers) + len(next_of)
