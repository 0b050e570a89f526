"""Requests a second through the whole door, one web process and its Redis, against an empty route of Starlette's."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click
from redis import Redis

from api.up.embedded import poll
from tests.bench import stream
from tests.bench.measure import Contestant, Line, interleaved
from tests.bench.world import World
from tests.ports import free_port
from workers.accounts import keys
from workers.buffer.lanes import HISTORY, LIVE
from workers.redis import redis_client
from workers.store import Connection, connect

SECONDS = 4
CONNECTIONS = 32
SINGLE_BODIES = 2_000
BATCH_BODIES = 50
START_SECONDS = 60.0
NO_CAP = {"WINDBACK_BUFFER_EVENTS": "1000000000", "WINDBACK_BUFFER_BYTES": str(1 << 40)}  # nobody empties it

SCRIPT = """
local bodies, at = {}, 0
function init(args)
  for body in io.lines("%s") do bodies[#bodies + 1] = wrk.format("POST", nil, nil, body) end
end
function request()
  at = at %% #bodies + 1
  return bodies[at]
end
function done(summary, latency)
  local e = summary.errors
  local bad = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format("\\n%%d %%d %%d %%d %%d", summary.requests, summary.duration, latency:percentile(50),
                         latency:percentile(99), bad))
end
"""


class Load(NamedTuple):
    """Bodies to be sent, as a script for wrk."""

    script: Path
    events: int  # in each body


class Door:
    """The running services, and the key to ours."""

    def __init__(self, world: World, redis: Redis, connection: Connection) -> None:
        self.redis, self.connection = redis, connection
        self.key = keys.create(connection, redis, "default").secret
        self.ours, self.others = free_port(), free_port()

    def empty(self) -> None:
        """Empty Redis, except for the keys."""
        self.redis.flushall()
        keys.refresh_mirror(self.connection, self.redis)

    def track(self, load: Load) -> Contestant:
        """Our route, whose buffer must then hold every event that was answered."""

        def run() -> Sequence[float]:
            self.empty()
            measured = self._load(self.ours, "/api/v1/track", load)
            if not measured.requests <= self._accepted() / load.events <= measured.requests + CONNECTIONS:
                raise click.ClickException("The buffer does not hold what the door has answered for.")
            return measured.figures()

        return run

    def other(self, path: str, load: Load) -> Contestant:
        """A baseline."""

        def run() -> Sequence[float]:
            self.empty()
            return self._load(self.others, path, load).figures()

        return run

    def _accepted(self) -> int:
        counts: Any = [self.redis.hget(lane.ledger, "accepted") for lane in (LIVE, HISTORY)]
        return sum(int(count or 0) for count in counts)

    def _load(self, port: int, path: str, load: Load) -> "Run":
        return run_wrk(port, path, self.key, load, SECONDS)


class Run(NamedTuple):
    """The figures of wrk; times in microseconds."""

    requests: int
    duration: int
    p50: int
    p99: int
    bad: int

    def figures(self) -> Sequence[float]:
        """Requests a second, and the two latencies in milliseconds."""
        return self.requests / self.duration * 1e6, self.p50 / 1000, self.p99 / 1000


def run_wrk(port: int, path: str, key: str, load: Load, seconds: int) -> Run:
    """Returns the figures of all connections at once. Raises click.ClickException if a request fails."""
    argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(load.script), "-H", f"X-API-Key: {key}"]
    argv += ["-H", "Content-Type: application/json", f"http://127.0.0.1:{port}{path}"]
    output = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    run = Run(*map(int, output.splitlines()[-1].split()))
    if run.bad or not run.requests:
        raise click.ClickException(f"{path}: {run.bad} of {run.requests} requests failed.\n{output}")
    return run


def run(world: World) -> list[Line]:
    """Single events and batches of 100."""
    if not shutil.which("wrk"):
        raise click.ClickException("wrk makes the load, and is not installed: apt-get install wrk")
    one, batch = make_load(world, SINGLE_BODIES, 1), make_load(world, BATCH_BODIES, stream.BATCH)
    with _door(world) as door:
        door.track(one)(), door.other("/bare", one)()  # warm up
        runs: dict[str, Contestant] = {
            "track": door.track(one),
            "bare": door.other("/bare", one),
            "job": door.other("/job", one),
            "track batch": door.track(batch),
            "bare batch": door.other("/bare", batch),
        }
        return _lines(interleaved(runs, world.rounds))


def _lines(measured: dict[str, list[float]]) -> list[Line]:
    track, bare, job = measured["track"], measured["bare"], measured["job"]
    batch, bare_batch = measured["track batch"], measured["bare batch"]
    return [
        Line("door: an event, and an empty route", track[0], "requests/s", bare[0], "≥ 0.8, goal 1.0"),
        Line("  p50", track[1], "ms", bare[1]),
        Line("  p99", track[2], "ms", bare[2]),
        Line("door: an event, and a job an event", track[0], "requests/s", job[0], "≥ 6, goal 9"),
        Line("  p50", track[1], "ms", job[1]),
        Line("  p99", track[2], "ms", job[2]),
        Line("door: a batch, and an empty route", batch[0], "requests/s", bare_batch[0], "goal 0.3"),
        Line("  p50", batch[1], "ms", bare_batch[1]),
        Line("  p99", batch[2], "ms", bare_batch[2]),
        Line("  events", batch[0] * stream.BATCH, "events/s"),
    ]


def make_load(world: World, bodies: int, batch: int) -> Load:
    """Returns so many bodies with so many events each."""
    lines, script = world.folder / f"bodies-{batch}", world.folder / f"load-{batch}.lua"
    lines.write_bytes(b"\n".join(stream.bodies(stream.events(bodies * batch), batch)))
    script.write_text(SCRIPT % lines)
    return Load(script, batch)


@contextmanager
def _door(world: World) -> Iterator[Door]:
    with ExitStack() as stack:
        redis = stack.enter_context(redis_client(world.servers.redis_url))
        redis.flushall()
        url = stack.enter_context(world.database())
        door = Door(world, redis, stack.enter_context(connect(url)))
        urls = {"DATABASE_URL": url, "REDIS_URL": world.servers.redis_url, "WINDBACK_HOST": "127.0.0.1"} | NO_CAP
        log = stack.enter_context((world.folder / "door.log").open("w"))
        for argv, port in (
            (["api"], door.ours),
            (["tests.bench.routes", str(door.others), urls["REDIS_URL"]], door.others),
        ):
            child = subprocess.Popen(
                [sys.executable, "-m", *argv],
                env=os.environ | urls | {"PORT": str(port)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            stack.callback(child.wait)
            stack.callback(child.terminate)
            if not poll(lambda port=port: answers(port), START_SECONDS):  # type: ignore[misc]
                raise click.ClickException(f"A service does not start: {Path(log.name).read_text()}")
        yield door


@contextmanager
def serving(world: World, environment: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """Yields the port and the process id of a web process."""
    port, log = free_port(), world.folder / "door.log"
    with log.open("w") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "api"],
            env={**os.environ, **NO_CAP, **environment} | {"PORT": str(port), "WINDBACK_GRACE_SECONDS": "0"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            if not poll(lambda: answers(port), START_SECONDS):
                raise click.ClickException(f"A service does not start: {log.read_text()}")
            yield port, child.pid
        finally:
            child.terminate()
            child.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
