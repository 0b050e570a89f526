"""Cells of which some share a Redis: trouble of a server is that of its cells, and of no other's."""

from http import HTTPStatus

import pytest
from redis import Redis

from tests.cells.conftest import MakeWorld, World
from tests.cells.test_line import counted, history
from tests.cells.test_lodging import Valkey, lodging_events, move_all, plain_events
from tests.cells.test_lodging import valkeys as valkeys
from workers.buffer.entries import hash_customer
from workers.cells import cell_of

CELLS = 4
ACCOUNT = 1


@pytest.fixture
def world(make_world: MakeWorld, valkeys: list[Valkey]) -> World:
    """Four cells, two on each of two servers."""
    first, second = valkeys[0].url, valkeys[1].url
    return make_world(CELLS, cell_buffer_urls=f"{first} {first} {second} {second}")


def test_events_lodge_while_a_server_is_away(world: World, valkeys: list[Valkey]) -> None:
    events = [*history(), *plain_events()]
    valkeys[0].kill()
    world.track(*events)
    valkeys[0].start()
    assert_stored_once(world, len(events))


def test_events_lodge_while_a_server_hangs(world: World, valkeys: list[Valkey]) -> None:
    """It carries out later what it was asked meanwhile: those events come twice, and are stored once."""
    events = [*plain_events(), *history()]
    world.track(*plain_events())
    valkeys[0].hang()
    world.track(*events)
    valkeys[0].go_on()
    assert_stored_once(world, len(events) + len(plain_events()))


def assert_stored_once(world: World, events: int) -> None:
    assert lodging_events(world) > 0
    move_all(world)
    assert lodging_events(world) == 0
    world.work()
    assert sum(counted(world)) == events


def test_a_server_that_is_full_refuses_events_of_its_cells_alone(world: World, valkeys: list[Valkey]) -> None:
    refused = []
    with Redis.from_url(valkeys[0].url) as redis:
        redis.config_set("maxmemory", 1)
        for sent in plain_events():
            answer = world.client.post("/api/v1/track", json=sent)
            if cell_of(hash_customer(ACCOUNT, sent["customer_email"]), CELLS) < CELLS // 2:
                assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "buffer_full")
                refused.append(sent)
            else:
                assert answer.status_code == HTTPStatus.OK
        redis.config_set("maxmemory", 0)
    world.track(*refused)
    assert lodging_events(world) == 0
    world.work()
    assert sum(counted(world)) == len(plain_events())
