"""Nothing is left of a person after an erasure, in one cell and in several, by whichever address it is asked for while
a change of address waits. It looks at everything that is kept, and so at tables that come later."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psycopg
import pytest

from tests.cells.conftest import MakeWorld, World
from tests.cells.test_identities import addresses, logins, stored
from tests.cells.test_late_addresses import state, users_in
from tests.cells.test_line import counted
from tests.cells.test_lodging import read_ledger
from tests.cells.test_relocations import CELLS, Guillotine, did, email_in, finish, merge
from tests.cells.test_relocations import guillotine as guillotine
from tests.traces import find_traces, hashes_of
from workers.buffer.stream import Reader
from workers.identities import across, erasing, moving
from workers.store import connect

FIRST, SECOND, THIRD, STRANGER = (
    email_in(cell, f"gone{name}") for cell, name in zip((0, 1, 2, 0), "abcs", strict=True)
)
JOE = "joe@example.com"
GONE = "gone"  # is in each of the person's addresses


@pytest.fixture
def nobody_moves(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitStack]:
    """Changes of addresses wait until this is closed."""
    with ExitStack() as stack:
        patches = stack.enter_context(pytest.MonkeyPatch.context())
        patches.setattr(across, "apply_changes", lambda process: [])
        patches.setattr(moving, "apply_changes", lambda connection: [])
        yield stack


def work(world: World) -> None:
    for _ in range(3):
        world.work()


def erase(world: World, email: str) -> None:
    assert world.client.delete(f"/api/v1/customers/{email}").status_code == 202


def erase_user(world: World, user_id: str) -> None:
    erasing.erase(world.settings, 1, user_id, by_user_id=True)


def find_left(world: World, user: int) -> list[str]:
    """The places that still have one of the person's addresses, user ids or their hashes. Receipts keep hashes."""
    with connect(world.settings.home) as connection:
        words = [GONE, f"user-{user}", *hashes_of(1, [FIRST, SECOND, THIRD], [f"user-{user}"])]
        traces = find_traces(connection, world.redis, words)
    receipts = [trace for trace in traces if ".erasures: " in trace and GONE not in trace]
    return [trace for trace in traces if trace not in receipts]


def announce(world: World, user: int) -> None:
    """The user id has the first address, and waits for the second."""
    state(world, {user: FIRST})
    work(world)
    state(world, {user: SECOND})


def come_late(world: World, user: int) -> None:
    """The user id has the second address. The first one became known afterwards, and its history is to follow."""
    state(world, {user: SECOND})
    work(world)
    for place in world.places:
        for column in ("said_at", "first_said_at"):
            place.connection().execute(f"UPDATE identities SET {column} = {column} + interval '1 minute'")
    state(world, {user: FIRST})


def overtake(world: World, user: int) -> None:
    """The user id waits for the third address, and has histories at the first and the second."""
    announce(world, user)
    world.track(*did(SECOND, "between", 4))
    work(world)
    state(world, {user: THIRD})


Begin = Callable[[World, int], None]
WAYS = [announce, come_late, overtake]


def fill(world: World, user: int, begin: Begin) -> None:
    """Let a change of the person's address wait, with events under both addresses and the user id. Joe is another."""
    world.track(*did(JOE, "joe", 1, 2), {"event": "opened", "user_id": f"user-{user}"})
    begin(world, user)
    work(world)
    world.track(*did(FIRST, "first", 1, 2), *did(SECOND, "second", 3), *logins(user))
    work(world)


@pytest.mark.parametrize("asked", [FIRST, SECOND, None], ids=["first", "second", "user id"])
@pytest.mark.parametrize("begin", WAYS)
@pytest.mark.parametrize("cells", [1, CELLS])
def test_a_person_whose_address_is_about_to_change_is_erased_whole(
    make_world: MakeWorld, nobody_moves: ExitStack, cells: int, begin: Begin, asked: str | None
) -> None:
    """What was sent before stays away, what comes afterwards begins a new history, and the ledger adds up."""
    world, user = make_world(cells), next(users_in(2))
    fill(world, user, begin)
    sent = [*did(FIRST, "a", 9), *did(SECOND, "b", 9), *logins(user, 1, first=9)]
    world.track(*sent)  # waits in the buffer
    if asked is None:
        erase_user(world, f"user-{user}")
    else:
        erase(world, asked)
    nobody_moves.close()
    finish(world)
    work(world)
    assert find_left(world, user) == []
    assert stored(world) == {JOE: 2}
    assert sum(counted(world)) == 2
    assert read_ledger(world).unaccounted == 0
    world.track(*sent)
    state(world, {user: FIRST})
    work(world)
    again = stored(world)
    assert again.pop(JOE) == 2
    assert again == {FIRST: 2, SECOND: 1}


@pytest.mark.parametrize("asked", [FIRST, SECOND, None], ids=["first", "second", "user id"])
@pytest.mark.parametrize("is_stored", [True, False])
@pytest.mark.parametrize("cells", [1, CELLS])
def test_an_address_that_waits_in_the_buffer_is_the_persons(
    make_world: MakeWorld, cells: int, is_stored: bool, asked: str | None
) -> None:
    """Events under both may be stored before it, since a process that died had read it. Other people's stays."""
    world, user = make_world(cells), next(users_in(2))
    world.track(*did(JOE, "joe", 1, 2))
    state(world, {user: FIRST})
    work(world)
    world.track(*did(FIRST, "first", 1, 2), *logins(user))
    work(world)
    state(world, {user: SECOND, user + 1: "other@example.com"})
    if is_stored:
        for place in world.places:
            Reader(place.redis, place.lanes["live"], "dead").read_left_over(60, 1000)
            Reader(place.redis, place.lanes["live"], "dead").read(events=100, wait_seconds=0.01)
        world.track(*did(SECOND, "second", 3))
        with pytest.MonkeyPatch.context() as patches:
            patches.setattr(Reader, "read_left_over", lambda *_: [])
            work(world)
        assert stored(world)[SECOND] == 1
    else:
        world.track(*did(SECOND, "second", 3))
    if asked is None:
        erase_user(world, f"user-{user}")
    else:
        erase(world, asked)
    for place in world.places:
        place.settings = place.settings.changed(claim_seconds=0.0)
    finish(world)
    assert find_left(world, user) == []
    assert stored(world) == {JOE: 2}
    assert addresses(world) == {f"user-{user + 1}": "other@example.com"}
    assert read_ledger(world).unaccounted == 0


@pytest.mark.parametrize("asked", [FIRST, SECOND])
@pytest.mark.parametrize("cells", [1, CELLS])
def test_a_history_that_was_there_before_is_a_strangers(
    make_world: MakeWorld, nobody_moves: ExitStack, cells: int, asked: str
) -> None:
    """It doesn't join the person's, so it isn't erased with it."""
    world, user = make_world(cells), next(users_in(2))
    world.track(*did(SECOND, "second", 1, 2))
    work(world)
    state(world, {user: FIRST})
    world.track(*logins(user))
    work(world)
    state(world, {user: SECOND})
    work(world)
    erase(world, asked)
    nobody_moves.close()
    finish(world)
    assert stored(world) == ({SECOND: 2} if asked == FIRST else {FIRST: 3})


@pytest.mark.parametrize("cells", [1, CELLS])
def test_a_change_that_is_announced_during_an_erasure_is_part_of_it(
    make_world: MakeWorld, nobody_moves: ExitStack, monkeypatch: pytest.MonkeyPatch, cells: int
) -> None:
    world, user = make_world(cells), next(users_in(2))
    fill(world, user, announce)
    begin = erasing._erase

    def announce_first(*arguments: object) -> object:
        monkeypatch.setattr(erasing, "_erase", begin)
        state(world, {user: THIRD})
        work(world)
        world.track(*did(THIRD, "third", 1))
        work(world)
        return begin(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(erasing, "_erase", announce_first)
    erase(world, FIRST)
    nobody_moves.close()
    finish(world)
    assert find_left(world, user) == []
    assert stored(world) == {JOE: 2}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("cells", "step"), [(1, 5), (CELLS, 11)])
def test_an_erasure_that_ends_at_any_statement_is_done_again(
    make_world: MakeWorld, nobody_moves: ExitStack, guillotine: Guillotine, cells: int, step: int
) -> None:
    """It is asked for again by the same address, until it is through; each time it ends some statements later."""
    world, user = make_world(cells), next(users_in(2))
    fill(world, user, overtake)
    for statement in range(1, 400, step):
        with guillotine.falls(statement, after=statement % 2 == 0):
            try:
                erasing.erase(world.settings, 1, SECOND)
            except psycopg.OperationalError:  # the connection ended, or its commits can't be waited for any more
                continue
        break
    else:
        raise AssertionError("it never came through")
    nobody_moves.close()
    finish(world)
    assert find_left(world, user) == []
    assert stored(world) == {JOE: 2}
    assert sum(counted(world)) == 2


@pytest.mark.parametrize("cells", [1, CELLS])
def test_a_merge_that_is_made_during_an_erasure_takes_it_along(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, cells: int
) -> None:
    world = make_world(cells)
    world.track(*did(JOE, "joe", 1, 2), *did(FIRST, "first", 1, 2), *did(SECOND, "second", 3))
    work(world)
    begin = erasing._erase

    def merge_first(*arguments: object) -> object:
        monkeypatch.setattr(erasing, "_erase", begin)
        assert merge(world, FIRST, SECOND)
        return begin(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(erasing, "_erase", merge_first)
    erase(world, FIRST)
    work(world)
    assert stored(world) == {JOE: 2}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("asked", ["from", "into"])
@pytest.mark.parametrize("cells", [1, CELLS])
def test_an_erasure_beside_a_merge(make_world: MakeWorld, cells: int, asked: str) -> None:
    """It comes out as if one had been asked for after the other. An interrupted request is made again."""
    world = make_world(cells)
    pairs = [(email_in(n % CELLS, f"from{n}x"), email_in((n + n // 3) % CELLS, f"into{n}x")) for n in range(6)]
    world.track(*(event for pair in pairs for email in pair for event in did(email, email.split("@")[0], 1, 2)))
    work(world)

    def ask(method: str, path: str, body: dict[str, str] | None = None) -> int:
        while True:
            answer = world.client.request(method, f"/api/v1/customers/{path}", json=body)
            if answer.status_code != 503:
                return answer.status_code

    with ThreadPoolExecutor(4) as pool:
        merges = [pool.submit(ask, "POST", f"{old}/merge", {"into": new}) for old, new in pairs]
        erasures = [pool.submit(ask, "DELETE", old if asked == "from" else new) for old, new in pairs]
        assert {erasure.result() for erasure in erasures} == {202}
        assert {merging.result() for merging in merges} <= {200, 404}
    finish(world)
    left = stored(world)
    for (old, new), merging in zip(pairs, merges, strict=True):
        assert old not in left
        if asked == "from":
            assert left.get(new) == (2 if merging.result() == 404 else None)
        else:
            assert left.get(new) in (2, None)
    assert sum(counted(world)) == sum(left.values())
