"""What goes wrong, in an order that a seed decides."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from redis.exceptions import RedisError

from tests.acceptance.chaos.child import Child
from tests.acceptance.chaos.plant import DISK_MEGABYTES, Plant
from tests.waiting import wait_until
from tests.workers.events import push
from workers.buffer.lanes import HISTORY, LIVE
from workers.redis import command_client

log = logging.getLogger(__name__)

WORKERS = ("web", "ingest", "import", "score", "deliver", "clock")
SERVERS = ("redis", "postgres")


class Lengths(NamedTuple):
    """How long things last, in seconds."""

    pause: float  # between two, at most
    frozen: float
    outage: float


SHORT = Lengths(pause=0.8, frozen=3.0, outage=5.0)
LONG = Lengths(pause=5.0, frozen=20.0, outage=90.0)


class Monkey:
    """Does one thing after another to a plant, and counts them."""

    def __init__(self, plant: Plant, seed: int, lengths: Lengths) -> None:
        self._plant, self._lengths = plant, lengths
        self._chance = random.Random(seed)
        self.done: list[str] = []
        self.erased: list[str] = []
        self.poisoned = 0  # entries of the buffer that nobody can decode, surely written
        self.maybe_poisoned = 0

    def short(self) -> None:
        """Each thing once, those that are cheap several times."""
        kills = [lambda kind=kind: self.kill(kind) for kind in (*WORKERS, *WORKERS[1:3], *SERVERS, "redis")]
        rest = [
            self.poison,
            self.outage,
            self.restart_all,
            self.read_only,
            self.erase,
            self.erase,
            self.switch_model,
            self.fill_disk,
            lambda: self.freeze("ingest"),
            lambda: self.freeze("import"),
            self.kill_several,
        ]
        self._do([*kills, *rest])

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
        kills = [lambda kind=kind: self.kill(kind) for kind in (*WORKERS, *SERVERS)]
        freezes = [lambda kind=kind: self.freeze(kind) for kind in (*WORKERS, *SERVERS)]
        rest = [self.poison, self.outage, self.restart_all, self.read_only, self.switch_model, self.fill_disk]
        return [*kills, *freezes, *rest, self.kill_several, self.poison, *[self.erase] * 3]

    def kill(self, kind: str) -> None:
        """`kill -9` one of a kind."""
        self._one(kind).kill()
        self._note(f"kill {kind}")

    def kill_several(self) -> None:
        """`kill -9` half of everything at once."""
        children = list(self._plant.children.values())
        for child in self._chance.sample(children, len(children) // 2):
            child.kill()
        self._note("kill several")

    def freeze(self, kind: str) -> None:
        """Stop one of a kind in the middle of whatever it does; it goes on when others have taken over."""
        with self._one(kind).frozen():
            self._note(f"freeze {kind}")
            time.sleep(self._lengths.frozen)

    def outage(self) -> None:
        """Postgres is away for long."""
        with self._plant.children["postgres"].down():
            self._note("outage of postgres")
            time.sleep(self._lengths.outage)

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
        self.erased.append(f"erased{len(self.erased)}@example.com")
        self._plant.track_and_erase(self.erased[-1], self._chance.randrange(1, 60))
        self._note("erasure")

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
            with command_client(self._plant.redis_url) as redis:  # one that doesn't write again what may be there
                push(redis, self._chance.randbytes(100), lane=self._chance.choice((LIVE, HISTORY)))
        except RedisError:
            return
        self.poisoned += 1
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
