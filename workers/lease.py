"""Leases of the clock: of several clocks, the one that holds the lease of a cell is active there."""

from redis import Redis

from workers.redis import PREFIX

LEASE_SECONDS = 10
OFFERED = "offered"  # in place of a holder: whoever comes first takes it

# Renews the lease if the holder has it, or takes it if it is free or offered. A lease that lasts longer than any should
# was taken before Redis's clock went back: it is as good as free. KEYS: lease. ARGV: holder, milliseconds, OFFERED.
HOLD = """
if redis.call('PTTL', KEYS[1]) > tonumber(ARGV[2]) or redis.call('GET', KEYS[1]) == ARGV[3] then
  redis.call('DEL', KEYS[1])
end
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
"""

# Offers the lease unless another clock has it. KEYS and ARGV as above.
OFFER = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] and held ~= ARGV[3] then return 0 end
return redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2]) and 1
"""


def lease_key(prefix: str = PREFIX) -> str:
    """The key of a cell's lease; `prefix` is that of the cell's keys."""
    return f"{prefix}:clock"


LEASE = lease_key()


def hold(redis: Redis, holder: str, prefix: str = PREFIX) -> bool:
    """Take or renew the lease. Returns False if another clock has it."""
    return bool(redis.eval(HOLD, 1, lease_key(prefix), holder, str(LEASE_SECONDS * 1000), OFFERED))


def offer(redis: Redis, holder: str, prefix: str = PREFIX) -> bool:
    """Leave the lease to any clock that can work where this one can't. Returns False if another clock has it."""
    return bool(redis.eval(OFFER, 1, lease_key(prefix), holder, str(LEASE_SECONDS * 1000), OFFERED))


def is_offered(redis: Redis, prefix: str = PREFIX) -> bool:
    """Returns True if the clock that would have the lease can't work."""
    return redis.get(lease_key(prefix)) == OFFERED.encode()


def release(redis: Redis, holder: str, prefix: str = PREFIX) -> None:
    """Give the lease back, so that another clock takes over at once."""
    if redis.get(lease_key(prefix)) == holder.encode():
        redis.delete(lease_key(prefix))
