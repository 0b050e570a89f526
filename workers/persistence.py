"""Redis's persistence: the state of its append-only file."""

import logging
from typing import Any

from redis import Redis

log = logging.getLogger(__name__)

OFF = (
    "Redis keeps no append-only file, so events that wait in it are lost when it ends; set `appendonly yes`"
    " (redis-cli config set appendonly yes, and in its configuration)"
)


def describe_persistence(info: dict[str, Any]) -> str | None:
    """Returns what is wrong with the append-only file by INFO persistence, in words, or None."""
    return OFF if info.get("aof_enabled") == 0 else None


class AppendOnlyFile:
    """The file as one clock has seen it."""

    def __init__(self) -> None:
        self._failed = False

    def warn(self, redis: Redis) -> None:
        """Log what is wrong with the file."""
        if warning := describe_persistence(_read_info(redis)):
            log.warning(warning)

    def rewrite_after_failure(self, redis: Redis) -> None:
        """Have the file written anew when it can be written again: a disk that was full may leave a hole in the old
        one, with which the server doesn't start."""
        failing = _read_info(redis).get("aof_last_write_status") == "err"
        if self._failed and not failing:
            log.warning("Redis can write its append-only file again, and writes it anew")
            redis.bgrewriteaof()
        self._failed = failing


def _read_info(redis: Redis) -> dict[str, Any]:
    info: Any = redis.info("persistence")
    return dict(info)
