"""Learning over several cells: the same model as from a single one, used by all of them."""

import time
from functools import partial

import msgspec
import pytest

from tests.cells.conftest import MakeWorld, World
from tests.workers.events import count
from tests.workers.worlds import fill, world
from workers import clock
from workers.accounts import models
from workers.accounts.models import Card
from workers.cells import cell_of
from workers.learning import track_records, trainer
from workers.risk import rescore


def is_of(number: int, cells: int, customer_id: str) -> bool:
    """True if a customer belongs to this cell."""
    return cell_of(customer_id, cells) == number


def filled(filled_world: World) -> World:
    """The simulated customers, each in the own cell."""
    cells = filled_world.settings.cells
    for number, place in enumerate(filled_world.places):
        if cells > 1:
            clock.mirror_home(place)
        assert fill(place.connection(), world(), keeps=partial(is_of, number, cells)) == 1
    return filled_world


def train(filled_world: World, now: float) -> Card:
    with filled_world.process.cell_connections() as cells:
        several = cells if filled_world.settings.cells > 1 else ()
        return trainer.train(filled_world.process.connection(), 1, now=now, cells=several)


def rounded(value: object) -> object:
    """Numbers to 6 digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    return [rounded(part) for part in value] if isinstance(value, list) else value


@pytest.fixture
def both(make_world: MakeWorld) -> tuple[World, World]:
    return filled(make_world(1)), filled(make_world(3))


def test_three_cells_learn_what_one_does(both: tuple[World, World]) -> None:
    now = time.time()
    one, three = (train(filled_world, now) for filled_world in both)
    assert one.snapshots > 0
    assert rounded(msgspec.to_builtins(three)) == rounded(msgspec.to_builtins(one))


def test_a_switch_at_home_is_followed_in_every_cell(both: tuple[World, World]) -> None:
    _, three = both
    card = train(three, time.time())
    assert card.chosen != card.against
    for place in three.places:
        clock.mirror_home(place)
        while count(place.connection(), "renewals"):
            rescore.drain(place)
        assert models.find_in_use(place.connection(), 1).model.version == card.chosen
        others = count(place.connection(), f"customers WHERE model <> '{card.chosen}'")
        assert others == 0
        clock.mirror_home(place)
        assert count(place.connection(), "renewals") == 0


def test_track_records_of_all_cells_are_those_of_one(both: tuple[World, World]) -> None:
    now = time.time()
    for filled_world in both:
        with filled_world.process.cell_connections() as cells:
            track_records.compute(
                filled_world.process.connection(), 1, filled_world.settings.levels, now=now, cells=cells
            )
    one, three = (
        {
            table: sorted(
                row
                for place in filled_world.places
                for row in place.connection().execute(f"SELECT customer_id::text FROM {table}").fetchall()
            )
            for table in ("departures", "flags")
        }
        for filled_world in both
    )
    assert one == three
    assert one["departures"]
