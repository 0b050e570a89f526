"""Scripts that write to the buffer: entries with their counts, the ticket that they need, and what a key is charged."""

from collections.abc import Iterable

from redis import Redis

from workers.buffer.lanes import Lane
from workers.buffer.replicas import execute
from workers.tickets import MARK_SECONDS

QUIET_MILLISECONDS = 5_000  # see arrivals.py

# How many microseconds a key has to wait, by the generic cell rate algorithm of ITU-T I.371 with a burst of one second:
# the time until which its rate is used up is kept, with the time at which that was written, so a clock that has
# gone back since costs no more than was owed then. A batch over a second's worth is taken when nothing is owed.
TO_WAIT = """
local function read_clock()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function to_wait(rate, events, limit)
  local now = read_clock()
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
# Returns numbers in a line, which is read faster than a list: 1 where a ticket has to be issued (the caller's task),
# how many events both lanes hold, and for each entry how many microseconds are to be waited: 0 says that it is in the
# buffer. Each command that it calls takes the server a microsecond, so it asks for nothing twice.
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

local ticket, held = 0
if accepted > 0 then held = redis.call('HINCRBY', KEYS[2], 'accepted', accepted)
else held = redis.call('HGET', KEYS[2], 'accepted') or 0 end
if pushed then
  if redis.call('SET', KEYS[3], '1', 'NX', 'EX', ARGV[1]) then ticket = 1 end
  if ARGV[2] ~= '' then
    local ms = math.floor(read_clock() / 1000)
    for account in string.gmatch(ARGV[2], '%S+') do
      local since, before = string.match(redis.call('HGET', KEYS[5], account) or '', '^(%d+) %S+ (%d+)$')
      local at = string.format('%.0f', ms)
      if not since or math.abs(ms - tonumber(before)) > tonumber(ARGV[3]) then since = at end
      redis.call('HSET', KEYS[5], account, since .. ' ' .. last .. ' ' .. at)
      redis.call('EXPIRE', KEYS[5], 86400)
    end
  end
end
local others = redis.call('HMGET', KEYS[4], 'accepted', 'settled')
held = held - (redis.call('HGET', KEYS[2], 'settled') or 0) + (others[1] or 0) - (others[2] or 0)
return redis.status_reply(string.format('%d %.0f ', ticket, held) .. table.concat(waits, ' '))
"""
)

# KEYS: the rate of a key. ARGV: how many events, the limit. Returns how many microseconds are to be waited: 0 says that
# they are charged.
CHARGE = TO_WAIT + "return to_wait(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]))"


def parse_answer(answer: bytes) -> list[int]:
    """Returns the numbers that PUSH answers."""
    return [int(number) for number in answer.split()]


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
    (answer,) = execute(pipeline, replicas)
    return bool(parse_answer(answer)[0])
