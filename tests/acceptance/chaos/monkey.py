"""The faults of a storm, in an order that a seed decides."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from redis.exceptions import RedisError

from tests.acceptance.chaos import past
from tests.acceptance.chaos.cell_commands import CellCommands
from tests.acceptance.chaos.child import Child
from tests.acceptance.chaos.imported import ImportedAccount
from tests.acceptance.chaos.plant import DISK_MEGABYTES, Plant
from tests.clusters import Node
from tests.waiting import wait_until
from tests.workers.events import push
from workers.buffer.lanes import LANES, lanes_of
from workers.redis import command_client

log = logging.getLogger(__name__)

WORKERS = ("web", "ingest", "import", "score", "deliver", "clock")
SERVERS = ("redis", "postgres", "buffer")
PATIENCE_SECONDS = 120.0  # for a cluster to be whole again


class Lengths(NamedTuple):
    """The durations of faults, in seconds."""

    pause: float  # between two, at most
    frozen: float
    outage: float


SHORT = Lengths(pause=0.8, frozen=3.0, outage=5.0)
LONG = Lengths(pause=5.0, frozen=20.0, outage=90.0)


class Monkey:
    """Does one thing after another to a plant, and counts them."""

    def __init__(self, plant: Plant, seed: int, lengths: Lengths, importing: ImportedAccount | None = None) -> None:
        self._plant, self._lengths, self._importing = plant, lengths, importing
        self._chance = random.Random(seed)
        self._commands = CellCommands(plant, self._chance)
        self.done: list[str] = []
        self.erased: list[str] = []
        self.failed_over_at: list[float] = []  # when masters were killed, monotonic
        self.poisoned = 0  # entries of the buffer that nobody can decode, surely written
        self.maybe_poisoned = 0

    def short(self) -> None:
        """Each thing once, those that are cheap several times."""
        if self._plant.settings.cells > 1:
            self._do(self._in_cells())
            return
        kills = [lambda kind=kind: self.kill(kind) for kind in (*WORKERS, *WORKERS[1:3], *SERVERS[:2], "redis")]
        rest = [
            self.poison,
            self.outage,
            self.restart_all,
            self.read_only,
            self.erase,
            self.erase,
            self.retain,
            self.retain,
            self.switch_model,
            self.fill_disk,
            lambda: self.freeze("ingest"),
            lambda: self.freeze("import"),
            self.kill_several,
        ]
        self._do([*kills, *rest])

    def _in_cells(self) -> list[Callable[[], None]]:
        """The differences between cells."""
        kills = [lambda kind=kind: self.kill(kind) for kind in ("web", "ingest", "clock", *self._servers())]
        return [*kills, self.outage, self.outage_of_redis, self.erase, self.retain, *self._apart(), *self._in_cluster()]

    def _apart(self) -> list[Callable[[], None]]:
        settings = self._plant.settings
        return [self.lose_redis] * all(cell.buffer_url != settings.redis_url for cell in settings.all_cells)

    def _in_cluster(self) -> list[Callable[[], None]]:
        if not self._plant.servers.nodes:
            return []
        return [self.fail_over, self.freeze_master, self.kill_node, self.move_slot]

    def _servers(self) -> list[str]:
        return [kind for kind in SERVERS if self._plant.kinds(kind)]

    def long(self, seconds: float) -> None:
        """All things in another order each time, until the time is up; each at least once."""
        until = time.monotonic() + seconds
        deck: list[Callable[[], None]] = []
        is_first = True
        while is_first or time.monotonic() < until:
            deck = deck or self._chance.sample(everything := self._everything(), len(everything))
            self._do([deck.pop()])
            is_first = is_first and bool(deck)

    def _everything(self) -> list[Callable[[], None]]:
        kinds = (*WORKERS, *self._servers())
        kills = [lambda kind=kind: self.kill(kind) for kind in kinds]
        freezes = [lambda kind=kind: self.freeze(kind) for kind in kinds]
        rest = [self.poison, self.outage, self.restart_all, self.read_only, self.switch_model, self.fill_disk]
        several = [self.outage_of_redis, self.split, self.move_cell] if self._plant.settings.cells > 1 else []
        rest += [self.kill_several, self.poison, *[self.erase] * 3, *several, *self._apart(), *self._in_cluster() * 2]
        rest += [self.kill_import, self.retain] * 2
        return [*kills, *freezes, *rest]

    def kill(self, kind: str) -> None:
        """`kill -9` one of a kind."""
        self._one(kind).kill()
        self._note(f"kill {kind}")

    def kill_several(self) -> None:
        """`kill -9` half of everything at once."""
        children = [child for name, child in self._plant.children.items() if not name.startswith("node.")]
        for child in self._chance.sample(children, len(children) // 2):
            child.kill()
        self._note("kill several")

    def freeze(self, kind: str) -> None:
        """Stop one of a kind in the middle of whatever it does; it goes on when others have taken over."""
        with self._one(kind).frozen():
            self._note(f"freeze {kind}")
            time.sleep(self._lengths.frozen)

    def outage(self) -> None:
        """A Postgres is away for long."""
        child = self._one("postgres")
        with child.down():
            self._note(f"outage of {child.name}")
            time.sleep(self._lengths.outage)

    def outage_of_redis(self) -> None:
        """A Redis, home's or that of a buffer, is away for long."""
        child = self._chance.choice(self._plant.kinds("redis", "buffer"))
        with child.down():
            self._note(f"outage of {child.name}")
            time.sleep(self._lengths.outage)

    def lose_redis(self) -> None:
        """Home's Redis, which holds jobs and copies alone, is lost and begins anew."""
        self._plant.lose_redis()
        self._note("loss of home's redis")

    def fail_over(self) -> None:
        """A master of the cluster dies, and comes back when its replica has taken over."""
        child, others = self._choose_master()
        self.failed_over_at.append(time.monotonic())
        with child.down():
            self._note("failover")
            wait_until(lambda: len(list(filter(Node.is_master, others))) > len(others) // 2, PATIENCE_SECONDS)

    def freeze_master(self) -> None:
        """A master of the cluster hangs until its replica has taken over, and goes on then."""
        child, others = self._choose_master()
        with child.frozen():
            self._note("freeze master")
            wait_until(lambda: len(list(filter(Node.is_master, others))) > len(others) // 2, PATIENCE_SECONDS)

    def kill_node(self) -> None:
        """`kill -9` a node of the cluster, which is soon back."""
        self._choose_master()
        self.kill("node")

    def move_slot(self) -> None:
        """The slot of a cell moves to another master."""
        nodes = self._plant.servers.nodes
        assert nodes
        wait_until(nodes.is_whole, timeout=PATIENCE_SECONDS)
        key = lanes_of(self._chance.choice(self._plant.settings.all_cells))["live"].stream
        others = [node for node in nodes.all if node.is_master() and node is not nodes.owner_of(key)]
        nodes.move_slot(key, self._chance.choice(others))
        self._note("move of a slot")

    def _choose_master(self) -> tuple[Child, list[Node]]:
        """Returns a master of the cluster and the other nodes, once every master has a replica again: where the only
        copy of a write dies, it is lost."""
        nodes = self._plant.servers.nodes
        assert nodes
        wait_until(nodes.is_whole, timeout=PATIENCE_SECONDS)
        chosen = self._chance.choice([node for node in nodes.all if node.is_master()])
        child = self._plant.children[f"node.{nodes.all.index(chosen) + 1}"]
        return child, [node for node in nodes.all if node is not chosen]

    def fail_over_again(self, times: int) -> None:
        """A master dies under load, one after the other."""
        for _ in range(times):
            self._do([self.fail_over])

    @property
    def has_copied(self) -> bool:
        """True if tables were copied."""
        return not {"split of cells", "move of a cell"}.isdisjoint(self.done)

    def split(self) -> None:
        """Every cell is divided in two."""
        if self._commands.split():
            self._note("split of cells")

    def move_cell(self) -> None:
        """A cell moves to the other Postgres."""
        self._commands.move()
        self._note("move of a cell")

    def kill_import(self) -> None:
        """`kill -9` the command that imports a file."""
        if self._importing and self._importing.kill():
            self._note("kill import command")

    def read_only(self) -> None:
        """Postgres answers and only reads, as during a failover."""
        with self._plant.read_only():
            self._note("postgres only reads")
            time.sleep(self._lengths.outage / 2)

    def fill_disk(self) -> None:
        """Redis's disk is full for a while; then Redis is killed, so that it reads what it has written."""
        if self._plant.disk is None:
            return
        self._plant.disk.leave(0)
        self._note("full disk")
        time.sleep(self._lengths.frozen)
        self._plant.disk.resize(DISK_MEGABYTES)
        wait_until(self._plant.redis_writes, timeout=60)
        self.kill("redis")

    def erase(self) -> None:
        """A customer of whom events wait, are stored or both, is erased, and never heard of again."""
        self.erased.append(f"erased{len(self.erased)}")
        self._plant.track_and_erase(self.erased[-1], self._chance.randrange(1, 60))
        self._note("erasure")

    def retain(self) -> None:
        """Retention begins another pass over all customers."""
        past.retain(self._plant)
        self._note("retention")

    def switch_model(self) -> None:
        """Every customer is scored anew under another model, which scores as the first one does."""
        self._plant.switch_model()
        self._note("switch of model")

    def restart_all(self) -> None:
        """As when the machine loses its power, but for what the disks had not written yet."""
        with ExitStack() as stack:
            for child in self._plant.children.values():
                stack.enter_context(child.down())
            self._note("restart of everything")
        wait_until(self._plant.servers_answer, timeout=60)

    def poison(self) -> None:
        """An entry in the buffer that nobody can decode."""
        self.maybe_poisoned += 1
        try:
            cell = self._chance.choice(self._plant.settings.all_cells)
            lane = lanes_of(cell)[self._chance.choice(list(LANES))]
            with command_client(cell.buffer_url) as redis:  # one that doesn't write again what may be there
                push(redis, self._chance.randbytes(100), lane=lane)
        except RedisError:
            return
        self.poisoned += not self._plant.servers.nodes  # of a cluster, a replica may not have it
        self._note("poison")

    def _do(self, things: Sequence[Callable[[], None]]) -> None:
        for thing in self._chance.sample(things, len(things)):
            time.sleep(self._chance.uniform(0, self._lengths.pause))
            thing()

    def _one(self, kind: str) -> Child:
        return self._chance.choice(self._plant.kinds(kind))

    def _note(self, what: str) -> None:
        log.info(what)
        self.done.append(what)
