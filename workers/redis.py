"""Clients of Redis, and what its absence looks like."""

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

REDIS_AWAY = (RedisError, OSError, TimeoutError)


def redis_client(url: str) -> Redis:
    """Returns a client for a worker: it may wait long for work, and notices when its peer is gone."""
    return Redis.from_url(url, socket_connect_timeout=5, health_check_interval=30)


def command_client(url: str) -> Redis:
    """Returns a client for a command that a person waits for: it fails soon when Redis doesn't answer."""
    return Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3, retry=Retry(NoBackoff(), 0))
