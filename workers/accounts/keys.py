"""API keys: kept as SHA-256 alone in Postgres, and mirrored in Redis, so that the door needs Redis only."""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from redis import Redis

from workers import installation
from workers.redis import PREFIX
from workers.store import Connection, locks, only_row, sql
from workers.store.locks import Lock

MIRRORED = "mirrored"  # a field that is always there: its absence tells a lost mirror from an unknown key
USED = f"{PREFIX}:keys:used"  # a hash: key_id → when it was last used, in seconds since 1970
SECRET_PREFIX = "sk_live_"  # noqa: S105
PUBLISHABLE_PREFIX = "pk_live_"
LONGEST_NAME = 80
PUBLISHABLE_RATE_LIMIT = 100  # events a second, unless the key has a limit of its own


def mirror_key(prefix: str = PREFIX) -> str:
    """A hash: the key's SHA-256 in hexadecimal → Key as JSON. `prefix` is another one in a copy of home's."""
    return f"{prefix}:keys"


MIRROR = mirror_key()


class Key(Struct, frozen=True):
    """A key as the door needs it."""

    key_id: int
    account_id: int
    publishable: bool = False
    rate_limit: int | None = None


class NewKey(NamedTuple):
    """A key just made. The secret is shown once and kept nowhere."""

    key_id: int
    account: str
    secret: str


class ListedKey(NamedTuple):
    """A key as it may be shown."""

    key_id: int
    account: str
    hint: str
    publishable: bool
    rate_limit: int | None
    created_at: datetime
    revoked_at: datetime | None
    name: str | None = None


class NoSuchKey(Exception):
    """No key has this id. `windback keys list` shows them all."""


def digest(secret: bytes) -> bytes:
    """The form in which a key is kept and looked up: 32 bytes."""
    return hashlib.sha256(secret).digest()


def create(
    connection: Connection,
    redis: Redis,
    account: str,
    *,
    publishable: bool = False,
    rate_limit: int | None = None,
    name: str | None = None,
) -> NewKey:
    """Make a key for an account, which is made as well where it doesn't exist."""
    prefix = PUBLISHABLE_PREFIX if publishable else SECRET_PREFIX
    secret = prefix + secrets.token_urlsafe(32)
    hashed = digest(secret.encode())
    with _alone(connection):
        connection.execute(sql("create_account"), {"account": account})
        parameters = {
            "account": account,
            "hash": hashed,
            "hint": f"{secret[:12]}…{secret[-4:]}",
            "publishable": publishable,
            "rate_limit": rate_limit,
            "name": name or None,
        }
        key_id, _ = only_row(connection.execute(sql("create_key"), parameters))
        _write_mirror(connection, redis)
    return NewKey(key_id, account, secret)


def revoke(connection: Connection, redis: Redis, key_id: int, account_id: int | None = None) -> None:
    """End a key (of this account, if one is given), at the doors within 10 seconds. Raises NoSuchKey; revoking twice is
    the same as once."""
    with _alone(connection):
        row = connection.execute(sql("revoke_key"), {"key_id": key_id, "account_id": account_id}).fetchone()
        if row is None:
            raise NoSuchKey(f"there is no key {key_id}; `windback keys list` shows them all")
        _write_mirror(connection, redis)


def list_keys(connection: Connection) -> list[ListedKey]:
    """All keys, oldest first."""
    return [ListedKey(*row) for row in connection.execute(sql("list_keys"))]


def find_last_secret_key(connection: Connection, key_id: int) -> ListedKey | None:
    """Returns this key if it is the only secret key of its account that works."""
    working = [key for key in list_keys(connection) if not key.publishable and key.revoked_at is None]
    key = next((key for key in working if key.key_id == key_id), None)
    return key if key and sum(other.account == key.account for other in working) == 1 else None


def find_last_use(redis: Redis, key_id: int) -> datetime | None:
    """Returns when the key was last used, where that is known."""
    used: Any = redis.hget(USED, str(key_id))
    return datetime.fromtimestamp(float(used), UTC) if used else None


def is_valid(connection: Connection, secret: str) -> bool:
    """True if the key exists and is not revoked."""
    return connection.execute(sql("find_key"), {"hash": digest(secret.encode())}).fetchone() is not None


def refresh_mirror(connection: Connection, redis: Redis, prefix: str = PREFIX) -> int:
    """Write the keys that work to Redis and take out all others. Returns how many there are. `prefix` is another one in
    a copy of home's."""
    with _alone(connection):
        return _write_mirror(connection, redis, prefix)


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """A transaction that changes keys and their mirror together, one at a time."""
    with connection.transaction():
        locks.lock(connection, Lock.KEYS)
        yield


def _write_mirror(connection: Connection, redis: Redis, prefix: str = PREFIX) -> int:
    key = mirror_key(prefix)
    # Another installation's keys are not ours to replace.
    installation.tie(redis, installation.find_id(connection), prefix)
    wanted: dict[Any, Any] = {
        bytes(hashed).hex(): msgspec.json.encode(Key(*key)) for hashed, *key in connection.execute(sql("mirror_keys"))
    }
    fields: Any = redis.hgetall(key)
    there = {field.decode(): key for field, key in fields.items()}
    wanted_fields = wanted | {MIRRORED: b"1"}
    with redis.pipeline() as pipeline:
        if new := {field: key for field, key in wanted_fields.items() if there.get(field) != key}:
            pipeline.hset(key, mapping=new)
        if gone := there.keys() - wanted_fields.keys():
            pipeline.hdel(key, *gone)
        pipeline.execute()
    return len(wanted)
