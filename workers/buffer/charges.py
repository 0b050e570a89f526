"""Charges of keys that have a limit, apart from a write: for refused events, which cost the service as much as others,
and where a request's parts are for several cells."""

import asyncio
import logging
import time
from typing import Any, NamedTuple

from workers.buffer.connection import Call, ScriptConnection, make_call
from workers.buffer.group_commit import WRITE_SECONDS
from workers.buffer.push import CHARGE
from workers.buffer.writer import Rate, RateLimited, rate_key

log = logging.getLogger(__name__)

BEFORE_WRITE_SECONDS = 0.1  # where a write follows, which may take WRITE_SECONDS
REMEMBER_KEYS = 10_000
AWAY_SECONDS = 1.0  # without charging after a failure: else each waiting request would wait for another failure


class PendingCharge(NamedTuple):
    """A charge that waits for its answer: the microseconds to be waited, or an error."""

    call: Call
    answer: asyncio.Future[Any]


class Charges:
    """A web process's way to charge keys, and the keys that have to wait: their requests are refused unread. Charges
    that come while others are under way go together, and have so many seconds."""

    def __init__(self, redis_url: str) -> None:
        self._connection = ScriptConnection(redis_url, CHARGE)
        self.seconds = WRITE_SECONDS
        self._pending: list[PendingCharge] = []
        self._charging: asyncio.Task[None] | None = None
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
        self.check(rate)
        if time.monotonic() < self._away_until:
            return
        loop = asyncio.get_running_loop()
        pending = PendingCharge(make_call([rate_key(rate)], [events, rate.limit]), loop.create_future())
        self._pending.append(pending)
        if self._charging is None:
            self._charging = loop.create_task(self._charge_groups())
        wait_us = await pending.answer
        if isinstance(wait_us, Exception):
            log.debug("a key is not charged: %s", wait_us)
        elif wait_us:
            if len(self._waiting_until) >= REMEMBER_KEYS:
                self._waiting_until.clear()
            self._waiting_until[rate.key_id] = time.monotonic() + wait_us / 1_000_000
            raise RateLimited(wait_us)

    async def close(self) -> None:
        """Wait for the charges under way, and close the connection."""
        while self._charging is not None:
            await asyncio.gather(self._charging, return_exceptions=True)
        await self._connection.close()

    async def _charge_groups(self) -> None:
        try:
            while self._pending:
                group, self._pending = self._pending, []
                answers = await self._connection.run_all([pending.call for pending in group], self.seconds)
                if failure := next((answer for answer in answers if isinstance(answer, Exception)), None):
                    self._away_until = time.monotonic() + AWAY_SECONDS
                    answers += [failure] * len(self._pending)  # charges that came meanwhile don't wait again
                    group, self._pending = group + self._pending, []
                for pending, answer in zip(group, answers, strict=True):
                    if not pending.answer.done():  # else its client has gone
                        pending.answer.set_result(answer)
        finally:
            self._charging = None
