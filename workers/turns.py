"""Shares cells among clocks: each that runs is active in about as many.

A clock that ends gives its leases back, or they end by themselves; the others then take its cells. A clock that can't
work in a cell, since its settings are old or its way to that Postgres is cut, offers the lease to those that can.
"""

import threading
import time

from redis.exceptions import RedisError

from workers import heartbeat, lease
from workers.process import Process

COUNT_SECONDS = 3.0  # after which the clocks are counted again


class Turns:
    """The leases of one clock, whose cells have a thread each."""

    def __init__(self, cells: int) -> None:
        self._cells, self._clocks = cells, 1
        self._held: set[int | None] = set()
        self._adopted: set[int | None] = set()  # taken beyond the share, since no other clock can work there
        self._counted = float("-inf")
        self._alone = threading.Lock()
        self.over = threading.Event()  # there are more cells: the clock begins anew

    def take(self, process: Process) -> bool:
        """Returns whether this clock is active in the process's cell: it has the lease, and not more than its share.
        Home is nobody's share. Raises RedisError."""
        number = process.cell.number
        if number is None:
            return lease.hold(process.redis, process.name, process.cell.prefix)
        with self._alone:
            share = -(-self._cells // self._count(process))
            is_beyond = len(self._held - {number}) >= share and number not in self._adopted
        if is_beyond and not lease.is_offered(process.redis, process.cell.prefix):
            self._let_go(process)
            return False
        ours = lease.hold(process.redis, process.name, process.cell.prefix)
        with self._alone:
            (self._held.add if ours else self._held.discard)(number)
            if is_beyond and ours:
                self._adopted.add(number)
            elif not ours:
                self._adopted.discard(number)
        return ours

    def pass_on(self, process: Process) -> bool:
        """Offer the lease, since this clock can't work in the process's cell. Returns False if another clock is active
        there. Raises RedisError."""
        with self._alone:
            self._held.discard(process.cell.number)
        return lease.offer(process.redis, process.name, process.cell.prefix)

    def end_if_divided(self, process: Process) -> None:
        """End the turns when the cells have been divided. Raises RedisError."""
        if process.find_divided() != process.settings:
            self.over.set()

    def _let_go(self, process: Process) -> None:
        with self._alone:
            was_held = process.cell.number in self._held
            self._held.discard(process.cell.number)
        if was_held:
            lease.release(process.redis, process.name, process.cell.prefix)

    def _count(self, process: Process) -> int:
        """Returns how many clocks run, as of a moment ago; this one at least."""
        now = time.monotonic()
        if now - self._counted >= COUNT_SECONDS:
            self._counted = now
            pipeline = process.home_redis.pipeline(transaction=False)
            heartbeat.queue_read(pipeline)
            try:
                beats = heartbeat.parse(pipeline.execute()[0])
            except RedisError:
                return self._clocks  # home's Redis is away: as many as before
            self._clocks = max(1, len(heartbeat.select_kind(beats, "clock")))
        return self._clocks
