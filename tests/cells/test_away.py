"""What is said of a user id while the cell that it leads to is away: it is carried out, once, when the cell is back."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
from redis.exceptions import RedisError

from tests.cells.conftest import MakeWorld, World
from tests.cells.test_chains import user_in
from tests.cells.test_identities import addresses, customers, identify, logins
from tests.cells.test_line import counted
from tests.cells.test_lodging import Valkey, move_all, read_ledger, valkeys
from tests.cells.test_relocations import CELLS, email_in
from tests.waiting import wait_until
from tests.workers.events import count
from workers.identities import forwarding
from workers.ingest import ingest, resolving
from workers.store import connect, presence

__all__ = ["valkeys"]

AWAY = 1
USER = user_in(0)
HERE, THERE = email_in(0, "here"), email_in(AWAY, "there")


def work(world: World) -> None:
    """As far as the servers are there."""
    for place in world.places:
        with suppress(RedisError):
            for lane in place.lanes.values():
                ingest.drain(place, lane)
            resolving.drain(place)


def assert_carried_out(world: World, logins_of_user: int) -> None:
    """The user id has the address, the customer its events and traits, and nothing is left over."""
    for _ in range(3):
        world.work()
    assert addresses(world) == {f"user-{USER}": THERE}
    assert customers(world) == {THERE: ("Jo", "Acme", {"login": logins_of_user})}
    assert sum(counted(world)) == logins_of_user
    for table in ("forwards", "unresolved_events", "relocations", "profiles WHERE account_id <> 1"):
        assert sum(count(place.connection(), table) for place in world.places) == 0, table
    ledger = read_ledger(world)
    assert (ledger.stored, ledger.duplicate, ledger.unresolved, ledger.unaccounted) == (logins_of_user, 0, 0, 0)


@pytest.mark.parametrize("is_known", [False, True], ids=["first address", "next address"])
def test_an_address_whose_redis_is_away(make_world: MakeWorld, valkeys: list[Valkey], is_known: bool) -> None:
    """Events and traits wait where the user id is."""
    world = make_world(CELLS, cell_buffer_urls=" ".join(server.url for server in valkeys))
    world.track(*logins(USER))
    if is_known:
        identify(world, user_id=f"user-{USER}", customer_email=HERE)
    world.work()
    valkeys[AWAY].kill()
    identify(world, user_id=f"user-{USER}", customer_email=THERE, traits={"name": "Jo"})
    identify(world, user_id=f"user-{USER}", traits={"company": "Acme"})
    world.track(*logins(USER, first=10))
    work(world)
    waiting = count(world.places[0].connection(), "forwards")
    assert waiting > 0
    forwarding.deliver(world.places[0])
    assert count(world.places[0].connection(), "forwards") == waiting
    valkeys[AWAY].start()
    move_all(world)
    assert_carried_out(world, 6)


@contextmanager
def away(world: World) -> Iterator[None]:
    """A cell's tables can't be had: as while a command has them alone, or their Postgres is away."""
    cell = world.settings.all_cells[AWAY]
    with connect(cell.database_url) as holder:
        presence.seize(holder, cell.schema or "")
        yield


@pytest.mark.parametrize("is_known", [False, True], ids=["first address", "next address"])
def test_an_address_whose_postgres_is_away(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    """The change waits, and whoever carries it out; what is said and done meanwhile is stored."""
    world = make_world(CELLS)
    if is_known:
        identify(world, user_id=f"user-{USER}", customer_email=HERE)
    world.track(*logins(USER))
    world.work()
    place, tried = world.places[0], []
    enter: Callable[..., object] = presence.enter

    def try_to_enter(cell: object) -> object:
        tried.append(cell)
        return enter(cell)

    monkeypatch.setattr(presence, "enter", try_to_enter)
    world.process.disconnect_all()
    with ThreadPoolExecutor(1) as pool:
        with away(world):
            identify(world, user_id=f"user-{USER}", customer_email=THERE, traits={"name": "Jo", "company": "Acme"})
            world.track(*logins(USER, first=10))
            for lane in place.lanes.values():
                ingest.drain(place, lane)
            resolved = pool.submit(resolving.drain, place)
            wait_until(lambda: resolved.done() or tried.count(world.settings.all_cells[AWAY]) > 1, timeout=60)
            assert addresses_at(world) == {f"user-{USER}": HERE if is_known else THERE}
        resolved.result(timeout=60)
    assert_carried_out(world, 6)


def addresses_at(world: World) -> dict[str, str]:
    """The addresses of user ids, as their own cell has them."""
    query = "SELECT user_id, email FROM identities WHERE user_id IS NOT NULL"
    with connect(world.settings.all_cells[0]) as connection:
        return dict(connection.execute(query).fetchall())
