"""Clients of Redis, the prefix of all our keys, and the errors of a Redis that is away.

A URL is that of a server; of a cluster, those of some nodes, with blanks between and a key behind a #, to whose slot
the client leads (see cluster.py).
"""

import os
import re
from typing import Any

from redis import Redis
from redis import asyncio as async_redis
from redis.asyncio import connection as async_connection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.driver_info import DriverInfo
from redis.exceptions import RedisError
from redis.retry import Retry

from workers import nodes
from workers.cluster import KEY_MARK as KEY_MARK
from workers.cluster import find_cluster
from workers.nodes import NotThisNode

REDIS_AWAY = (RedisError, OSError, TimeoutError)
PREFIX_PATTERN = r"[A-Za-z0-9_.-]{1,64}"

_prefix = os.environ.get("WINDBACK_REDIS_PREFIX", "")
PREFIX = _prefix if re.fullmatch(PREFIX_PATTERN, _prefix) else "windback"  # settings.load refuses any other
DRIVER = DriverInfo()  # or each connection would look up the version of redis-py, which takes a millisecond
os.environ["RQ_KEY_PREFIX"] = f"{PREFIX}:rq"  # RQ reads it when it is imported, which is after this


def redis_client(url: str) -> Redis:
    """Returns a client for a worker: it may wait long for work, and notices when its peer is gone."""
    return _client(url, socket_connect_timeout=5, health_check_interval=30)


def command_client(url: str, seconds: float = 3) -> Redis:
    """Returns a client for a command that a person waits for: it fails soon when Redis doesn't answer."""
    return _client(url, socket_connect_timeout=seconds, socket_timeout=seconds, retry=Retry(NoBackoff(), 0))


def async_client(url: str, **options: Any) -> async_redis.Redis:
    """Returns a client for a web process."""
    return async_redis.Redis.from_pool(async_pool(url, **options))


def async_pool(url: str, **options: Any) -> async_connection.ConnectionPool:
    """Returns the connections of such a client."""
    pool = async_connection.ConnectionPool.from_url(_first(url), driver_info=DRIVER, **options)
    _follow(pool, url, nodes.ASYNC, nodes.ASYNC_IN_CLUSTER, AsyncRetry(NoBackoff(), 1, (NotThisNode,)))
    return pool


def _client(url: str, **options: Any) -> Redis:
    pool = ConnectionPool.from_url(_first(url), driver_info=DRIVER, **options)
    _follow(pool, url, nodes.SYNC, nodes.SYNC_IN_CLUSTER, Retry(NoBackoff(), 1, (NotThisNode,)))
    return Redis.from_pool(pool)


def _first(url: str) -> str:
    return url.partition(KEY_MARK)[0].split()[0] if " " in url.strip() else url


def _follow(pool: Any, url: str, anywhere: dict[type, Any], in_cluster: dict[type, Any], once_more: Any) -> None:
    """Have a pool make connections that notice when another node should have been asked, and in a cluster ask it."""
    urls, _, key = url.partition(KEY_MARK)
    if key and pool.connection_class in in_cluster:
        pool.connection_class = in_cluster[pool.connection_class]
        pool.connection_kwargs |= {"cluster": find_cluster(urls), "key": key, "retry": once_more}
    else:
        pool.connection_class = anywhere[pool.connection_class]
