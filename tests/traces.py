"""Looks for words in everything that is kept: all rows of all tables in all schemas, and all keys of Redis."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from psycopg import sql
from redis import Redis

from workers.buffer.entries import hash_customer, hash_user
from workers.store import Connection

HEX = re.compile(r"\\\\x((?:[0-9a-f]{2})+)")
TABLES = """
    SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'm', 'f') AND relpersistence <> 't'
      AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    ORDER BY nspname, relname
"""
READERS: dict[Any, Callable[[Redis, Any], Any]] = {
    b"string": lambda redis, key: redis.get(key),
    b"hash": lambda redis, key: redis.hgetall(key),
    b"list": lambda redis, key: redis.lrange(key, 0, -1),
    b"set": lambda redis, key: redis.smembers(key),
    b"zset": lambda redis, key: redis.zrange(key, 0, -1, withscores=True),
    b"stream": lambda redis, key: redis.xrange(key),
}


def read_postgres(connection: Connection) -> Iterator[str]:
    """Every row of every table; bytes as text, too."""
    for schema, table in connection.execute(TABLES).fetchall():
        query = sql.SQL("SELECT whole::text FROM {} AS whole").format(sql.Identifier(schema, table))
        for (row,) in connection.execute(query):
            hidden = [bytes.fromhex(each).decode(errors="replace") for each in HEX.findall(row)]
            yield f"{schema}.{table}: {row} {hidden}"


def read_redis(redis: Redis) -> Iterator[str]:
    """Every key, with what it holds."""
    for key in redis.keys("*"):
        yield f"{key!r}: {READERS[redis.type(key)](redis, key)!r}"


def find_traces(connection: Connection, redis: Redis, words: Iterable[str]) -> list[str]:
    """Returns the rows and keys that contain one of these words, in whatever case."""
    lowered = [word.lower() for word in words]
    values = [*read_postgres(connection), *read_redis(redis)]
    return [value for value in values if any(word in value.lower() for word in lowered)]


def hashes_of(account_id: int, emails: Iterable[str] = (), user_ids: Iterable[str] = ()) -> list[str]:
    """Returns the ids under which tables keep these addresses and user ids, in both spellings."""
    ids = [hash_customer(account_id, email) for email in emails] + [hash_user(account_id, user) for user in user_ids]
    return [*ids, *(f"{id_[:8]}-{id_[8:12]}-{id_[12:16]}-{id_[16:20]}-{id_[20:]}" for id_ in ids)]
