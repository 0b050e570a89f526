"""Milliseconds that each reading route takes, and each page, over HTTP, beside a year of an account's events."""

import http.client
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from statistics import median
from urllib.parse import quote, urlencode

import click

from api.reading.customer_filter import SORTS
from api.up.embedded import poll
from tests.bench import stream
from tests.bench.door import START_SECONDS, answers
from tests.bench.measure import Line
from tests.bench.world import World
from tests.bench.year import DAYS, NAMES, Size, fill
from tests.ports import free_port
from workers.accounts import keys
from workers.redis import redis_client
from workers.store import connect

SHORT, LONG = Size(2_000, 5_000), Size(100_000, 250_000)
ASKED = 20  # times, of each route
FULL = "bench_reading"
PAGES = {
    "the page of the overview": "/",
    "the page of the customers": "/customers",
    "the page of a customer": "/customers/" + quote(stream.email(1)),
    "the page of the events": "/events",
    "the page of the model": "/model",
    "the page of the keys": "/keys",
}

Get = Callable[[str], bytes]
Path = Callable[[random.Random], str]


def run(world: World) -> list[Line]:
    """Every route."""
    size = LONG if world.long else SHORT
    with world.database(name=FULL) as url:
        with redis_client(world.servers.redis_url) as redis, connect(url) as connection:
            redis.flushall()
            key = keys.create(connection, redis, "default").secret
            fill(connection, size)
        title = f"reading at {size.events:,} events of {size.customers:,} customers"
        with service(world, url, key) as get:
            return [Line(title, size.events, "events"), *lines(get, size)]


def lines(get: Get, size: Size) -> list[Line]:
    """The time of each route, in the middle and at worst."""
    read = [line for title, path in routes(size) for line in _timed(get, title, path)]
    return read + [line for title, path in PAGES.items() for line in _timed(get, title, _path(path), "", "< 150")]


def routes(size: Size) -> Iterator[tuple[str, Path]]:
    """The routes to measure."""
    yield from _lists()
    for title, path in (("a customer", ""), ("a customer's events", "/events"), ("a customer's risk", "/risk")):
        yield title, lambda chance, path=path: f"/customers/{_somebody(chance, size)}{path}"  # type: ignore[misc]
    busiest = "/customers/" + quote(stream.email(0))
    yield "the busiest customer", _path(busiest)
    yield "the busiest customer's events, 1000", _path(busiest + "/events", limit="1000")
    yield "events of all times", _path("/analytics/events")
    for days in (7, 30, DAYS // 2, DAYS):
        yield from _analytics(days)
    yield "an event by hour", _path("/analytics/events/event_0", interval="hour")
    yield "a rare event", _path(f"/analytics/events/event_{NAMES - 1}")
    yield "levels by day", _path("/analytics/risk")
    yield "levels by day, of all times", _path("/analytics/risk", **{"from": "2000-01-01"})
    yield "the model", _path("/model")
    yield "warnings", _path("/warnings")


def _lists() -> Iterator[tuple[str, Path]]:
    for sort in (sign + name for name in SORTS for sign in ("", "-")):
        yield f"customers by {sort}", _path("/customers", sort=sort)
        yield f"customers by {sort}, critical", _path("/customers", sort=sort, level="critical")
        yield f"customers by {sort}, low, 1000", _path("/customers", sort=sort, level="low", limit="1000")
        yield f"customers by {sort}, of an address", _path("/customers", sort=sort, email="customer123")
        yield f"customers by {sort}, of no address", _path("/customers", sort=sort, email="zzz")


def _analytics(days: int) -> Iterator[tuple[str, Path]]:
    since, middle = _ago(days), _ago(days // 2)
    yield f"events of {days} days", _path("/analytics/events", **{"from": since})
    yield f"events of {days - days // 2} days before", _path("/analytics/events", **{"from": since, "to": middle})
    for interval in ("day", "week", "month"):
        title = f"an event by {interval}, {days} days"
        yield title, _path("/analytics/events/event_0", **{"from": since, "interval": interval})


def _ago(days: int) -> str:
    return str((datetime.now(UTC) - timedelta(days=days)).date())


def _path(path: str, **query: str) -> Path:
    return lambda chance: path + "?" + urlencode(query)


def _somebody(chance: random.Random, size: Size) -> str:
    return quote(stream.email(chance.randrange(1, size.customers)))


def _timed(get: Get, title: str, path: Path, prefix: str = "/api/v1", goal: str = "< 100") -> list[Line]:
    chance, took = random.Random(1), []
    for _ in range(ASKED):
        start = time.perf_counter()
        get(prefix + path(chance))
        took.append((time.perf_counter() - start) * 1000)
    return [Line(f"reading: {title}", median(took), "ms", None, goal), Line("  at worst", max(took), "ms")]


@contextmanager
def service(world: World, url: str, key: str) -> Iterator[Get]:
    """A web process, and how to ask it."""
    port, log = free_port(), world.folder / "reading.log"
    environment = {"DATABASE_URL": url, "REDIS_URL": world.servers.redis_url, "WINDBACK_HOST": "127.0.0.1"}
    environment |= {"PORT": str(port), "WINDBACK_GRACE_SECONDS": "0"}
    with ExitStack() as stack:
        output = stack.enter_context(log.open("w"))
        child = subprocess.Popen(
            [sys.executable, "-m", "api"], env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT
        )
        stack.callback(child.wait)
        stack.callback(child.terminate)
        if not poll(lambda: answers(port), START_SECONDS):
            raise click.ClickException(f"The service does not start: {log.read_text()}")
        connection = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port)))
        headers = {"X-API-Key": key, "Cookie": _session(connection, key)}
        yield lambda path: _get(connection, path, headers)


def _session(connection: http.client.HTTPConnection, key: str) -> str:
    """The cookie of who has signed in to the dashboard."""
    connection.request("POST", "/sign-in", urlencode({"key": key}))
    response = connection.getresponse()
    response.read()
    return response.headers["Set-Cookie"].partition(";")[0]


def _get(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> bytes:
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise click.ClickException(f"{path}: {response.status} {body.decode()}")
    return body
