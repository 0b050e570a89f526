"""The time from `ok` of a live event until it can be read in Postgres: without an import, and while one runs."""

import http.client
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

import msgspec
from redis import Redis

from tests.acceptance.line import Line as Processes
from tests.acceptance.line import line
from tests.bench import stream
from tests.bench.measure import Line, interleaved
from tests.bench.world import World
from tests.waiting import wait_until
from workers.accounts import keys
from workers.buffer.entries import hash_customer
from workers.buffer.lanes import HISTORY, LIVE
from workers.redis import redis_client
from workers.settings import Settings
from workers.store import Connection, connect

RATE = 200  # live events a second, each in a request of its own
CONNECTIONS = 4
SECONDS, LONG_SECONDS = 12.0, 30.0
IMPORTED, LONG_IMPORTED = 400_000, 1_000_000
WATCHED = 5  # one event of so many is watched for
LOOK_SECONDS = 0.002
AGE = timedelta(days=2)  # at least, of what is imported
EMPTY_SECONDS = 300.0

FOUND = """
SELECT number FROM unnest(%s::integer[], %s::uuid[], %s::timestamptz[]) AS watched (number, customer_id, occurred_at)
JOIN events USING (customer_id, occurred_at)
"""


class Watched(NamedTuple):
    """An event that was answered for, and when (by time.perf_counter)."""

    customer_id: str
    occurred_at: str
    answered: float


class Watch:
    """Looks for events in Postgres until they are there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._open: dict[int, Watched] = {}
        self._ending = threading.Event()
        self.waits: list[float] = []

    def add(self, number: int, watched: Watched) -> None:
        """Look for this one as well."""
        self._open[number] = watched

    def run(self) -> None:
        """Look until told to end and everything was found."""
        while not self._ending.wait(LOOK_SECONDS) or self._open:
            if watched := dict(self._open):
                columns = [[one[column] for one in watched.values()] for column in (0, 1)]
                rows = self._connection.execute(FOUND, [list(watched), *columns]).fetchall()
                now = time.perf_counter()
                self.waits += [now - self._open.pop(number).answered for (number,) in rows]

    def end(self) -> None:
        """Nothing is added any more."""
        self._ending.set()


class Lanes:
    """A running service, and its key."""

    def __init__(self, world: World, processes: Processes, redis: Redis, connection: Connection) -> None:
        self.world, self.processes, self.redis, self.connection = world, processes, redis, connection
        self.key = keys.create(connection, redis, "default")
        row = connection.execute("SELECT account_id FROM accounts").fetchone()
        assert row
        self.account_id = int(row[0])
        self.seconds = LONG_SECONDS if world.long else SECONDS
        self._rounds = iter(range(1000))

    def alone(self) -> Sequence[float]:
        """Live events only. Their median and 99th percentile in milliseconds."""
        self._settle()
        return (*self._live(), 0.0)

    def beside_an_import(self) -> Sequence[float]:
        """The same while an import runs; and how many events a second of it are stored meanwhile."""
        path = self._file(next(self._rounds))
        self._settle()
        with self._importing(path):
            began, before = time.perf_counter(), self._imported()
            waits = self._live()
            rate = (self._imported() - before) / (time.perf_counter() - began)
        return (*waits, rate)

    def _live(self) -> tuple[float, float]:
        """Send for a while, at an even pace; the first second warms up."""
        with connect(self.processes.environment["DATABASE_URL"]) as connection, ThreadPoolExecutor() as pool:
            watch = Watch(connection)
            looking = pool.submit(watch.run)
            sending = [pool.submit(self._send, number, watch) for number in range(CONNECTIONS)]
            for sender in sending:
                sender.result()
            watch.end()
            looking.result()
        cuts = quantiles(watch.waits[RATE // WATCHED :], n=100)
        return cuts[49] * 1000, cuts[98] * 1000

    def _send(self, number: int, watch: Watch) -> None:
        client, pause = http.client.HTTPConnection("127.0.0.1", self.processes.port, timeout=30), threading.Event()
        began, every = time.perf_counter(), CONNECTIONS / RATE
        for turn in range(int(self.seconds / every)):
            pause.wait(began + (turn + number / CONNECTIONS) * every - time.perf_counter())
            place = turn * CONNECTIONS + number
            email, at = stream.email(place * 7 % stream.CUSTOMERS), datetime.now(UTC).isoformat()
            event = {"event": "login", "customer_email": email, "timestamp": at}
            client.request("POST", "/api/v1/track", msgspec.json.encode(event), {"X-API-Key": self.key.secret})
            answer = client.getresponse()
            assert answer.read() == b'{"status":"ok"}'
            if turn % WATCHED == 0:
                watch.add(place, Watched(hash_customer(self.account_id, email), at, time.perf_counter()))
        client.close()

    def _file(self, seed: int) -> Path:
        """Events of the same customers, all old, no two rounds the same."""
        path = self.world.folder / "history.ndjson"
        with path.open("wb") as file:
            for event in stream.events(LONG_IMPORTED if self.world.long else IMPORTED, seed=100 + seed):
                event["timestamp"] = (datetime.fromisoformat(event["timestamp"]) - AGE).isoformat()
                file.write(msgspec.json.encode(event) + b"\n")
        return path

    @contextmanager
    def _importing(self, path: Path) -> Iterator[None]:
        """`windback import` is at it, and was all the time at the end of the block. In the long form it ends it."""
        command = [sys.executable, "-c", "from api.cli import main; main()", "import", str(path)]
        options = ["--url", self.processes.url, "--api-key", self.key.secret]
        before = self._imported()
        with (self.world.folder / "import.log").open("w") as log:
            child = subprocess.Popen(command + options, env=self.processes.environment, stdout=log, stderr=log)
            try:
                wait_until(lambda: self._imported() > before, EMPTY_SECONDS)
                yield
                assert self._runs(child), "the import was over too early: give it more events"
                if self.world.long:
                    child.wait()
            finally:
                child.kill()
                child.wait()

    def _runs(self, child: "subprocess.Popen[bytes]") -> bool:
        return child.poll() is None or bool(self.redis.xlen(HISTORY.stream))

    def _imported(self) -> int:
        counted = self.redis.hget(HISTORY.ledger, "settled")
        return int(counted or 0)

    def _settle(self) -> None:
        """Nothing waits, and what was written is on disk."""
        wait_until(lambda: not (self.redis.xlen(HISTORY.stream) or self.redis.xlen(LIVE.stream)), EMPTY_SECONDS)
        self.connection.execute("CHECKPOINT")


def run(world: World) -> list[Line]:
    """Both, over the same customers, with the processes of the Procfile."""
    with ExitStack() as stack:
        redis = stack.enter_context(redis_client(world.servers.redis_url))
        redis.flushall()
        url = stack.enter_context(world.database())
        settings = Settings(database_url=url, redis_url=world.servers.redis_url)
        processes = stack.enter_context(line(settings, world.folder / "lanes.log"))
        for name in ("WINDBACK_CLAIM_SECONDS", "WINDBACK_BATCH_EVENTS"):
            del processes.environment[name]  # as they are by default
        lanes = Lanes(world, processes, redis, stack.enter_context(connect(url)))
        processes.start()
        measured = interleaved({"import": lanes.beside_an_import, "alone": lanes.alone}, world.rounds)
    beside, alone = measured["import"], measured["alone"]
    return [
        Line(f"lanes: ok to stored, {RATE} events/s, beside an import", beside[0], "ms", alone[0], "≤ 2"),
        Line("  p99", beside[1], "ms", alone[1], "≤ 2"),
        Line("  stored of the import", beside[2], "events/s"),
    ]
