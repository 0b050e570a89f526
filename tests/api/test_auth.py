import asyncio
import subprocess
import sys
from typing import Any

import pytest
from redis import Redis

from api.auth import REMEMBER_KEYS, KeyMirror, Keys, MirroredKey
from api.errors import Refused
from api.track.door import door_redis
from workers.accounts import keys as all_keys
from workers.accounts.keys import NewKey
from workers.redis import PREFIX
from workers.store import Connection


def scope(secret: str | bytes) -> dict[str, Any]:
    value = secret if isinstance(secret, bytes) else secret.encode()
    return {"headers": [(b"host", b"x"), (b"x-api-key", value)]}


def looked_up(redis_url: str, *secrets: str) -> list[object]:
    """The results of look-ups: the account, or the code of the refusal."""

    async def run() -> list[object]:
        redis = door_redis(redis_url)
        keys = Keys(redis)
        results: list[object] = []
        for secret in secrets:
            try:
                results.append((await keys.authenticate(scope(secret))).account_id)
            except Refused as refused:
                results.append(refused.code)
        await redis.aclose()
        return results

    return asyncio.run(run())


@pytest.fixture
def key(connection: Connection, redis: Redis) -> NewKey:
    return all_keys.create(connection, redis, "acme")


def test_a_key_is_looked_up_once(key: NewKey, redis: Redis, redis_url: str) -> None:
    redis.config_resetstat()
    assert looked_up(redis_url, key.secret, key.secret, f" {key.secret} ") == [1, 1, 1]
    assert redis.info("commandstats")["cmdstat_hmget"]["calls"] == 1


def test_an_unknown_key_is_looked_up_once(key: NewKey, redis: Redis, redis_url: str) -> None:
    redis.config_resetstat()
    assert looked_up(redis_url, "sk_live_no", "sk_live_no") == ["invalid_api_key"] * 2
    assert redis.info("commandstats")["cmdstat_hmget"]["calls"] == 1


def test_what_cannot_be_a_key_is_not_looked_up(redis_url: str) -> None:
    nowhere = "redis://127.0.0.1:1"
    assert looked_up(nowhere, "", "hello", "sk_live_" + "x" * 300) == [
        "missing_api_key",
        "invalid_api_key",
        "invalid_api_key",
    ]


def test_a_look_up_without_redis_says_try_again(redis_url: str) -> None:
    assert looked_up("redis://127.0.0.1:1", "sk_live_x") == ["buffer_unavailable"]


def test_memory_holds_no_key_and_stays_bounded(key: NewKey, redis_url: str) -> None:
    """Guessing keys costs the guesser, not us."""

    async def run() -> Keys:
        redis = door_redis(redis_url)
        keys = Keys(redis)
        await keys.authenticate(scope(key.secret))
        for n in range(REMEMBER_KEYS + 10):
            keys._remember(all_keys.digest(b"%d" % n), None)
        await redis.aclose()
        return keys

    keys = asyncio.run(run())
    assert (len(keys._remembered), len(keys._unknown) <= REMEMBER_KEYS) == (1, True)
    assert all(len(digest) == 32 for digest in (*keys._remembered, *keys._unknown))


def test_looking_a_key_up_needs_little_of_the_house() -> None:
    """Nothing of the line, of scoring or of training."""
    listing = (
        "import sys, api.auth; print(*(name for name in sys.modules if name.startswith(('workers.', 'scoring.'))))"
    )
    listed = subprocess.run([sys.executable, "-c", listing], check=True, capture_output=True, text=True).stdout.split()
    rooms = {".".join(name.split(".")[:2]) for name in listed}
    ground = {"workers.cells", "workers.cluster", "workers.nodes", "workers.redis"}
    assert rooms == {"workers.accounts", "workers.installation", "workers.store", *ground}
    assert len(listed) <= 13


def test_look_ups_that_come_at_once_share_a_command(key: NewKey, redis: Redis, redis_url: str) -> None:
    async def run() -> list[object]:
        client = door_redis(redis_url)
        mirror = KeyMirror((client, PREFIX))
        results = await asyncio.gather(*(mirror.find(b"%d" % (number % 500)) for number in range(1000)))
        await client.aclose()
        return list(results)

    redis.config_resetstat()
    assert asyncio.run(run()) == [MirroredKey(None, True)] * 1000
    assert redis.info("commandstats")["cmdstat_hmget"]["calls"] <= 2


def test_unknown_keys_push_no_known_one_out_of_the_memory(
    key: NewKey, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.auth.REMEMBER_KEYS", 3)
    unknown = [f"sk_live_{number}" for number in range(10)]
    assert looked_up(redis_url, key.secret, *unknown)[0] == 1
    redis.config_resetstat()
    looked_up(redis_url, key.secret, *unknown, key.secret)
    assert redis.info("commandstats")["cmdstat_hmget"]["calls"] == 1 + len(unknown)
