"""Charges for refused events: they cost the service as much as others, so they count against the key's limit."""

import asyncio
import logging
import time

from redis.exceptions import RedisError

from workers.buffer.connection import ScriptConnection
from workers.buffer.group_commit import WRITE_SECONDS
from workers.buffer.push import CHARGE
from workers.buffer.writer import Rate, RateLimited, rate_key

log = logging.getLogger(__name__)

REMEMBER_KEYS = 10_000
AWAY_SECONDS = 1.0  # without charging after a failure: else each waiting request would wait for another failure


class Charges:
    """A web process's way to charge keys, and the keys that have to wait: their requests are refused unread."""

    def __init__(self, redis_url: str) -> None:
        self._connection = ScriptConnection(redis_url, CHARGE)
        self._one_at_a_time = asyncio.Lock()
        self._waiting_until: dict[int, float] = {}
        self._away_until = 0.0

    def check(self, rate: Rate) -> None:
        """Raise RateLimited if the key was charged more than its limit a moment ago."""
        until = self._waiting_until.get(rate.key_id)
        if until is None:
            return
        if (wait := until - time.monotonic()) > 0:
            raise RateLimited(int(wait * 1_000_000))
        del self._waiting_until[rate.key_id]

    async def charge(self, rate: Rate, events: int) -> None:
        """Count events against a key's limit. Raises RateLimited. Without Redis nothing is counted."""
        try:
            async with self._one_at_a_time:
                self.check(rate)
                if time.monotonic() < self._away_until:
                    return
                wait_us = await self._connection.run([rate_key(rate)], [events, rate.limit], WRITE_SECONDS)
        except (RedisError, OSError, TimeoutError) as error:
            log.debug("a refused request is not charged: %s", error)
            self._away_until = time.monotonic() + AWAY_SECONDS
            return
        if wait_us:
            if len(self._waiting_until) >= REMEMBER_KEYS:
                self._waiting_until.clear()
            self._waiting_until[rate.key_id] = time.monotonic() + wait_us / 1_000_000
            raise RateLimited(wait_us)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()
