"""Customers who go on while they are on their way to another cell: to a third address, or for good."""

from typing import Any

import pytest

from tests.cells.conftest import MakeWorld, World
from tests.cells.test_identities import addresses, customers, identify, logins
from tests.cells.test_line import counted
from tests.cells.test_relocations import CELLS, did, email_in, finish, merge
from tests.workers.events import count
from workers.buffer.entries import hash_user
from workers.buffer.lanes import HISTORY, LIVE
from workers.cells import cell_of
from workers.identities import across, changes, relocations
from workers.identities.changes import AddressChange
from workers.ingest import ingest
from workers.process import Process

FIRST, SECOND, THIRD = (email_in(cell, name) for cell, name in enumerate(("a", "b", "c")))


class Lost(Exception):
    """The process ends before a history arrives."""


def days(world: World) -> dict[str, dict[str, int]]:
    """The counted events of each customer."""
    return {email: counts or {} for email, (_, _, counts) in customers(world).items()}


@pytest.fixture
def underway(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world in which the first customer is on the way to the second, and the process has ended."""
    world = make_world(CELLS)
    for email, name in ((FIRST, "a"), (SECOND, "b"), (THIRD, "c")):
        world.track(*did(email, name, 1, 2))
    world.work()

    def end(*_: Any) -> None:
        raise Lost

    with monkeypatch.context() as patches:
        patches.setattr(relocations, "_bring", end)
        assert world.client.post(f"/api/v1/customers/{FIRST}/merge", json={"into": SECOND}).status_code == 500
    assert FIRST not in customers(world)
    assert count(world.places[0].connection(), "relocations") == 1
    return world


def test_a_history_follows_its_customer_to_a_third_address(underway: World) -> None:
    assert merge(underway, SECOND, THIRD)
    underway.track(*did(FIRST, "late", 3))
    finish(underway)
    assert days(underway) == {THIRD: {"login": 7}}
    assert sum(counted(underway)) == 7


def test_a_history_that_comes_back_to_its_address(underway: World) -> None:
    """The second customer is merged into the first, whose history is still on the way."""
    assert merge(underway, SECOND, FIRST)
    finish(underway)
    assert days(underway) == {FIRST: {"login": 4}, THIRD: {"login": 2}}


@pytest.mark.parametrize("email", [FIRST, SECOND])
def test_a_history_on_its_way_is_erased(underway: World, email: str) -> None:
    """By its old address, or by its next one."""
    assert underway.client.delete(f"/api/v1/customers/{email}").status_code == 202
    finish(underway)
    assert days(underway) == {THIRD: {"login": 2}}
    for place in underway.places:
        for table in ("relocations", "relocated_rows"):
            assert count(place.connection(), table) == 0
    assert sum(counted(underway)) == 2


def user_in(cell: int) -> int:
    """The number of a user id whose own cell this is."""
    return next(number for number in range(1000) if cell_of(hash_user(1, f"user-{number}"), CELLS) == cell)


@pytest.mark.parametrize("cell", range(CELLS))
def test_events_under_a_former_address_follow_while_the_history_is_on_its_way(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, cell: int
) -> None:
    """Under the address itself, and under the user id, in whatever cell that is: it still has the former address."""
    world, user = make_world(CELLS), user_in(cell)
    identify(world, user_id=f"user-{user}", customer_email=FIRST)
    world.track(*logins(user))
    world.work()
    world.work()

    def end(*_: Any) -> None:
        raise Lost

    identify(world, user_id=f"user-{user}", customer_email=SECOND)
    with monkeypatch.context() as patches:
        patches.setattr(relocations, "_bring", end)
        with pytest.raises(Lost):
            world.work()
    assert FIRST not in customers(world)
    world.track(*logins(user, first=10), *did(FIRST, "late", 20))
    for place in world.places:
        ingest.drain(place, LIVE)
        ingest.drain(place, HISTORY)
    finish(world)
    world.work()
    assert days(world) == {SECOND: {"login": 7}}


def test_a_merge_that_is_asked_for_again_is_finished(underway: World) -> None:
    answer = underway.client.post(f"/api/v1/customers/{FIRST}/merge", json={"into": SECOND}).json()
    assert answer == {"email": SECOND, "events": 2}
    assert days(underway) == {SECOND: {"login": 4}, THIRD: {"login": 2}}


def test_a_customer_who_came_from_another_cell_is_found_by_the_search(make_world: MakeWorld) -> None:
    world = make_world(CELLS)
    identify(world, user_id="user-1", customer_email=FIRST)
    world.work()
    world.track(*logins(1))
    world.work()
    identify(world, user_id="user-1", customer_email=SECOND)
    for _ in range(2):
        world.work()
    found = world.client.get("/api/v1/customers", params={"search": SECOND[1:]}).json()["customers"]
    assert [customer["email"] for customer in found] == [SECOND]


def announce(world: World, email: str) -> tuple[Process, list[AddressChange]]:
    """Returns the place where another address of user-1 was said, and the change."""
    identify(world, user_id="user-1", customer_email=email)
    for place in world.places:
        with pytest.MonkeyPatch.context() as patches:
            patches.setattr(across, "apply_changes", lambda process: [])
            world.work()
        if listed := changes.list_changes(place.connection()):
            return place, listed
    raise AssertionError("no change was announced")


@pytest.fixture
def moving_world(make_world: MakeWorld) -> World:
    """A world with one customer, who has a user id and the first address."""
    world = make_world(CELLS)
    identify(world, user_id="user-1", customer_email=FIRST)
    world.work()
    world.track(*logins(1))
    world.work()
    return world


def test_a_worker_with_an_old_list_of_changes_changes_nothing(
    moving_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one has made the change since, and the next one."""
    place, listed = announce(moving_world, SECOND)
    assert across.apply_changes(place) == []
    announce(moving_world, THIRD)
    assert across.apply_changes(place) == []
    monkeypatch.setattr(changes, "list_changes", lambda connection: list(listed))
    assert across.apply_changes(place) == []
    moving_world.track({"event": "login", "customer_email": SECOND}, {"event": "login", "user_id": "user-1"})
    for _ in range(2):
        moving_world.work()
    assert addresses(moving_world) == {"user-1": THIRD}
    assert days(moving_world) == {THIRD: {"login": 5}}


def test_two_workers_make_a_change_once(moving_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one comes when the first has read how the change goes."""
    place, _ = announce(moving_world, SECOND)
    other = Process(moving_world.settings, moving_world.redis).at(place.cell.number)
    choose, asked = across._choose_course, []

    def choose_and_let_another_try(*arguments: Any) -> changes.Course:
        asked.append(arguments)
        if len(asked) == 1:
            assert across.apply_changes(other) == []
        return choose(*arguments)

    monkeypatch.setattr(across, "_choose_course", choose_and_let_another_try)
    assert across.apply_changes(place) == []
    other.disconnect_all()
    assert len(asked) == 1
    moving_world.work()
    assert days(moving_world) == {SECOND: {"login": 3}}
