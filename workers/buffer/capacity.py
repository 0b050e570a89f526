"""How full the buffer is, as a web process knows it, and whether a lane has room.

The count of events comes back with every write, and once a second with the memory of Redis. A lane that is full opens
again when it is under 80 % of its share.
"""

from typing import Any

from redis.asyncio import Redis

from workers.buffer.lanes import LANES, Lane

RESUME = 0.8


class Capacity:
    """The buffer against its cap: `events` in both lanes, `bytes` that Redis uses."""

    def __init__(self, cap_events: int, cap_bytes: int) -> None:
        self._cap_events, self._cap_bytes = cap_events, cap_bytes
        self.events = self.bytes = 0
        self._refused: set[Lane] = set()

    def has_room(self, lane: Lane) -> bool:
        """Returns whether this lane takes more events now."""
        used = max(self.events / self._cap_events, self.bytes / self._cap_bytes) / lane.share
        if used >= 1:
            self._refused.add(lane)
        elif used < RESUME:
            self._refused.discard(lane)
        return lane not in self._refused

    async def refresh(self, redis: Redis) -> None:
        """Read both figures from Redis."""
        pipeline: Any = redis.pipeline(transaction=False)
        for lane in LANES.values():
            pipeline.hmget(lane.ledger, "accepted", "settled")
        pipeline.info("memory")
        *ledgers, memory = await pipeline.execute()
        self.events = sum(int(accepted or 0) - int(settled or 0) for accepted, settled in ledgers)
        self.bytes = int(memory["used_memory"])
