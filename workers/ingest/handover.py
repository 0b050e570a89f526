"""Events that wait where a cell's buffer was before: they are moved into the buffer of now, and stored once.

When a single cell is divided, the first of its cells takes over what is left, on the same server. Doors write there
until they know of the cells, and whoever stores a batch passes events on to their own cell. Entries move in one script
with the counts of their events, and keep their batch ids. When none is left, all other counts move.

When the buffers get a server of their own, each cell takes over what is left in the Redis of home. There an entry
leaves when it has been written here, and counts as moved; one that is written twice is stored once.
"""

import logging
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from workers.buffer.lanes import GROUP, LANES, Lane
from workers.buffer.push import push_entry
from workers.buffer.stream import Reader, list_entries
from workers.ingest.lodgers import list_accounts
from workers.process import Process

log = logging.getLogger(__name__)

FIRST = 0  # the number of the cell
TOGETHER = 100  # entries

# KEYS: stream, ledger, outcomes, attempts and arrivals of the single cell; stream, ledger, outcomes, arrivals of the
# first. ARGV: the group, then for each entry: its id, the accounts whose history it is (blanks between). Returns how
# many entries are left.
TAKE = """
local time = redis.call('TIME')
local at = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local taken = 0
for i = 2, #ARGV, 2 do
  local found = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
  if found then
    local values = {}
    for place = 1, #found[2], 2 do values[found[2][place]] = found[2][place + 1] end
    local last = redis.call('XADD', KEYS[6], '*', 'n', values['n'], 'entry', values['entry'], 'moved', 1)
    redis.call('XDEL', KEYS[1], ARGV[i])
    taken = taken + tonumber(values['n'])
    for account in string.gmatch(ARGV[i + 1], '%S+') do
      local note = redis.call('HGET', KEYS[9], account) or redis.call('HGET', KEYS[5], account) or at
      local since = string.match(note, '^%d+')
      redis.call('HSET', KEYS[9], account, since .. ' ' .. last .. ' ' .. at)
      redis.call('EXPIRE', KEYS[9], 86400)
    end
  end
end
if taken > 0 then
  redis.call('HINCRBY', KEYS[2], 'accepted', -taken)
  redis.call('HINCRBY', KEYS[7], 'accepted', taken)
end
local left = redis.call('XLEN', KEYS[1])
if left == 0 then
  for place = 2, 3 do
    local counts = redis.call('HGETALL', KEYS[place])
    for i = 1, #counts, 2 do
      if counts[i] == 'settled_at' then redis.call('HSETNX', KEYS[place + 5], counts[i], counts[i + 1])
      else redis.call('HINCRBY', KEYS[place + 5], counts[i], counts[i + 1]) end
    end
  end
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
end
return left
"""


def take_over(process: Process) -> None:
    """Move what waits where the buffer was before: a duty of the clock. Raises RedisError."""
    if process.cell.number == FIRST and _is_any_left(process.redis):
        _take_over_from_single(process)
    has_buffer = process.cell.number is not None or process.cell.is_single
    if has_buffer and process.redis is not process.home_redis:
        try:
            _bring_all(process)
        except RedisError as error:
            log.info("a Redis can't do it now: %s", error)


def _take_over_from_single(process: Process) -> None:
    for name, lane in LANES.items():
        while _take(process.redis, lane, process.lanes[name]) and not process.stopping.is_set():
            process.heartbeat.progress()
        process.ask(lane.queue)


def _is_any_left(redis: Redis) -> bool:
    pipeline = redis.pipeline(transaction=False)
    for lane in LANES.values():
        pipeline.exists(lane.ledger, lane.stream)
    try:
        return any(pipeline.execute())
    except ResponseError:  # a cluster, which never held a single cell's buffer
        return False


def _take(redis: Redis, lane: Lane, into: Lane) -> int:
    """Move some entries. Returns how many are left."""
    entries: Any = redis.xrange(lane.stream, count=TOGETHER)
    arguments: list[Any] = [GROUP]
    for entry_id, fields in entries:
        accounts = list_accounts(fields[b"entry"]) if lane.is_history else ()
        arguments += (entry_id, " ".join(map(str, accounts)))
    keys = [lane.stream, lane.ledger, lane.outcomes, lane.attempts, lane.arrivals]
    into_keys = [into.stream, into.ledger, into.outcomes, into.arrivals]
    left: Any = redis.eval(TAKE, len(keys) + len(into_keys), *keys, *into_keys, *arguments)
    log.info("entries were taken over", extra={"lane": lane.name, "entries": len(entries), "left": left})
    return int(left)


def _bring_all(process: Process) -> None:
    for lane in process.lanes.values():
        while _bring(process, lane) and not process.stopping.is_set():
            process.heartbeat.progress()


def _bring(process: Process, lane: Lane) -> bool:
    """Move some entries of a lane from the Redis of home to that of the cell. Returns False if none was there."""
    entries = list(list_entries(process.home_redis, lane, TOGETHER))
    for entry in entries:
        arriving = list_accounts(entry.data) if lane.is_history else ()
        push_entry(process.redis, lane, entry.events, entry.data, arriving, process.settings.buffer_replicas)
    if entries:
        moved = {entry.id: {"moved": entry.events} for entry in entries}
        Reader(process.home_redis, lane, process.name).acknowledge(moved)
        process.ask(lane.queue)
        log.info("entries were brought here", extra={"lane": lane.name, "entries": len(entries)})
    return bool(entries)
