"""An erasure covers all cells, whatever waits in the buffer of which."""

import pytest

from tests.cells.conftest import MakeWorld, World
from tests.cells.test_chains import user_in
from tests.cells.test_identities import PEOPLE, identify, logins, totals
from tests.cells.test_lodging import Valkey, lodging_events, read_ledger, valkeys, world
from tests.cells.test_relocations import CELLS, email_in
from tests.traces import find_traces
from tests.workers.events import count
from workers.identities import forwarding
from workers.store import connect

__all__ = ["valkeys", "world"]


def test_user_ids_whose_names_wait_in_other_cells_are_erased(make_world: MakeWorld) -> None:
    """The erasure goes by address; the address is said in the cell of the user id, and was not stored yet."""
    world = make_world(4)
    for person in range(PEOPLE):
        email = f"p{person}@example.com"
        world.track(*logins(person), {"event": "opened", "customer_email": email})
        identify(world, user_id=f"user-{person}", customer_email=email, traits={"name": "Jo"})
        assert world.client.delete(f"/api/v1/customers/{email}").status_code == 202
    for _ in range(3):
        world.work()
    for table in ("customers", "events", "customer_days", "identities", "profiles", "unresolved_events", "forwards"):
        assert sum(count(place.connection(), table) for place in world.places) == 0, table
    assert not +totals(world)
    ledger = read_ledger(world)
    assert (ledger.accepted, ledger.erased, ledger.unaccounted) == (4 * PEOPLE, 4 * PEOPLE, 0)
    world.track(*(login for person in range(PEOPLE) for login in logins(person, first=30)))
    for person in range(PEOPLE):
        identify(world, user_id=f"user-{person}", customer_email=f"p{person}@example.com")
    for _ in range(3):
        world.work()
    assert sum(count(place.connection(), "events") for place in world.places) == 3 * PEOPLE


def test_what_lodges_with_another_cell_is_erased(world: World, valkeys: list[Valkey]) -> None:
    """The Redis of the customer's own cell is back already, and its entries come to a later place there."""
    email = email_in(1, "gone")
    event = {"event": "opened", "customer_email": email}
    valkeys[1].kill()
    world.track(event)
    valkeys[1].start()
    assert lodging_events(world) == 1
    assert world.client.delete(f"/api/v1/customers/{email}").status_code == 202
    world.work()
    assert find_words(world, "gone") == []
    assert (read_ledger(world).erased, read_ledger(world).unaccounted) == (1, 0)
    world.track(event)
    world.work()
    assert sum(count(place.connection(), "events") for place in world.places) == 1


def test_traits_on_their_way_to_another_cell_are_erased(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are said afterwards are kept, whatever time they speak of."""
    world, user, email = make_world(CELLS), f"user-{user_in(0)}", email_in(1, "gone")
    stated = {"user_id": user, "traits": {"name": "Gone"}}
    identify(world, user_id=user, customer_email=email)
    world.work()
    with monkeypatch.context() as patches:
        patches.setattr(forwarding, "deliver", lambda process: 0)
        identify(world, **stated)
        world.work()
    assert sum(count(place.connection(), "forwards") for place in world.places) == 1
    assert world.client.delete(f"/api/v1/customers/{email}").status_code == 202
    for _ in range(2):
        world.work()
    assert find_words(world, "gone") == []
    identify(world, user_id=user, customer_email=email)
    world.work()
    identify(world, **stated, timestamp="2026-01-01")
    for _ in range(2):
        world.work()
    assert sum(count(place.connection(), "profiles") for place in world.places) == 1


def find_words(world: World, *words: str) -> list[str]:
    with connect(world.settings.home) as connection:
        return find_traces(connection, world.redis, words)
