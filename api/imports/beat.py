"""The sign of life of a process at work on an import, and the request to stop it."""

import contextlib
import os
import time
from pathlib import Path

from redis.asyncio import Redis

from api.imports import state as states
from api.imports.state import FileImport
from workers.redis import REDIS_AWAY

BEAT_SECONDS = 0.5


class Stopped(Exception):
    """A person stopped the import."""


class ImportBeat:
    """Writes down how far an import is, twice a second."""

    def __init__(self, redis: Redis, state: FileImport, path: Path) -> None:
        self._redis, self._state, self._path = redis, state, path
        self._beaten = 0.0
        self._read_at = time.monotonic()

    async def tick(self) -> None:
        """Write it down if it is time to. Raises Stopped."""
        if time.monotonic() - self._beaten >= BEAT_SECONDS:
            await self.now()

    async def now(self) -> None:
        """Write it down. Raises Stopped. A Redis that is away for a moment is none of its business."""
        self._beaten = time.monotonic()
        self._state.beat_at = time.time()
        self._state.rate = self._state.sent / max(self._beaten - self._read_at, 1e-3)
        with contextlib.suppress(OSError):
            os.utime(self._path)
        try:
            await states.save(self._redis, self._state)
            await self._redis.set(states.lock_key(self._state.import_id), 1, ex=states.LOCKED_SECONDS)
            wanted = await self._redis.exists(states.stop_key(self._state.import_id))
        except REDIS_AWAY:
            return
        if wanted:
            raise Stopped
