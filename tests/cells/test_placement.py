"""A list of places that is swapped or shortened is refused in words, before anything is stored."""

import msgspec
import pytest
from redis import Redis
from starlette.testclient import TestClient

from api.app import create_app
from tests.cells.conftest import MakeWorld, World
from tests.cells.test_line import history
from tests.cells.test_lodging import Valkey
from tests.cells.test_lodging import valkeys as valkeys
from workers import installation, placement
from workers.placement import Misplaced
from workers.process import Process
from workers.redis import redis_client
from workers.settings import Settings


def doors(world: World, settings: Settings) -> TestClient:
    """Doors of the same installation with other settings."""
    client = TestClient(create_app(settings), raise_server_exceptions=False)
    client.headers["X-API-Key"] = world.client.headers["X-API-Key"]
    return client


def stored(redis: Redis) -> list[bytes | str]:
    """The streams that hold anything."""
    return [key for key in redis.keys("*:buffer:*") if redis.xlen(key)]


@pytest.mark.parametrize("cells", [1, 3, 8])
def test_another_number_of_cells_is_refused(make_world: MakeWorld, cells: int) -> None:
    world = make_world(4)
    wrong = msgspec.structs.replace(world.settings, cells=cells)
    words = f"this installation has 4 cells, and WINDBACK_CELLS is {cells}"
    with doors(world, wrong) as client:
        answer = client.post("/api/v1/track", json={"events": history()[:50]})
        assert (answer.status_code, answer.json()["code"]) == (503, "buffer_unavailable")
        ready = client.get("/readyz")
        assert (ready.status_code, words in ready.json()["message"]) == (503, True)
    assert stored(world.redis) == []
    process = Process(wrong, world.redis)
    with pytest.raises(Misplaced, match=words):
        process.check_installation()
    process.disconnect_all()
    with pytest.raises(Misplaced, match=words):
        placement.migrate_all(wrong)


def test_a_single_cell_with_customers_does_not_become_several(make_world: MakeWorld) -> None:
    world = make_world(1)
    world.track(*history()[:20])
    world.work()
    with pytest.raises(Misplaced, match="has a single cell"):
        placement.migrate_all(msgspec.structs.replace(world.settings, cells=2))


def test_swapped_buffers_are_refused(make_world: MakeWorld, valkeys: list[Valkey]) -> None:
    urls = [server.url for server in valkeys]
    world = make_world(3, cell_buffer_urls=" ".join(urls))
    swapped = msgspec.structs.replace(world.settings, cell_buffer_urls=" ".join([urls[1], urls[0], urls[2]]))
    with doors(world, swapped) as client:
        answer = client.post("/api/v1/track", json={"events": history()[:50]})
        assert answer.status_code == 503
        assert "the buffer of cell 000 is in another Redis" in client.get("/readyz").json()["detail"]["redis"]
    process = Process(swapped, world.redis)
    with pytest.raises(Misplaced, match="the buffer of cell 000 is in another Redis"):
        process.at(0).check_installation()
    process.disconnect_all()
    for url in urls[:2]:
        with redis_client(url) as redis:
            assert stored(redis) == []


def test_home_is_at_none_of_the_listed_places(make_world: MakeWorld, valkeys: list[Valkey]) -> None:
    world = make_world(3, cell_buffer_urls=" ".join(server.url for server in valkeys))
    world.process.check_installation()
    assert world.redis.exists(installation.KEY)
    assert not world.redis.exists(placement.HERE)


def test_swapped_databases_are_refused(make_world: MakeWorld) -> None:
    other = make_world(1).settings.database_url or ""
    world = make_world(2)
    urls = [cell.database_url for cell in world.settings.all_cells]
    moved = msgspec.structs.replace(world.settings, cell_database_urls=" ".join([urls[0], other]))
    with pytest.raises(Misplaced, match="cell 001 has no schema cell_001 there"):
        placement.migrate_all(moved)
