"""The buffer between door and line: a Redis stream for each lane, read by a consumer group.

The door writes an entry and answers when Redis has acknowledged it. A worker reads entries, stores their events, and
only then acknowledges and deletes them; so an entry stays until its events are in Postgres. What a dead worker had read
is claimed by the next one after a while. The counts of events move with the entries, in the same script, so that
`accepted - settled` is what the buffer holds, whatever crashes.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from redis import Redis
from redis.exceptions import ResponseError

from workers.buffer.lanes import GROUP, Lane

ENTRY_EVENTS = 100  # an entry holds more only when a single request does
ENTRY_BYTES = 1 << 20
READ_ENTRIES = 50
READ_BYTES = 16 << 20

# KEYS: stream, ledger, ticket mark, the other lane's ledger, then the rates of keys that have a limit.
# ARGV: seconds of the mark, then for each entry: how many events, the place of its rate in KEYS (0: no limit), the
# limit in events a second, the entry.
# Returns 1 where a ticket has to be issued (the caller's task), how many events both lanes hold, and for each entry how
# many microseconds are to be waited: 0 says that it is in the buffer.
# The rate is the generic cell rate algorithm of ITU-T I.371 with a burst of one second: what is kept is the time at
# which everything taken so far would have been due. A batch over a second's worth is taken when nothing is owed.
PUSH = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function to_wait(rate, events, limit)
  local due = math.max(tonumber(redis.call('GET', rate) or now) or now, now)
  local cost = events * 1000000 / limit
  local wait = due + math.min(cost, 1000000) - 1000000 - now
  if wait > 0 then return math.ceil(wait) end
  redis.call('SET', rate, string.format('%.0f', due + cost), 'PX', math.ceil((due + cost - now) / 1000) + 1000)
  return 0
end

local accepted = 0
local waits = {}
for i = 2, #ARGV, 4 do
  local events, slot = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  local wait = 0
  if slot > 0 then wait = to_wait(KEYS[slot], events, tonumber(ARGV[i + 2])) end
  if wait == 0 then
    redis.call('XADD', KEYS[1], '*', 'n', events, 'entry', ARGV[i + 3])
    accepted = accepted + events
  end
  waits[#waits + 1] = wait
end

local ticket = 0
if accepted > 0 then
  redis.call('HINCRBY', KEYS[2], 'accepted', accepted)
  if redis.call('SET', KEYS[3], '1', 'NX', 'EX', ARGV[1]) then ticket = 1 end
end
local held = 0
for _, ledger in ipairs({KEYS[2], KEYS[4]}) do
  local counts = redis.call('HMGET', ledger, 'accepted', 'settled')
  held = held + (counts[1] or 0) - (counts[2] or 0)
end
return {ticket, held, unpack(waits)}
"""

# KEYS: stream, ledger, outcomes. ARGV: group, then for each entry: its id, and what became of its events as JSON, count
# by outcome. Returns how many events this call settled; what others had settled is counted by them.
ACKNOWLEDGE = """
local settled = 0
local became = {}
for i = 2, #ARGV, 2 do
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
  if redis.call('XDEL', KEYS[1], ARGV[i]) == 1 then
    for outcome, events in pairs(cjson.decode(ARGV[i + 1])) do
      became[outcome] = (became[outcome] or 0) + events
      settled = settled + events
    end
  end
end
if settled > 0 then
  redis.call('HINCRBY', KEYS[2], 'settled', settled)
  redis.call('HSET', KEYS[3], 'settled_at', redis.call('TIME')[1])
  for outcome, events in pairs(became) do redis.call('HINCRBY', KEYS[3], outcome, events) end
end
return settled
"""


EventCounts = Mapping[str, int]  # of an entry's events, how many were `stored`, `duplicate`, `erased`, `dead:REASON`


def outcomes_key(lane: Lane) -> str:
    """The key of a hash that counts what became of the events that left a lane's stream: `stored`, `duplicate`,
    `erased`, `dead:REASON`; they add up to the ledger's `settled`. `settled_at` is the last time (epoch seconds)."""
    return f"windback:outcomes:{lane.name}"


class StreamEntry(NamedTuple):
    """An entry as read from the stream: its id, how many events it holds, and its bytes."""

    id: bytes
    events: int
    data: bytes


class Reader:
    """One worker's view of a lane's stream."""

    def __init__(self, redis: Redis, lane: Lane, consumer: str) -> None:
        self._redis, self._lane, self._consumer = redis, lane, consumer
        self._acknowledge = redis.register_script(ACKNOWLEDGE)

    def read_left_over(self, idle_seconds: float) -> list[StreamEntry]:
        """Returns entries that this worker read and did not acknowledge, or that others left for `idle_seconds`."""
        self._ensure_group()
        own = self._read("0", None)
        idle_ms = int(idle_seconds * 1000)
        reply: Any = self._redis.xautoclaim(
            self._lane.stream, GROUP, self._consumer, idle_ms, "0-0", count=READ_ENTRIES
        )
        own_ids = {entry.id for entry in own}
        return own + [entry for entry in _parse_entries(reply[1]) if entry.id not in own_ids]

    def read(self, events: int, wait_seconds: float) -> list[StreamEntry]:
        """Returns new entries, of about this many events at most; waits for the first one, unless that is 0."""
        batch = self._read(">", max(1, int(wait_seconds * 1000)) if wait_seconds else None)
        while batch and _wants_more(batch, events):
            more = self._read(">", None)
            if not more:
                break
            batch += more
        return batch

    def acknowledge(self, outcomes: Mapping[bytes, EventCounts]) -> int:
        """Remove entries whose events are in Postgres from the stream, and count what became of the events.

        Returns how many events left the stream.
        """
        entries = [argument for id_, counts in outcomes.items() for argument in (id_, msgspec.json.encode(counts))]
        settled: Any = self._acknowledge(
            [self._lane.stream, self._lane.ledger, outcomes_key(self._lane)], [GROUP, *entries]
        )
        return int(settled)

    def _read(self, after: str, block_ms: int | None) -> list[StreamEntry]:
        streams: Any = {self._lane.stream: after}
        try:
            reply: Any = self._redis.xreadgroup(GROUP, self._consumer, streams, count=READ_ENTRIES, block=block_ms)
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            self._ensure_group()  # Redis was emptied under us
            return []
        return [entry for _, messages in reply or [] for entry in _parse_entries(messages)]

    def _ensure_group(self) -> None:
        try:
            self._redis.xgroup_create(self._lane.stream, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise


def _wants_more(batch: list[StreamEntry], events: int) -> bool:
    room = events - sum(entry.events for entry in batch)
    return room >= ENTRY_EVENTS and sum(len(entry.data) for entry in batch) < READ_BYTES


def _parse_entries(messages: Iterable[tuple[bytes, dict[bytes, bytes] | None]]) -> Iterator[StreamEntry]:
    for id_, fields in messages:
        if fields:  # None: the entry was deleted while it was pending
            yield StreamEntry(id_, int(fields.get(b"n", b"0")), fields.get(b"entry", b""))


def forget_consumers(redis: Redis, lane: Lane, idle_seconds: float) -> int:
    """Remove the consumers that are gone and hold nothing. Returns how many there were."""
    try:
        consumers: Any = redis.xinfo_consumers(lane.stream, GROUP)
    except ResponseError:  # no stream or no group yet
        return 0
    gone = [c["name"] for c in consumers if not c["pending"] and c["idle"] > idle_seconds * 1000]
    for name in gone:
        redis.xgroup_delconsumer(lane.stream, GROUP, name)
    return len(gone)
