"""Clients of Redis, the prefix of all our keys, and the errors of a Redis that is away."""

import os
import re
from typing import Any

from redis import Redis
from redis import asyncio as async_redis
from redis.asyncio import connection as async_connection
from redis.backoff import NoBackoff
from redis.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MasterDownError, ReadOnlyError, RedisError, ResponseError
from redis.retry import Retry

REDIS_AWAY = (RedisError, OSError, TimeoutError)
PREFIX_PATTERN = r"[A-Za-z0-9_.-]{1,64}"

_prefix = os.environ.get("WINDBACK_REDIS_PREFIX", "")
PREFIX = _prefix if re.fullmatch(PREFIX_PATTERN, _prefix) else "windback"  # settings.load refuses any other
os.environ["RQ_KEY_PREFIX"] = f"{PREFIX}:rq"  # RQ reads it when it is imported, which is after this


class NotThisNode(RedisConnectionError):
    """The node at the other end takes no writes (any more): after a failover it is a replica. The connection is closed,
    and the next one leads to the new master, if the address does."""


def is_other_node(error: ResponseError) -> bool:
    """Returns whether an answer says that another node should have been asked."""
    return isinstance(error, (ReadOnlyError, MasterDownError)) or str(error).startswith("UNBLOCKED")


class _Sync:
    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """As redis-py does, but an answer of the wrong node is a lost connection."""
        try:
            return super().read_response(*arguments, **options)  # type: ignore[misc]
        except ResponseError as error:
            if not is_other_node(error):
                raise
            self.disconnect()  # type: ignore[attr-defined]
            raise NotThisNode(str(error)) from None


class _Async:
    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        """As redis-py does, but an answer of the wrong node is a lost connection."""
        try:
            return await super().read_response(*arguments, **options)  # type: ignore[misc]
        except ResponseError as error:
            if not is_other_node(error):
                raise
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise NotThisNode(str(error)) from None


def _derive(mixin: type, *classes: type) -> dict[type, Any]:
    return {plain: type(plain.__name__, (mixin, plain), {}) for plain in classes}


SYNC = _derive(_Sync, Connection, SSLConnection, UnixDomainSocketConnection)
ASYNC = _derive(
    _Async,
    async_connection.Connection,
    async_connection.SSLConnection,
    async_connection.UnixDomainSocketConnection,
)


def redis_client(url: str) -> Redis:
    """Returns a client for a worker: it may wait long for work, and notices when its peer is gone."""
    return _client(url, socket_connect_timeout=5, health_check_interval=30)


def command_client(url: str) -> Redis:
    """Returns a client for a command that a person waits for: it fails soon when Redis doesn't answer."""
    return _client(url, socket_connect_timeout=3, socket_timeout=3, retry=Retry(NoBackoff(), 0))


def async_client(url: str, **options: Any) -> async_redis.Redis:
    """Returns a client for a web process."""
    return async_redis.Redis.from_pool(async_pool(url, **options))


def async_pool(url: str, **options: Any) -> async_connection.ConnectionPool:
    """Returns the connections of such a client."""
    pool = async_connection.ConnectionPool.from_url(url, **options)
    pool.connection_class = ASYNC[pool.connection_class]
    return pool


def _client(url: str, **options: Any) -> Redis:
    pool = ConnectionPool.from_url(url, **options)
    pool.connection_class = SYNC[pool.connection_class]
    return Redis.from_pool(pool)
