"""Leases of the clock: of several clocks, the one that holds the lease of a cell is active there."""

from redis import Redis

from workers.redis import PREFIX

LEASE_SECONDS = 10

# Renews the lease if the holder has it, or takes it if it is free. A lease that lasts longer than any should was taken
# before Redis's clock went back: it is as good as free. KEYS: lease. ARGV: holder, milliseconds.
HOLD = """
if redis.call('PTTL', KEYS[1]) > tonumber(ARGV[2]) then redis.call('DEL', KEYS[1]) end
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
"""


def lease_key(prefix: str = PREFIX) -> str:
    """The key of a cell's lease; `prefix` is that of the cell's keys."""
    return f"{prefix}:clock"


LEASE = lease_key()


def hold(redis: Redis, holder: str, prefix: str = PREFIX) -> bool:
    """Take or renew the lease. Returns False if another clock has it."""
    return bool(redis.eval(HOLD, 1, lease_key(prefix), holder, str(LEASE_SECONDS * 1000)))


def release(redis: Redis, holder: str, prefix: str = PREFIX) -> None:
    """Give the lease back, so that another clock takes over at once."""
    if redis.get(lease_key(prefix)) == holder.encode():
        redis.delete(lease_key(prefix))
