"""Warnings: faults of producers. A fire-and-forget producer never sees its errors; its owner does, here.

Warnings are gathered in the process and written to Redis about once a second; a process that is killed loses those of
its last second. An account's latest 100 are kept, and their counts by code, for 7 days.
"""

import logging
from collections import Counter, deque
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError

from workers.redis import PREFIX

log = logging.getLogger(__name__)

LATEST = 100
DAYS = 7
LONGEST = 200  # characters of a field or an event's name that are kept


class ProducerWarning(Struct):
    """An event or field that was refused, ignored or looks wrong. `event` is the event's name, if it has one."""

    at: Annotated[datetime, Meta(tz=True)]
    code: str
    field: str | None
    message: str
    event: str | None


class PendingWarnings:
    """The warnings of an account that are not written yet."""

    def __init__(self) -> None:
        self.latest: deque[ProducerWarning] = deque(maxlen=LATEST)
        self.counts: Counter[str] = Counter()


class Warnings:
    """The warnings of one process that are not written yet."""

    def __init__(self) -> None:
        self._accounts: dict[int, PendingWarnings] = {}

    def add(self, account_id: int, code: str, field: str | None, message: str, event: object = None) -> None:
        """Note a warning. It is cheap, and takes anything that a producer sent as the event's name."""
        account = self._accounts.setdefault(account_id, PendingWarnings())
        name = event[:LONGEST] if isinstance(event, str) else None
        account.latest.append(ProducerWarning(datetime.now(UTC), code, field and field[:LONGEST], message, name))
        account.counts[code] += 1

    async def flush(self, redis: AsyncRedis) -> None:
        """Write the warnings that were noted. Those that can't be written now are written next time."""
        accounts, self._accounts = self._accounts, {}
        if not accounts:
            return
        pipeline: Any = redis.pipeline(transaction=False)
        _write(pipeline, accounts)
        try:
            await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._put_back(accounts, error)

    def flush_sync(self, redis: Redis) -> None:
        """As `flush`, for a worker."""
        accounts, self._accounts = self._accounts, {}
        if not accounts:
            return
        pipeline = redis.pipeline(transaction=False)
        _write(pipeline, accounts)
        try:
            pipeline.execute()
        except RedisError as error:
            self._put_back(accounts, error)

    def _put_back(self, accounts: dict[int, PendingWarnings], error: Exception) -> None:
        log.info("warnings wait: %s", error)
        for account_id, older in accounts.items():
            newer = self._accounts.get(account_id, PendingWarnings())
            older.latest.extend(newer.latest)
            older.counts.update(newer.counts)
            self._accounts[account_id] = older


def _list(account_id: int) -> str:
    return f"{PREFIX}:warnings:{account_id}"


def _counts(account_id: int, day: datetime) -> str:
    return f"{PREFIX}:warnings:{account_id}:{day:%Y%m%d}"


def _write(pipeline: Any, accounts: dict[int, PendingWarnings]) -> None:
    now = datetime.now(UTC)
    for account_id, account in accounts.items():
        latest, counts = _list(account_id), _counts(account_id, now)
        pipeline.lpush(latest, *map(msgspec.json.encode, account.latest))
        pipeline.ltrim(latest, 0, LATEST - 1)
        pipeline.expire(latest, timedelta(days=DAYS))
        for code, number in account.counts.items():
            pipeline.hincrby(counts, f"{now:%H}:{code}", number)
        pipeline.expire(counts, timedelta(days=DAYS + 1))


class AccountWarnings(Struct):
    """An account's warnings: how many by code within 7 days, and the latest, newest first."""

    counts: dict[str, int]
    warnings: list[ProducerWarning]


async def read_warnings(redis: AsyncRedis, account_id: int, now: datetime) -> AccountWarnings:
    """Returns what is written of an account's warnings; counts reach back 7 days, to the full hour before."""
    since = now - timedelta(days=DAYS)
    pipeline: Any = redis.pipeline(transaction=False)
    pipeline.lrange(_list(account_id), 0, -1)
    for day in range(DAYS + 1):
        pipeline.hgetall(_counts(account_id, since + timedelta(days=day)))
    latest, first_day, *days = await pipeline.execute()
    hours = [*((field, n) for field, n in first_day.items() if int(field[:2]) >= since.hour), *_fields(days)]
    return AccountWarnings(_add_up(hours), [warning for warning in map(_decode, latest) if warning.at > since])


async def count_last_day(redis: AsyncRedis, account_id: int, now: datetime) -> dict[str, int]:
    """Returns an account's warnings of the last 24 hours, by code."""
    since = now - timedelta(days=1)
    pipeline: Any = redis.pipeline(transaction=False)
    for day in (since, now):
        pipeline.hgetall(_counts(account_id, day))
    yesterday, today = await pipeline.execute()
    recent = [(field, number) for field, number in yesterday.items() if int(field[:2]) > since.hour]
    return _add_up([*recent, *today.items()])


def _fields(days: Iterable[dict[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    return chain.from_iterable(day.items() for day in days)


def _add_up(hours: Iterable[tuple[bytes, bytes]]) -> dict[str, int]:
    """Returns the counts by code of fields like b"21:timestamp_invalid"."""
    total: Counter[str] = Counter()
    for field, number in hours:
        total[field[3:].decode()] += int(number)
    return dict(total.most_common())


_decode = msgspec.json.Decoder(ProducerWarning).decode
