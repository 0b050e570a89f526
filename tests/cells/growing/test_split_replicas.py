"""A split where replicas are asked for: what it settles with the buffers is not lost with a master."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cells.conftest import MakeWorld, World
from tests.cells.test_growth import reopened
from tests.cells.test_line import counted, history
from tests.cells.test_lodging import read_ledger
from tests.clusters import Node, running_pair
from workers import growth
from workers.buffer import replicas
from workers.buffer.lanes import LIVE
from workers.buffer.replicas import NotReplicated
from workers.buffer.stream import Reader
from workers.identities import ledger_moves
from workers.ingest import ingest
from workers.ingest.batches import decode_batch
from workers.ingest.transaction import store_batch
from workers.store import presence


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """A master and its replica."""
    with running_pair(tmp_path) as pair:
        yield pair


def store_without_a_word(world: World) -> None:
    """As workers that die before the buffer knows what they have stored."""
    for place in world.places:
        for lane in place.lanes.values():
            reader = Reader(place.redis, lane, "dead")
            if entries := reader.read_left_over(60, 1) or reader.read(5000, 0):
                store_batch(place.connection(), lane, decode_batch(entries), 5.0)


def store_and_acknowledge(world: World) -> None:
    """As workers whose word no replica hears."""
    for place in world.places:
        for lane in place.lanes.values():
            ingest.drain(place, lane)


@pytest.mark.parametrize("work", [store_without_a_word, store_and_acknowledge])
def test_a_master_that_dies_after_a_split_takes_no_counts_along(
    make_world: MakeWorld, nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch, work: Callable[[World], None]
) -> None:
    """Receipts stay with other cells than the buffers; entries that came back would count as duplicates there, and
    events that had waited for their address would wait for ever."""
    monkeypatch.setattr(replicas, "WAIT_MILLISECONDS", 300)
    master, replica = nodes
    world = make_world(2, buffer_url=master.url, buffer_replicas=1)
    world.track(*history())
    replica.kill()
    work(world)
    for place in world.places:
        ledger_moves.note_move(place.connection(), LIVE.name, {"stored": -1, "dead:late": 1})
    with pytest.raises(NotReplicated):
        growth.split(world.settings)
    world.process.disconnect_all()
    presence.enter(world.settings.all_cells[1]).close()
    replica.start()
    replica.follow(master)
    after = growth.split(world.settings)
    master.kill()
    replica.ask("REPLICAOF", "NO", "ONE")
    four = reopened(world, after.changed(buffer_url=replica.url))
    for _ in range(3):
        four.work()
    ledger = read_ledger(four)
    assert (ledger.stored, ledger.dead) == (sum(counted(four)) - 2, {"late": 2})
    assert (ledger.duplicate, ledger.unaccounted, ledger.buffered) == (0, 0, 0)
    four.process.disconnect_all()


def test_a_split_is_announced_when_replicas_know_it(make_world: MakeWorld, nodes: tuple[Node, Node]) -> None:
    """A replica that took over without would hold the buffers of other tables, as far as workers see."""
    master, replica = nodes
    world = make_world(2, buffer_url=master.url, buffer_replicas=1)
    after = growth.split(world.settings)
    replica.kill()
    with pytest.raises(NotReplicated):
        growth.split(world.settings)
    replica.start()
    replica.follow(master)
    assert growth.split(world.settings) == after
    world.process.disconnect_all()
