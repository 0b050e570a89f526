"""Lodging: while the Redis of a cell is away, doors write its entries into another cell's, which keeps them apart.

The clock of the host moves them on when the other answers. An entry keeps its batch id, so its events have the same
keys wherever they come from, and are stored once, also if the first write had arrived after all, or a move is done
twice. The ledger of the host counts them from the first moment on: as accepted and waiting while they lodge, then as
moved.
"""

import asyncio
import time
from collections.abc import Sequence

from redis.exceptions import RedisError

from workers.buffer.connection import ScriptConnection
from workers.buffer.lanes import lanes_of
from workers.cells import Cell
from workers.cluster import share_server

LODGE_SECONDS = 0.3  # for all hosts: the write that failed before it has taken some of the second that a door has
AWAY_SECONDS = 1.0  # for which a Redis that failed is not tried again

# KEYS: lodgers, counts, ledger. ARGV: how many events and bytes there may be (-1: any), then for each entry: how many
# events, the entry. Returns whether they were taken.
LODGE = """
local events, bytes = 0, 0
for i = 3, #ARGV, 2 do
  events, bytes = events + tonumber(ARGV[i]), bytes + #ARGV[i + 1]
end
for place, field in ipairs({'events', 'bytes'}) do
  local most, more = tonumber(ARGV[place]), ({events, bytes})[place]
  if most >= 0 and tonumber(redis.call('HGET', KEYS[2], field) or 0) + more > most then return 0 end
end
for i = 3, #ARGV, 2 do redis.call('XADD', KEYS[1], '*', 'n', ARGV[i], 'entry', ARGV[i + 1]) end
redis.call('HINCRBY', KEYS[2], 'events', events)
redis.call('HINCRBY', KEYS[2], 'bytes', bytes)
redis.call('HINCRBY', KEYS[3], 'lodged', events)
return 1
"""

# KEYS: lodgers, counts, ledger. ARGV: id of the entry, how many events and bytes it has.
LEAVE = """
if redis.call('XDEL', KEYS[1], ARGV[1]) == 1 then
  redis.call('HINCRBY', KEYS[2], 'events', -tonumber(ARGV[2]))
  redis.call('HINCRBY', KEYS[2], 'bytes', -tonumber(ARGV[3]))
  redis.call('HINCRBY', KEYS[3], 'left', ARGV[2])
end
"""

Lodger = tuple[int, bytes]  # how many events an entry has, and its bytes


def lodgers_key(host: Cell, guest: str, lane: str) -> str:
    """The stream in which a cell keeps another one's entries of a lane; `guest` is the name of the other."""
    return f"{host.prefix}:lodgers:{guest}:{lane}"


def counts_key(host: Cell) -> str:
    """A hash: how many `events` lodge with a cell, and how many `bytes` their entries have."""
    return f"{host.prefix}:lodging"


def keys_of(host: Cell, guest: str, lane: str) -> list[str]:
    """Returns the keys of LODGE and LEAVE."""
    return [lodgers_key(host, guest, lane), counts_key(host), lanes_of(host)[lane].ledger]


class Host:
    """A cell as one web process lodges entries with it."""

    def __init__(self, cell: Cell, most_events: int | None, most_bytes: int, replicas: int = 0) -> None:
        self.cell = cell
        self._most = (-1 if most_events is None else most_events, most_bytes)
        self._script = ScriptConnection(cell.buffer_url, LODGE, replicas)
        self._one_at_a_time = asyncio.Lock()
        self._away_until = float("-inf")

    async def take(self, guest: Cell, lane: str, lodgers: Sequence[Lodger]) -> bool:
        """Keep entries of another cell. Returns False if this one has no room, or can't be reached."""
        if time.monotonic() < self._away_until:
            return False
        keys = keys_of(self.cell, guest.name, lane)
        arguments = [*self._most, *(part for lodger in lodgers for part in lodger)]
        try:
            async with self._one_at_a_time:
                return bool(await self._script.run(keys, arguments, LODGE_SECONDS))
        except (RedisError, OSError, TimeoutError):
            self._away_until = time.monotonic() + AWAY_SECONDS
            return False

    async def close(self) -> None:
        """Close the connection."""
        await self._script.close()


async def lodge(hosts: Sequence[Host], guest: Cell, lane: str, lodgers: Sequence[Lodger]) -> bool:
    """Keep a cell's entries with the first host after it that can. Returns False if there is none."""
    number = guest.number or 0
    try:
        async with asyncio.timeout(LODGE_SECONDS):
            for host in [*hosts[number + 1 :], *hosts[:number]]:
                if not share_server(host.cell.buffer_url, guest.buffer_url) and await host.take(guest, lane, lodgers):
                    return True
    except TimeoutError:
        pass
    return False
