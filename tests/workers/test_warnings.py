import asyncio
from datetime import UTC, datetime, timedelta

from redis import Redis

from api.track.door import door_redis
from workers.warnings import DAYS, LATEST, AccountWarnings, Warnings, read_warnings


def found(redis_url: str, account_id: int = 1, days_later: float = 0) -> AccountWarnings:
    async def run() -> AccountWarnings:
        redis = door_redis(redis_url)
        try:
            return await read_warnings(redis, account_id, datetime.now(UTC) + timedelta(days=days_later))
        finally:
            await redis.aclose()

    return asyncio.run(run())


def test_the_latest_come_first_and_all_are_counted(redis: Redis, redis_url: str) -> None:
    warnings = Warnings()
    for n in range(LATEST + 20):
        warnings.add(1, "a" if n % 2 else "b", "field", f"{n}", "login")
        if n % 50 == 0:
            warnings.flush_sync(redis)
    warnings.flush_sync(redis)
    summary = found(redis_url)
    assert summary.counts == {"a": 60, "b": 60}
    assert [warning.message for warning in summary.warnings] == [str(n) for n in range(119, 19, -1)]


def test_accounts_see_their_own(redis: Redis, redis_url: str) -> None:
    warnings = Warnings()
    warnings.add(1, "a", None, "x")
    warnings.flush_sync(redis)
    assert found(redis_url, account_id=2) == AccountWarnings({}, [])


def test_warnings_end_after_seven_days(redis: Redis, redis_url: str) -> None:
    warnings = Warnings()
    warnings.add(1, "a", None, "x")
    warnings.flush_sync(redis)
    assert found(redis_url, days_later=DAYS - 0.01).counts == {"a": 1}
    assert found(redis_url, days_later=DAYS).warnings == []
    assert found(redis_url, days_later=DAYS + 1 / 24) == AccountWarnings({}, [])
    assert all(0 < redis.ttl(key) <= (DAYS + 1) * 86400 for key in redis.keys("windback:warnings*"))


def test_what_cannot_be_written_now_is_written_later(redis: Redis, redis_url: str) -> None:
    warnings = Warnings()
    warnings.add(1, "a", None, "x")
    with Redis.from_url("redis://127.0.0.1:1") as nowhere:
        warnings.flush_sync(nowhere)
    warnings.add(1, "a", None, "y")
    warnings.flush_sync(redis)
    assert [warning.message for warning in found(redis_url).warnings] == ["y", "x"]
    assert found(redis_url).counts == {"a": 2}
