"""Addresses that become known after their successors, over several cells. The history at a late one follows, whatever
ends in between. Events go to the present one meanwhile."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.cells.conftest import MakeWorld, World
from tests.cells.test_identities import identify, logins, stored
from tests.cells.test_line import counted
from tests.cells.test_relocations import (
    CELLS,
    MOST_STATEMENTS,
    Guillotine,
    Killed,
    did,
    email_in,
    finish,
)
from tests.cells.test_relocations import guillotine as guillotine
from tests.workers.events import count
from workers.buffer.entries import hash_user
from workers.cells import cell_of
from workers.identities import across, changes
from workers.identities.changes import AddressChange
from workers.process import Process
from workers.store import Connection

LATE, OTHER_LATE, PRESENT, THIRD = (email_in(cell, name) for cell, name in zip((1, 2, 0, 2), "abcd", strict=True))


def users_in(cell: int) -> Iterator[int]:
    """The numbers of user ids whose own cell this is."""
    return (number for number in range(1000) if cell_of(hash_user(1, f"user-{number}"), CELLS) == cell)


def store(world: World) -> None:
    """Store what is in the buffers, and what is passed on to other cells. Customers don't move yet."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(across, "apply_changes", lambda process: [])
        for _ in range(2):
            world.work()


def state(world: World, emails: dict[int, str]) -> None:
    """Send the addresses of user ids."""
    stated = [{"user_id": f"user-{user}", "customer_email": email} for user, email in emails.items()]
    for first in range(0, len(stated), 100):
        identify(world, identities=stated[first : first + 100])


def state_late(world: World, users: dict[int, tuple[str, str]], *, are_first: bool = True) -> None:
    """The first address of each user id is stored after the second one: a process that died had read its statement.
    `are_first`: there was none before these."""
    state(world, {user: present for user, (_, present) in users.items()})
    world.work()
    for place in world.places:
        for column in ("said_at", "first_said_at") if are_first else ("said_at",):
            query = f"UPDATE identities SET {column} = {column} + interval '1 minute' WHERE user_id = ANY (%s)"
            place.connection().execute(query, [[f"user-{user}" for user in users]])
    state(world, {user: late for user, (late, _) in users.items()})
    store(world)


@pytest.mark.parametrize("late", [email_in(0, "late"), email_in(1, "late")])
def test_a_late_address_is_the_same_persons(make_world: MakeWorld, late: str) -> None:
    """Both have a history by then, in the same cell or in two: it becomes one."""
    world = make_world(CELLS)
    world.track(*did(late, "address", 1, 2), *logins(0))
    state_late(world, {0: (late, PRESENT)})
    world.track(*logins(0, first=5))
    store(world)
    assert stored(world) == {late: 2, PRESENT: 6}
    world.work()
    world.track(*did(late, "address", 1, 2, 3))
    for _ in range(2):
        world.work()
    assert stored(world) == {PRESENT: 9}
    assert sum(counted(world)) == 9


@pytest.mark.parametrize("cell", range(CELLS))
def test_a_late_address_of_another_user_id_is_left_to_it(make_world: MakeWorld, cell: int) -> None:
    """In whatever cell that user id is, events in between go to the present address."""
    world = make_world(CELLS)
    user = next(users_in(0))
    other = next(number for number in users_in(cell) if number != user)
    state(world, {other: LATE})
    world.track(*logins(other))
    state_late(world, {user: (LATE, PRESENT)})
    world.track(*logins(user))
    store(world)
    for _ in range(2):
        world.work()
    world.track(*logins(user, first=5), *logins(other, first=5))
    for _ in range(2):
        world.work()
    assert stored(world) == {LATE: 6, PRESENT: 6}
    assert sum(counted(world)) == 12


@pytest.mark.parametrize("is_before", [False, True])
def test_what_was_at_a_late_address_before_it_was_stated_stays(make_world: MakeWorld, is_before: bool) -> None:
    """Unless it is the first one of the user id."""
    world = make_world(CELLS)
    if is_before:
        world.track(*did(LATE, "late", 1, 2))
        store(world)
    state_late(world, {0: (LATE, PRESENT)}, are_first=False)
    world.track(*did(LATE, "late", 1, 2, 3), *logins(0))
    store(world)
    for _ in range(2):
        world.work()
    assert stored(world) == ({LATE: 3, PRESENT: 3} if is_before else {PRESENT: 6})


@pytest.mark.parametrize("is_before", [False, True])
def test_what_was_tracked_under_an_address_that_another_one_overtook_follows(
    make_world: MakeWorld, is_before: bool
) -> None:
    """The change to it was not made yet. What was there before it was stated stays."""
    world = make_world(CELLS)
    world.track(*logins(0), *(did(LATE, "late", 1) if is_before else ()))
    state(world, {0: PRESENT})
    store(world)
    state(world, {0: LATE})
    store(world)
    world.track(*did(LATE, "late", 1, 2))
    store(world)
    state(world, {0: THIRD})
    store(world)
    for _ in range(2):
        world.work()
    assert stored(world) == ({LATE: 2, THIRD: 3} if is_before else {THIRD: 5})


@pytest.mark.parametrize("is_theirs", [False, True])
def test_what_is_tracked_under_the_next_address_before_the_change_is_made_is_the_same_persons(
    make_world: MakeWorld, is_theirs: bool
) -> None:
    """Unless that address is another user id's."""
    world = make_world(CELLS)
    world.track(*logins(0))
    state(world, {0: PRESENT, **({1: LATE} if is_theirs else {})})
    store(world)
    state(world, {0: LATE})
    store(world)
    world.track(*did(LATE, "late", 1, 2))
    store(world)
    for _ in range(2):
        world.work()
    assert stored(world) == ({PRESENT: 3, LATE: 2} if is_theirs else {LATE: 5})


def test_late_addresses_join_before_a_further_change(make_world: MakeWorld) -> None:
    """All are known before any is followed."""
    world = make_world(CELLS)
    world.track(*did(LATE, "late", 1, 2), *did(OTHER_LATE, "other", 1))
    state_late(world, {0: (LATE, PRESENT)})
    world.track(*logins(0))
    state(world, {0: OTHER_LATE})
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(changes, "CHANGES_TOGETHER", 0)
        world.work()
    for place in world.places:
        place.connection().execute("UPDATE identities SET said_at = said_at - interval '1 minute'")
    state(world, {0: THIRD})
    store(world)
    for _ in range(2):
        world.work()
    assert stored(world) == {THIRD: 6}


class Pair(NamedTuple):
    """The late and the present address of a user id."""

    late: str
    present: str

    @classmethod
    def of(cls, number: int, apart: int) -> "Pair":
        return cls(email_in(number % CELLS, f"late{number}x"), email_in((number + apart) % CELLS, f"present{number}x"))


class Mover:
    """A process that makes the changes of one user id at a time."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.user: int | None = None
        self._world, self._list = world, changes.list_changes
        monkeypatch.setattr(changes, "list_changes", self._list_some)

    def _list_some(self, connection: Connection) -> list[AddressChange]:
        return [each for each in self._list(connection) if self.user is None or each.user_id == f"user-{self.user}"]

    def move(self, user: int) -> bool:
        """Returns False if the process ended."""
        cell = cell_of(hash_user(1, f"user-{user}"), CELLS)
        process = Process(self._world.settings, self._world.redis)
        self.user = user
        try:
            across.apply_changes(process.at(cell))
        except Killed:
            return False
        finally:
            self.user = None
            process.disconnect_all()
        return True


def begin(world: World, pairs: dict[int, Pair]) -> None:
    """Let both addresses of each user id have events, and the first ones become known late."""
    early = [event for user, pair in pairs.items() for event in (*did(pair.late, "late", 1, 2), *logins(user, 1))]
    world.track(*early)
    state_late(world, dict(pairs))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("apart", [0, 1])
def test_a_late_history_whose_move_ends_at_any_statement(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, guillotine: Guillotine, apart: int
) -> None:
    """Person by person, it ends a statement later: before one that changes something, or right after it. Then the clock
    finds it. Events come in between, under the late address and under the user id."""
    world = make_world(CELLS)
    mover = Mover(world, monkeypatch)
    begin(world, {0: Pair.of(0, apart)})
    with guillotine.falls(MOST_STATEMENTS, after=False):
        assert mover.move(0)
        changing = [MOST_STATEMENTS - left for left in guillotine.changing]
    assert len(changing) > 10
    pairs = {user: Pair.of(user, apart) for statement in changing for user in (statement, statement + 1)}
    begin(world, pairs)
    assert not any(move_until(mover, guillotine, statement) for statement in changing)
    for statement in pairs.keys() - changing:
        move_until(mover, guillotine, statement)
    between = [event for user, pair in pairs.items() for event in (*did(pair.late, "b", 3), *logins(user, 1, first=5))]
    world.track(*between)
    store(world)
    finish(world)
    world.work()
    assert stored(world) == {Pair.of(0, apart).present: 3, **{pair.present: 5 for pair in pairs.values()}}
    assert sum(counted(world)) == 5 * len(pairs) + 3
    for place in world.places:
        for rows in ("relocations", "relocated_rows", "identities WHERE late_emails <> '{}'"):
            assert count(place.connection(), rows) == 0


def move_until(mover: Mover, guillotine: Guillotine, statement: int) -> bool:
    """Make the change of the user id whose number this is, and end the process before the statement of that number."""
    with guillotine.falls(statement, after=False):
        return mover.move(statement)
