"""What a web process keeps for tracking: the keys, the writers of the buffer, the warnings."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from api.auth import Keys
from workers import tickets
from workers.buffer.capacity import Capacity
from workers.buffer.charges import Charges
from workers.buffer.lanes import LANES
from workers.buffer.writer import WRITE_SECONDS, Writer
from workers.redis import REDIS_AWAY, async_client, redis_client
from workers.settings import Settings
from workers.warnings import Warnings

log = logging.getLogger(__name__)

EVERY_SECONDS = 1.0


class Door:
    """Everything that the track route needs, and nothing of Postgres."""

    def __init__(self, settings: Settings) -> None:
        assert settings.redis_url
        self.redis = door_redis(settings.redis_url)
        self.capacity = Capacity(
            settings.buffer_events, settings.buffer_bytes, _redis_folder(settings), settings.disk_free_bytes
        )
        self.keys = Keys(self.redis)
        self.charges = Charges(settings.redis_url)
        self.warnings = Warnings()
        self.writers = {
            name: Writer(settings.redis_url, lane, self.capacity, self._issue) for name, lane in LANES.items()
        }
        self._tickets_redis = redis_client(settings.redis_url)
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = asyncio.Event()

    def open(self) -> None:
        """Start what is done every second: read how full the buffer is; save warnings and which keys were used."""
        duties = (self._refresh_capacity, self._save)
        self._tasks = [asyncio.create_task(self._every_second(duty)) for duty in duties]

    async def close(self) -> None:
        """Finish what is under way, and save what is left."""
        self._closing.set()  # no task is cancelled: redis-py may swallow that, or leave a connection open
        await asyncio.gather(*self._tasks)
        for writer in self.writers.values():
            await writer.close()
        await self.charges.close()
        await self._save()
        await self.redis.aclose()
        self._tickets_redis.close()

    async def _every_second(self, duty: Callable[[], Awaitable[None]]) -> None:
        while not self._closing.is_set():
            try:
                await duty()
            except REDIS_AWAY as error:
                log.debug("Redis can't do it now: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), EVERY_SECONDS)

    async def _refresh_capacity(self) -> None:
        await self.capacity.refresh(self.redis)

    async def _save(self) -> None:
        await self.warnings.flush(self.redis)
        await self.keys.save_used_keys()

    async def _issue(self, queue: str) -> None:
        """RQ knows no asyncio: a ticket is issued in a thread. One that fails is issued later by the clock."""
        try:
            await asyncio.to_thread(tickets.issue, self._tickets_redis, queue)
        except (RedisError, OSError) as error:
            log.warning("a ticket for %s was not issued: %s", queue, error)


def _redis_folder(settings: Settings) -> Path | None:
    """Returns where `windback up` keeps Redis's files, or None if Redis is another one."""
    folder = settings.data_dir / "redis"
    return folder if (settings.redis_url or "").startswith("unix:") and folder.is_dir() else None


def door_redis(url: str) -> Redis:
    """Returns a client that fails within a second: it neither waits nor tries again."""
    return async_client(
        url,
        socket_timeout=WRITE_SECONDS,
        socket_connect_timeout=WRITE_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
