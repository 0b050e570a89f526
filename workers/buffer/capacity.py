"""The room in the buffer, as a web process knows it.

The count of events comes back with every write, and once a second with the memory of what waits. A lane that is full
opens again when it is under 80% of its share. Other data in the same Redis is not counted: it has its own owner, and
where it fills Redis up to its `maxmemory`, Redis says so.

If Redis's files are on this machine, the buffer is also full while their disk has less than a floor of free space: a
write that comes out short can damage the append-only file.
"""

import asyncio
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from workers.buffer.lanes import LANES, LIVE, Lane

RESUME = 0.8
CALM = RESUME * min(lane.share for lane in LANES.values())  # below it, all lanes take more events
SAMPLES = 20  # of a stream's nodes, from which its memory is estimated


class Capacity:
    """The buffer of a cell against its cap: `events` in both lanes, and `bytes` that they take in Redis; `free_bytes`
    of the disk under `folder` against a floor, None if Redis is elsewhere. Without `cap_events`, bytes alone count."""

    def __init__(
        self,
        cap_events: int | None,
        cap_bytes: int,
        folder: Path | None = None,
        floor_bytes: int = 0,
        lanes: Mapping[str, Lane] = LANES,
    ) -> None:
        self._cap_events, self._cap_bytes, self._lanes = cap_events, cap_bytes, lanes
        self._folder, self._floor_bytes = folder, floor_bytes
        self.events = self.bytes = 0
        self.free_bytes: int | None = None
        self._refused: set[str] = set()  # names of lanes
        self._calm_events, self._calm_bytes = CALM * (cap_events or math.inf), CALM * cap_bytes

    @property
    def is_full(self) -> bool:
        """True if live events are refused."""
        return not self.has_room(LIVE)

    def has_room(self, lane: Lane) -> bool:
        """Returns whether this lane takes more events now."""
        if self.events < self._calm_events and self.bytes < self._calm_bytes and self._disk_share() < CALM:
            self._refused.clear()
            return True
        parts = (self.events / (self._cap_events or math.inf), self.bytes / self._cap_bytes, self._disk_share())
        used = max(parts) / lane.share
        if used >= 1:
            self._refused.add(lane.name)
        elif used < RESUME:
            self._refused.discard(lane.name)
        return lane.name not in self._refused

    def describe_full(self) -> str | None:
        """Returns which events are refused, and why, or None."""
        refused = [lane.name for lane in LANES.values() if not self.has_room(lane)]
        if not refused:
            return None
        lanes = " and ".join(refused)
        if self._disk_share() >= RESUME:
            return (
                f"{lanes} events are refused: the disk of Redis's files has {self.free_bytes:,} bytes left; make room"
                f" (WINDBACK_DISK_FREE_BYTES is {self._floor_bytes:,})"
            )
        cap = f"WINDBACK_BUFFER_BYTES is {self._cap_bytes:,}"
        if self._cap_events:
            cap = f"WINDBACK_BUFFER_EVENTS is {self._cap_events:,}, {cap}"
        return (
            f"the buffer is full for {lanes} events: it holds {self.events:,} events in {self.bytes:,} bytes of Redis's"
            f" memory; {cap}"
        )

    async def refresh(self, redis: Redis) -> None:
        """Read all figures from Redis and the disk."""
        if self._folder and self._floor_bytes:
            self.free_bytes = (await asyncio.to_thread(shutil.disk_usage, self._folder)).free
        pipeline: Any = redis.pipeline(transaction=False)
        for lane in self._lanes.values():
            pipeline.hmget(lane.ledger, "accepted", "settled")
            pipeline.memory_usage(lane.stream, samples=SAMPLES)
        replies = await pipeline.execute()
        self.events = sum(int(accepted or 0) - int(settled or 0) for accepted, settled in replies[::2])
        self.bytes = sum(int(size or 0) for size in replies[1::2])

    def _disk_share(self) -> float:
        """Returns the floor as a share of what is free: 1 at the floor, above it where less is free."""
        return 0.0 if self.free_bytes is None else self._floor_bytes / max(self.free_bytes, 1)
