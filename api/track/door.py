"""The state of a web process for tracking: keys, writers of the buffer, warnings."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from api.auth import Keys
from api.buffers import Buffers
from workers import tickets
from workers.buffer.group_commit import WRITE_SECONDS
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
        self.buffers = Buffers(settings, self.redis, door_redis, self._issue)
        self.keys = Keys(self.redis, self.buffers.copies)
        self.warnings = Warnings()
        self._tickets_redis = redis_client(settings.redis_url)
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = asyncio.Event()

    async def open(self) -> None:
        """Look where the cells are; start what is done every second: read that and how full the buffers are, save
        warnings and which keys were used."""
        await self.buffers.refresh()
        duties = (self.buffers.refresh, self._save)
        self._tasks = [asyncio.create_task(self._every_second(duty)) for duty in duties]

    async def close(self) -> None:
        """Finish what is under way, and save what is left."""
        self._closing.set()  # no task is cancelled: redis-py may swallow that, or leave a connection open
        await asyncio.gather(*self._tasks)
        await self.buffers.close()
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

    async def _save(self) -> None:
        await self.warnings.flush(self.redis)
        await self.keys.save_used_keys()

    async def _issue(self, queue: str, cell: int | None) -> None:
        """RQ knows no asyncio: a ticket is issued in a thread. One that fails is issued later by the clock."""
        try:
            await asyncio.to_thread(tickets.issue, self._tickets_redis, queue, cell)
        except (RedisError, OSError) as error:
            log.warning("a ticket for %s was not issued: %s", queue, error)


def door_redis(url: str) -> Redis:
    """Returns a client that fails within a second: it neither waits nor tries again."""
    return async_client(
        url,
        socket_timeout=WRITE_SECONDS,
        socket_connect_timeout=WRITE_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
