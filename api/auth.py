"""Keys at the door: looked up in Redis's mirror, remembered for 10 seconds, the unknown ones too."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from redis.asyncio import Redis
from starlette.types import Scope

from api.errors import Refused
from workers.accounts.keys import MIRROR, MIRRORED, PUBLISHABLE_PREFIX, SECRET_PREFIX, USED, Key, digest
from workers.redis import REDIS_AWAY

REMEMBER_SECONDS = 10.0
REMEMBER_KEYS = 10_000
PATIENCE_SECONDS = 0.05  # with a key that is known from before: the write that follows may take 0.8
LONGEST_KEY = 200
PREFIXES = (SECRET_PREFIX.encode(), PUBLISHABLE_PREFIX.encode())

_decode = msgspec.json.Decoder(Key).decode


class Remembered(NamedTuple):
    """A key, or that it is none, and until when that is taken as true (monotonic seconds)."""

    key: Key | None
    until: float


class Keys:
    """The keys as one web process knows them. Memory holds their SHA-256 only."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._remembered: dict[bytes, Remembered] = {}
        self._used: set[int] = set()

    async def of(self, scope: Scope) -> Key:
        """The key of a request. Raises Refused: missing_api_key, invalid_api_key, buffer_unavailable."""
        secret = header(scope, b"x-api-key").strip()
        if not secret:
            raise Refused("missing_api_key")
        if len(secret) > LONGEST_KEY or not secret.startswith(PREFIXES):
            raise Refused("invalid_api_key")
        hashed = digest(secret)
        remembered = self._remembered.get(hashed)
        if remembered is None or remembered.until < time.monotonic():
            remembered = await self._look_up(hashed, remembered)
        if remembered.key is None:
            raise Refused("invalid_api_key")
        self.note(remembered.key.key_id)
        return remembered.key

    async def secret_of(self, scope: Scope) -> Key:
        """The key of a request that needs a secret one. Raises Refused, key_not_allowed as well."""
        key = await self.of(scope)
        if key.publishable:
            raise Refused("key_not_allowed")
        return key

    def note(self, key_id: int) -> None:
        """This key is used now."""
        self._used.add(key_id)

    async def tell_used(self) -> None:
        """Note in Redis which keys were used since the last time. Raises RedisError, OSError; then they are lost."""
        if self._used:
            used, self._used = self._used, set()
            await note_used(self._redis, used)

    async def _look_up(self, hashed: bytes, stale: Remembered | None) -> Remembered:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS if stale else None):
                found, mirrored = await self._redis.hmget(MIRROR, [hashed.hex(), MIRRORED])
        except REDIS_AWAY:
            if stale is not None:
                return stale  # better an answer of a minute ago than none: reading goes on without Redis
            raise Refused("buffer_unavailable") from None
        if found is None and mirrored is None:
            raise Refused("buffer_unavailable", "The keys are not in Redis yet; send it again.")
        return self._remember(hashed, None if found is None else _decode(found))

    def _remember(self, hashed: bytes, key: Key | None) -> Remembered:
        if len(self._remembered) >= REMEMBER_KEYS:
            self._remembered.clear()
        remembered = self._remembered[hashed] = Remembered(key, time.monotonic() + REMEMBER_SECONDS)
        return remembered


async def note_used(redis: Redis, key_ids: Iterable[int]) -> None:
    """Write down that these keys are used now."""
    now = int(time.time())
    await redis.hset(USED, mapping={str(key_id): now for key_id in key_ids})


async def last_used(redis: Redis, key_ids: Sequence[int]) -> dict[int, datetime]:
    """When these keys were last used, exact to a second or two; those that never were are left out."""
    found = await redis.hmget(USED, [str(key_id) for key_id in key_ids]) if key_ids else []
    return {
        key_id: datetime.fromtimestamp(int(at), UTC)
        for key_id, at in zip(key_ids, found, strict=True)
        if at is not None
    }


def header(scope: Scope, name: bytes) -> bytes:
    """A request's header, b"" where there is none. `name` in lower case."""
    for given, value in scope["headers"]:
        if given == name:
            return bytes(value)
    return b""
