"""The buffer between door and line: a Redis stream for each lane, read by a consumer group.

The door writes an entry and answers when Redis has acknowledged it. A worker reads entries, stores their events, and
only then acknowledges and deletes them; so an entry stays until its events are in Postgres. What a dead worker had read
is claimed by the next one after a while. The counts of events move with the entries, in the same script, so that
`accepted - settled` is what the buffer holds, whatever crashes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from redis import Redis
from redis.exceptions import ResponseError

from workers.buffer.entries import measure_entry
from workers.buffer.lanes import GROUP, LANES, Lane
from workers.buffer.replicas import execute
from workers.tickets import MARK_SECONDS

ENTRY_EVENTS = 100  # an entry holds more only when a single request does
ENTRY_BYTES = 1 << 20
READ_ENTRIES = 100  # by one call of the script: others wait for it
READ_BYTES = 4 << 20  # of a batch, and of what is read of it at once: an entry may hold as much alone
CLAIM_ENTRIES = 100
QUIET_MILLISECONDS = 5_000  # see arrivals.py

# How many microseconds a key has to wait, by the generic cell rate algorithm of ITU-T I.371 with a burst of one second:
# what is kept is the time at which everything taken so far would have been due, and when that was written: a clock that
# has gone back since costs no more than was owed then. A batch over a second's worth is taken when nothing is owed.
TO_WAIT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function to_wait(rate, events, limit)
  local due, at = string.match(redis.call('GET', rate) or '', '^(%d+) (%d+)$')
  due, at = tonumber(due) or now, tonumber(at) or now
  due = math.max(due - math.max(at - now, 0), now)
  local cost = math.max(events, 1) * 1000000 / limit
  local wait = due + math.min(cost, 1000000) - 1000000 - now
  if wait > 0 then return math.ceil(wait) end
  local owed = string.format('%.0f %.0f', due + cost, now)
  redis.call('SET', rate, owed, 'PX', math.ceil((due + cost - now) / 1000) + 1000)
  return 0
end
"""

# KEYS: stream, ledger, ticket mark, the other lane's ledger, arrivals, then the rates of keys that have a limit.
# ARGV: seconds of the mark, the accounts whose history this is (blanks between; none of live events), milliseconds
# after which an account's arrivals begin anew, then for each entry: how many events, the place of its rate in KEYS (0:
# no limit; -1: it comes from another cell), the limit in events a second, the entry.
# Returns 1 where a ticket has to be issued (the caller's task), how many events both lanes hold, and for each entry how
# many microseconds are to be waited: 0 says that it is in the buffer.
PUSH = (
    TO_WAIT
    + """
local accepted, pushed = 0, false
local waits = {}
local last
for i = 4, #ARGV, 4 do
  local events, slot = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  local wait = 0
  if slot > 0 then wait = to_wait(KEYS[slot], events, tonumber(ARGV[i + 2])) end
  if wait == 0 then
    if slot < 0 then last = redis.call('XADD', KEYS[1], '*', 'n', events, 'entry', ARGV[i + 3], 'moved', 1)
    else last = redis.call('XADD', KEYS[1], '*', 'n', events, 'entry', ARGV[i + 3]) end
    accepted, pushed = accepted + events, true
  end
  waits[#waits + 1] = wait
end

local ticket = 0
if pushed then
  if accepted > 0 then redis.call('HINCRBY', KEYS[2], 'accepted', accepted) end
  if redis.call('SET', KEYS[3], '1', 'NX', 'EX', ARGV[1]) then ticket = 1 end
  local ms = math.floor(now / 1000)
  for account in string.gmatch(ARGV[2], '%S+') do
    local since, before = string.match(redis.call('HGET', KEYS[5], account) or '', '^(%d+) %S+ (%d+)$')
    local at = string.format('%.0f', ms)
    if not since or math.abs(ms - tonumber(before)) > tonumber(ARGV[3]) then since = at end
    redis.call('HSET', KEYS[5], account, since .. ' ' .. last .. ' ' .. at)
    redis.call('EXPIRE', KEYS[5], 86400)
  end
end
local held = 0
for _, ledger in ipairs({KEYS[2], KEYS[4]}) do
  local counts = redis.call('HMGET', ledger, 'accepted', 'settled')
  held = held + (counts[1] or 0) - (counts[2] or 0)
end
return {ticket, held, unpack(waits)}
"""
)

# KEYS: the rate of a key. ARGV: how many events, the limit. Returns how many microseconds are to be waited: 0 says that
# they are charged.
CHARGE = TO_WAIT + "return to_wait(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]))"

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


EventCounts = Mapping[str, int]  # of an entry's events, how many were `stored`, `duplicate`, `erased`, `dead:REASON`


def position_of(entry_id: bytes) -> int:
    """Returns the place of an entry in its lane: a number that rises with each entry, whatever Redis's clock does."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds) * 1_000_000 + min(int(number), 999_999)


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


def push_entry(
    redis: Redis, lane: Lane, events: int, entry: bytes, arriving: Iterable[int] = (), replicas: int = 0
) -> bool:
    """Write an entry to a lane, as a worker does that has it from another cell; `arriving` are accounts whose history
    it holds. Its events have no place in this buffer: an erasure covers them by their time of receipt. Returns True if
    a ticket has to be issued. Raises RedisError, NotReplicated."""
    keys = [lane.stream, lane.ledger, lane.mark, lane.other.ledger, lane.arrivals]
    accounts = " ".join(map(str, arriving))
    pipeline = redis.pipeline(transaction=False)
    pipeline.eval(PUSH, len(keys), *keys, MARK_SECONDS, accounts, QUIET_MILLISECONDS, events, -1, 0, entry)
    ((ticket_needed, *_),) = execute(pipeline, replicas)
    return bool(ticket_needed)


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


class Reader:
    """One worker's view of a lane's stream."""

    def __init__(self, redis: Redis, lane: Lane, consumer: str) -> None:
        self._redis, self._lane, self._consumer = redis, lane, consumer
        self._acknowledge, self._read = redis.register_script(ACKNOWLEDGE), redis.register_script(READ)

    def read_left_over(self, idle_seconds: float, events: int) -> list[StreamEntry]:
        """Returns entries that this worker read and did not acknowledge, or that others left for `idle_seconds`; of
        about this many events and of READ_BYTES at most."""
        self._ensure_group()
        idle_ms = int(idle_seconds * 1000)
        self._redis.xautoclaim(
            self._lane.stream, GROUP, self._consumer, idle_ms, "0-0", count=CLAIM_ENTRIES, justid=True
        )
        return self._read_enough([], events, after="0")

    def read(self, events: int, wait_seconds: float) -> list[StreamEntry]:
        """Returns new entries, of about this many events and of READ_BYTES at most; waits for the first one, unless
        that is 0."""
        if not wait_seconds:
            return self._read_enough([], events, after=">")
        first = self._wait(max(1, int(wait_seconds * 1000)))
        return self._read_enough(first, events, after=">") if first else []

    def acknowledge(self, outcomes: Mapping[bytes, EventCounts]) -> int:
        """Remove entries whose events are in Postgres from the stream, and count what became of the events.

        Returns how many events left the stream.
        """
        entries = [argument for id_, counts in outcomes.items() for argument in (id_, msgspec.json.encode(counts))]
        settled: Any = self._acknowledge([self._lane.stream, self._lane.ledger, self._lane.outcomes], [GROUP, *entries])
        return int(settled)

    def list_pending(self, together: int) -> Iterator[list[StreamEntry]]:
        """Yields the entries that any worker has read and not acknowledged, so many together."""
        after = "-"
        while pending := self._list_pending_ids(after, together):
            pipeline = self._redis.pipeline(transaction=False)
            for id_ in pending:
                pipeline.xrange(self._lane.stream, id_, id_)
            yield list(_parse_entries(message for messages in pipeline.execute() for message in messages))
            after = f"({pending[-1].decode()}"

    def _list_pending_ids(self, after: str, together: int) -> list[bytes]:
        try:
            found: Any = self._redis.xpending_range(self._lane.stream, GROUP, after, "+", together)
        except ResponseError:  # no stream or no group yet
            return []
        return [each["message_id"] for each in found]

    def _wait(self, milliseconds: int) -> list[StreamEntry]:
        streams: Any = {self._lane.stream: ">"}
        try:
            reply: Any = self._redis.xreadgroup(GROUP, self._consumer, streams, count=1, block=milliseconds)
        except ResponseError as error:
            self._restore_group(error)
            return []
        return [entry for _, messages in reply or [] for entry in _parse_entries(messages)]

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
