"""The installation that a Redis belongs to: an id in Postgres, noted in Redis, ties the two together.

Two installations that share a Redis would store each other's events, and each would replace the other's keys. So no
process works with a Redis that holds the id of another database. A restored database has brought its id; an empty Redis
takes the first id it is given.
"""

from redis import Redis
from redis.exceptions import RedisError

from workers.redis import PREFIX
from workers.store import Connection, only_row, sql

FOREIGN = (
    "REDIS_URL leads to a Redis that belongs to another Windback; set WINDBACK_REDIS_PREFIX, or another database number"
    f" in REDIS_URL (if the other one is gone for good, delete its keys: all that begin with {PREFIX}:)"
)


class ForeignRedis(RedisError):
    """This Redis belongs to another installation. Give each one a Redis, a database number or a prefix of its own."""

    def __init__(self, message: str = FOREIGN) -> None:
        super().__init__(message)


def find_id(connection: Connection) -> str:
    """Returns the installation's id."""
    return str(only_row(connection.execute(sql("find_installation")))[0])


def key_of(prefix: str = PREFIX) -> str:
    """The key that holds the id; `prefix` is that of a cell's keys."""
    return f"{prefix}:installation"


def tie(redis: Redis, installation_id: str, prefix: str = PREFIX) -> None:
    """Note in Redis which installation its buffer belongs to. Raises ForeignRedis if that is another one."""
    redis.set(key_of(prefix), installation_id, nx=True)
    if redis.get(key_of(prefix)) != installation_id.encode():
        raise ForeignRedis


KEY = key_of()
