"""While Redis is away, every request to track is answered within a second: as measured by a clock of its own, which
counts what is waited for and nothing else."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from api import auth
from api.auth import RememberedKey
from api.track.door import Door
from api.track.endpoint import Track
from tests.virtual_time import run
from tests.workers.events import event
from workers.accounts.keys import Key, digest
from workers.buffer.group_commit import WRITE_SECONDS
from workers.settings import Settings

SECRET = b"sk_live_0123456789abcdef"
TOLD_SECONDS = 1.0
GOOD = json.dumps(event()).encode()
BATCH = json.dumps({"events": [event(customer_email=f"{number}@example.com") for number in range(40)]}).encode()
BAD = b'{"event": 7}'
UNKNOWN, FRESH, STALE, LIMITED = "unknown", "fresh", "stale", "limited"

Ask = Callable[[bytes], Awaitable[int]]


@pytest.fixture
def mute() -> Iterator[str]:
    """The URL of a server that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.fixture
def closed() -> str:
    """The URL of a server that isn't there."""
    return "redis://127.0.0.1:1/0"


def ask_of(door: Door) -> Ask:
    """Returns a function that sends a body to track and returns the answer's status."""
    track = Track(door.keys, door.buffers, door.warnings)

    async def ask(body: bytes) -> int:
        statuses: list[int] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            statuses.append(message.get("status", 0))

        scope = {"type": "http", "method": "POST", "path": "/api/v1/track", "headers": [(b"x-api-key", SECRET)]}
        await track(scope, receive, send)
        return statuses[0]

    return ask


def know(door: Door, how: str) -> None:
    """Let the door know the cells, and the key, as it would from before the trouble."""
    for buffer in door.buffers.cells:
        buffer.fault = None
    if how == UNKNOWN:
        return
    key = Key(1, 1, how == LIMITED, 1000 if how == LIMITED else None)
    until = 0.0 if how == STALE else float("inf")
    door.keys._remembered[digest(SECRET)] = RememberedKey(key, until)


async def slowest(settings: Settings, how: str, bodies: list[bytes], apart: float) -> tuple[set[int], float]:
    """Returns the statuses, and after how long the slowest answer came, of requests that come so far apart."""
    door = Door(settings)
    know(door, how)
    ask, loop = ask_of(door), asyncio.get_running_loop()

    async def measure(body: bytes) -> tuple[int, float]:
        began = loop.time()
        return await ask(body), loop.time() - began

    tasks = []
    for body in bodies:
        tasks.append(loop.create_task(measure(body)))
        await asyncio.sleep(apart)
    answers = await asyncio.gather(*tasks)
    while reading := door.keys._mirror._reading:
        await reading
    await door.buffers.close()
    await door.redis.aclose()
    door._tickets_redis.close()
    return {status for status, _ in answers}, max(seconds for _, seconds in answers)


@pytest.mark.parametrize("how", [UNKNOWN, FRESH, STALE, LIMITED])
@pytest.mark.parametrize("apart", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("cells", [1, 4])
def test_a_redis_that_hangs_is_told_within_a_second(mute: str, how: str, apart: float, cells: int) -> None:
    """However the key is known, and whenever a request comes while others wait already."""
    bodies = [GOOD, BATCH] * 6 if cells > 1 else [GOOD] * 12
    (statuses, seconds), _ = run(slowest(Settings(redis_url=mute, cells=cells), how, bodies, apart))
    assert statuses == {503}
    assert WRITE_SECONDS <= seconds + 1e-3 < TOLD_SECONDS


@pytest.mark.parametrize("how", [UNKNOWN, FRESH, STALE, LIMITED])
def test_a_redis_that_is_gone_is_told_at_once(closed: str, how: str) -> None:
    (statuses, seconds), _ = run(slowest(Settings(redis_url=closed), how, [GOOD] * 12, 0.0))
    assert statuses == {503}
    assert seconds < WRITE_SECONDS  # nothing is waited for


@pytest.mark.parametrize("apart", [0.0, 0.1])
@pytest.mark.parametrize("cells", [1, 4])
def test_a_refusal_that_cannot_be_charged_is_told_within_a_second(mute: str, apart: float, cells: int) -> None:
    """Many at once wait for the same answer, and not one after the other."""
    (statuses, seconds), _ = run(slowest(Settings(redis_url=mute, cells=cells), LIMITED, [BAD] * 20, apart))
    assert statuses == {422}
    assert seconds < TOLD_SECONDS


def test_requests_amid_refusals_are_told_within_a_second(mute: str) -> None:
    bodies = [BAD, GOOD, BATCH] * 6
    (statuses, seconds), _ = run(slowest(Settings(redis_url=mute, cells=4), LIMITED, bodies, 0.05))
    assert statuses == {422, 503}
    assert seconds < TOLD_SECONDS


def test_the_clock_of_this_test_sees_a_wait(mute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "PATIENCE_SECONDS", 0.5)
    (_, seconds), _ = run(slowest(Settings(redis_url=mute), STALE, [GOOD], 0.0))
    assert seconds > TOLD_SECONDS
