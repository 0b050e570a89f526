"""An erasure covers all cells, whatever waits in the buffer of which."""

from tests.cells.conftest import MakeWorld
from tests.cells.test_identities import PEOPLE, identify, logins, totals
from tests.cells.test_lodging import read_ledger
from tests.workers.events import count


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
