"""The buffer between door and line: a Redis stream for each lane, read by a consumer group.

The door writes an entry and answers when Redis has acknowledged it. A worker reads entries, stores their events, and
only then acknowledges and deletes them; so an entry stays until its events are in Postgres. The entries that a dead
worker had read are claimed by the next one after a while. The counts of events move with the entries, in the same
script, so that the buffer holds `accepted - settled`, whatever crashes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from redis import Redis
from redis.exceptions import ResponseError

from workers.buffer.entries import measure_entry
from workers.buffer.lanes import GROUP, LANES, Lane
from workers.buffer.replicas import find_lasting

ENTRY_EVENTS = 100  # an entry holds more only when a single request does
ENTRY_BYTES = 1 << 20
READ_ENTRIES = 100  # by one call of the script: others wait for it
READ_BYTES = 4 << 20  # of a batch, and of what is read of it at once: an entry may hold as much alone
CLAIM_ENTRIES = 100
LEFT_TOGETHER = 1_000  # entries

# KEYS: stream, ledger, outcomes. ARGV: group, then for each entry: its id, and what became of its events as JSON, count
# by outcome. Returns how many events this call settled; others count theirs themselves.
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

# Reads entries one by one, until they hold enough. KEYS: stream. ARGV: group, consumer, the id to read after (`>`: what
# is new), how many events and bytes (before compression) are enough, how many entries at most.
READ = """
local entries, after, events, bytes = {}, ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
for _ = 1, tonumber(ARGV[6]) do
  local reply = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', 1, 'STREAMS', KEYS[1], after)
  local entry = reply and reply[1][2][1]
  if not entry then break end
  entries[#entries + 1] = entry
  if after ~= '>' then after = entry[1] end
  if entry[2] then
    for i = 1, #entry[2], 2 do
      local value = entry[2][i + 1]
      if entry[2][i] == 'n' then events = events - tonumber(value)
      elseif string.byte(value) == 0xc1 and #value > 5 then bytes = bytes - struct.unpack('>I4', value, 2)
      else bytes = bytes - #value end
    end
  end
  if events <= 0 or bytes <= 0 then break end
end
return entries
"""


SCANNED_TOGETHER = 100  # entries
EventCounts = Mapping[str, int]  # of an entry's events, how many were `stored`, `duplicate`, `erased`, `dead:REASON`


def position_of(entry_id: bytes) -> int:
    """Returns the place of an entry in its lane: a number that rises with each entry, whatever Redis's clock does."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds) * 1_000_000 + min(int(number), 999_999)


def received_us_of(position: int) -> int:
    """Returns when an entry came to this place, by Redis's clock, in microseconds since 1970."""
    return position // 1_000_000 * 1000


def last_positions(redis: Redis, lanes: Mapping[str, Lane] = LANES) -> dict[str, int]:
    """Returns the place of the last entry that was ever written, by the lane's name; 0 where there was none."""
    positions = {}
    for lane in lanes.values():
        try:
            info: Any = redis.xinfo_stream(lane.stream)
            positions[lane.name] = position_of(info["last-generated-id"])
        except ResponseError:  # there is no such stream
            positions[lane.name] = 0
    return positions


class StreamEntry(NamedTuple):
    """An entry as read from the stream: its id, how many events it holds, its bytes, and whether it comes from another
    cell."""

    id: bytes
    events: int
    data: bytes
    moved: bool = False

    @property
    def position(self) -> int:
        """The place in the lane at which it was accepted; 0 if that was in another cell."""
        return 0 if self.moved else position_of(self.id)


def list_entries(redis: Redis, lane: Lane, limit: int) -> Iterator[StreamEntry]:
    """Yields the first entries of a lane, read or not."""
    messages: Any = redis.xrange(lane.stream, count=limit)
    return _parse_entries(messages)


class Reader:
    """One worker's view of a lane's stream. With `replicas`, it reads what stays if the master dies."""

    def __init__(self, redis: Redis, lane: Lane, consumer: str, replicas: int = 0) -> None:
        self._redis, self._lane, self._consumer, self._replicas = redis, lane, consumer, replicas
        self._acknowledge, self._read = redis.register_script(ACKNOWLEDGE), redis.register_script(READ)

    def read_left_over(self, idle_seconds: float, events: int) -> list[StreamEntry]:
        """Returns entries that this worker read and did not acknowledge, or that others left for `idle_seconds`; of
        about this many events and of READ_BYTES at most."""
        self._ensure_group()
        idle_ms = int(idle_seconds * 1000)
        self._redis.xautoclaim(
            self._lane.stream, GROUP, self._consumer, idle_ms, "0-0", count=CLAIM_ENTRIES, justid=True
        )
        return self._select_lasting(self._read_enough([], events, after="0"))

    def read(self, events: int, wait_seconds: float) -> list[StreamEntry]:
        """Returns new entries, of about this many events and of READ_BYTES at most; waits for the first one, unless
        that is 0."""
        first = self._wait(max(1, int(wait_seconds * 1000))) if wait_seconds else []
        if wait_seconds and not first:
            return []
        return self._select_lasting(self._read_enough(first, events, after=">"))

    def acknowledge(self, outcomes: Mapping[bytes, EventCounts]) -> int:
        """Remove entries whose events are in Postgres from the stream, and count what became of the events.

        Returns how many events left the stream.
        """
        entries = [argument for id_, counts in outcomes.items() for argument in (id_, msgspec.json.encode(counts))]
        settled: Any = self._acknowledge([self._lane.stream, self._lane.ledger, self._lane.outcomes], [GROUP, *entries])
        return int(settled)

    def leave(self, idle_seconds: float) -> None:
        """Leave the entries that this worker has read to the next worker, as if they had been idle for so long: this
        one can't store them, and others may."""
        after = "-"
        while ids := self._list_pending_ids(after, LEFT_TOGETHER, self._consumer):
            idle_ms = int(idle_seconds * 1000)
            self._redis.xclaim(self._lane.stream, GROUP, self._consumer, 0, [*ids], idle=idle_ms, justid=True)
            after = f"({ids[-1].decode()}"

    def list_pending(self, together: int) -> Iterator[list[StreamEntry]]:
        """Yields the entries that any worker has read and not acknowledged, so many together."""
        after = "-"
        while pending := self._list_pending_ids(after, together):
            pipeline = self._redis.pipeline(transaction=False)
            for id_ in pending:
                pipeline.xrange(self._lane.stream, id_, id_)
            yield list(_parse_entries(message for messages in pipeline.execute() for message in messages))
            after = f"({pending[-1].decode()}"

    def _list_pending_ids(self, after: str, together: int, consumer: str | None = None) -> list[bytes]:
        """Returns ids of entries that a consumer, or any, has read and not acknowledged."""
        try:
            pending: Any = self._redis.xpending_range(self._lane.stream, GROUP, after, "+", together, consumer)
        except ResponseError:  # no stream or no group yet
            return []
        return [entry["message_id"] for entry in pending]

    def _wait(self, milliseconds: int) -> list[StreamEntry]:
        streams: Any = {self._lane.stream: ">"}
        try:
            reply: Any = self._redis.xreadgroup(GROUP, self._consumer, streams, count=1, block=milliseconds)
        except ResponseError as error:
            self._restore_group(error)
            return []
        return [entry for _, messages in reply or [] for entry in _parse_entries(messages)]

    def _select_lasting(self, batch: list[StreamEntry]) -> list[StreamEntry]:
        if not batch or not self._replicas:
            return batch
        ids = [entry.id for entry in batch]
        lasting = find_lasting(self._redis, self._lane.stream, self._lane.outcomes, ids, self._replicas)
        return [entry for entry in batch if entry.id in lasting]

    def _read_enough(self, batch: list[StreamEntry], events: int, after: str | bytes) -> list[StreamEntry]:
        while (room := _find_room(batch, events)) is not None:
            arguments = [GROUP, self._consumer, after, *room, READ_ENTRIES]
            try:
                reply: Any = self._read([self._lane.stream], arguments)
            except ResponseError as error:
                self._restore_group(error)
                return batch
            batch += _parse_entries((id_, dict(zip(f[::2], f[1::2], strict=True)) if f else None) for id_, f in reply)
            if len(reply) < READ_ENTRIES:
                break
            after = after if after == ">" else reply[-1][0]
        return batch

    def _restore_group(self, error: ResponseError) -> None:
        """Make the group again if that is what is missing: Redis was emptied under us."""
        if "NOGROUP" not in str(error):
            raise error
        self._ensure_group()

    def _ensure_group(self) -> None:
        try:
            self._redis.xgroup_create(self._lane.stream, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise


def _find_room(batch: Sequence[StreamEntry], events: int) -> tuple[int, int] | None:
    """Returns how many events and bytes a batch may hold besides these entries; None if it holds enough."""
    room = events - sum(entry.events for entry in batch)
    room_bytes = READ_BYTES - sum(measure_entry(entry.data) for entry in batch)
    if batch and (room < ENTRY_EVENTS or room_bytes <= 0):
        return None
    return max(1, room - ENTRY_EVENTS + 1), room_bytes


def _parse_entries(messages: Iterable[tuple[bytes, dict[bytes, bytes] | None]]) -> Iterator[StreamEntry]:
    for id_, fields in messages:
        if fields:  # None: the entry was deleted while it was pending
            yield StreamEntry(id_, int(fields.get(b"n", b"0")), fields.get(b"entry", b""), b"moved" in fields)


def scan(redis: Redis, lane: Lane, most: int) -> Iterator[StreamEntry]:
    """Yields what waits in a lane, whether a worker has read it or not, the oldest first: so many entries at most."""
    after = b"-"
    while most > 0:
        messages: Any = redis.xrange(lane.stream, min=after, count=min(most, SCANNED_TOGETHER))
        yield from _parse_entries(messages)
        if len(messages) < min(most, SCANNED_TOGETHER):
            return
        after, most = b"(" + messages[-1][0], most - len(messages)


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
