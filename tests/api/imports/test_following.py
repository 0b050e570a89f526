"""An import waits for what it has sent, and can be begun anew as soon as it is over."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from redis import Redis

from api.health import probes
from api.health.probes import PipelineState
from api.imports import following
from api.imports import state as states
from api.imports.beat import ImportBeat
from api.imports.state import FileImport
from api.track.door import Door
from tests.workers.events import entry, event, push, request
from workers.settings import Settings
from workers.store import Connection

T = TypeVar("T")


def at_the_door(settings: Settings, work: Callable[[Door], Coroutine[Any, Any, T]]) -> T:
    async def run() -> T:
        door = Door(settings)
        await door.open()
        try:
            return await work(door)
        finally:
            await door.close()

    return asyncio.run(run())


@pytest.mark.parametrize("held_up_seconds", [0.0, 5.0])
def test_what_was_sent_a_moment_ago_is_waited_for(
    settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch, held_up_seconds: float
) -> None:
    """Also where the process is held up with the answer of Redis in its hands."""
    push(redis, entry(request(event())))
    clock = 1000.0

    async def read_slowly(*arguments: Any) -> PipelineState | None:
        nonlocal clock
        state = await probes.read_pipeline(*arguments)
        clock += held_up_seconds
        return state

    monkeypatch.setattr(following, "read_pipeline", read_slowly)
    monkeypatch.setattr(following, "time", SimpleNamespace(monotonic=lambda: clock))
    assert at_the_door(settings, lambda door: following._count_buffered(door, clock)) == 1


def test_clocks_that_drift_apart_lose_nothing(
    settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By our clock half a second more has passed since it was sent than by that of Redis."""
    push(redis, entry(request(event())))
    monkeypatch.setattr(following, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    assert at_the_door(settings, lambda door: following._count_buffered(door, 999.5)) == 1


def test_what_came_later_is_not_waited_for(settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    push(redis, entry(request(event())))
    monkeypatch.setattr(following, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    assert at_the_door(settings, lambda door: following._count_buffered(door, 400.0)) == 0


def test_whoever_reads_that_an_import_is_over_can_begin_it_anew(settings: Settings, redis: Redis) -> None:
    """Nothing is left of its lock, nor of the wish to stop it."""
    state = FileImport("0" * 16, 1, "x.csv", 1, 0.0, "here", "sending")
    lock, stop = states.lock_key(state.import_id), states.stop_key(state.import_id)

    async def work(door: Door) -> None:
        await ImportBeat(door.redis, state, settings.data_dir / "x").now()
        assert 0 < redis.ttl(lock) < states.DEAD_SECONDS
        redis.set(stop, 1)
        state.stage = "stopped"
        await states.leave(door.redis, state)

    at_the_door(settings, work)
    assert not redis.exists(lock, stop)
    (stage,) = [states._decode(value).stage for value in redis.hvals(states.hash_key(1))]
    assert stage == "stopped"


def test_a_provisional_score_is_waited_for(settings: Settings, connection: Connection) -> None:
    """It is due again once the clock sees that history is in, which may be a while from now."""
    stored_at = datetime.now(UTC)
    connection.execute(
        """INSERT INTO customers (
            customer_id, account_id, email, first_seen, last_seen, scored_at, rescore_at, provisional
        )
        SELECT gen_random_uuid(), 1, 'jane@example.com', now(), now(), now(), now() + interval '1 day', is_provisional
        FROM unnest(ARRAY[true, false]) AS is_provisional"""
    )
    assert following._count_unscored(settings.all_cells, 1, stored_at) == 1
