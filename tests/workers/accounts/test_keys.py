from typing import Any

import msgspec
import pytest
from redis import Redis

from workers.accounts import keys
from workers.accounts.keys import MIRROR, MIRRORED, Key, NoSuchKey
from workers.store import Connection


def mirrored(redis: Redis) -> dict[str, Key]:
    fields: Any = redis.hgetall(MIRROR)
    assert fields.pop(MIRRORED.encode()) == b"1"
    return {field.decode(): msgspec.json.decode(value, type=Key) for field, value in fields.items()}


def test_a_key_is_kept_as_its_sha256_alone(connection: Connection, redis: Redis) -> None:
    created = keys.create(connection, redis, "acme")
    assert created.secret.startswith("sk_live_")
    everything = str(connection.execute("SELECT * FROM api_keys").fetchall()) + str(redis.hgetall(MIRROR))
    assert created.secret not in everything
    assert keys.is_valid(connection, created.secret)


def test_a_new_key_is_at_the_doors_at_once(connection: Connection, redis: Redis) -> None:
    created = keys.create(connection, redis, "acme", publishable=True, rate_limit=7)
    assert created.secret.startswith("pk_live_")
    assert mirrored(redis) == {keys.digest(created.secret.encode()).hex(): Key(created.key_id, 1, True, 7)}


def test_keys_of_one_account_share_it(connection: Connection, redis: Redis) -> None:
    keys.create(connection, redis, "acme")
    keys.create(connection, redis, "acme")
    keys.create(connection, redis, "other")
    assert [key.account for key in keys.list_keys(connection)] == ["acme", "acme", "other"]
    assert len({key.account_id for key in mirrored(redis).values()}) == 2


def test_a_revoked_key_is_gone_from_the_mirror(connection: Connection, redis: Redis) -> None:
    made, kept = keys.create(connection, redis, "acme"), keys.create(connection, redis, "acme")
    keys.revoke(connection, redis, made.key_id)
    keys.revoke(connection, redis, made.key_id)
    assert list(mirrored(redis)) == [keys.digest(kept.secret.encode()).hex()]
    assert not keys.is_valid(connection, made.secret)


def test_a_key_that_does_not_exist_cannot_be_revoked(connection: Connection, redis: Redis) -> None:
    with pytest.raises(NoSuchKey, match="keys list"):
        keys.revoke(connection, redis, 12345)


def test_a_lost_mirror_is_made_again(connection: Connection, redis: Redis) -> None:
    keys.create(connection, redis, "acme")
    before = mirrored(redis)
    redis.delete(MIRROR)
    assert keys.refresh_mirror(connection, redis) == 1
    assert mirrored(redis) == before


def test_what_postgres_does_not_know_leaves_the_mirror(connection: Connection, redis: Redis) -> None:
    redis.hset(MIRROR, "stranger", b"{}")
    keys.refresh_mirror(connection, redis)
    assert mirrored(redis) == {}
