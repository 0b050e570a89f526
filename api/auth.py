"""Keys at the door: looked up in Redis's mirror, remembered for 10 seconds, the unknown ones too."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from redis.asyncio import Redis
from starlette.types import Scope

from api.errors import Refused
from workers.accounts.keys import MIRRORED, PUBLISHABLE_PREFIX, SECRET_PREFIX, USED, Key, digest, mirror_key
from workers.redis import PREFIX, REDIS_AWAY

REMEMBER_SECONDS = 10.0
REMEMBER_KEYS = 10_000
LOOK_UP_SECONDS = 0.8  # of Redis; a key that isn't known then is refused at once
PATIENCE_SECONDS = 0.05  # with a key that is known from before: the write that follows may take 0.8
LONGEST_KEY = 200
PREFIXES = (SECRET_PREFIX.encode(), PUBLISHABLE_PREFIX.encode())

_decode = msgspec.json.Decoder(Key).decode


class RememberedKey(NamedTuple):
    """The result of a look-up, None for an unknown key, and until when it holds (monotonic seconds)."""

    key: Key | None
    until: float


class Keys:
    """The keys as one web process knows them. Memory holds their SHA-256 only."""

    def __init__(self, redis: Redis, copies: Sequence[tuple[Redis, str]] = ()) -> None:
        self._redis, self._mirror = redis, KeyMirror((redis, PREFIX), *copies)
        self._remembered: dict[bytes, RememberedKey] = {}
        self._unknown: dict[bytes, RememberedKey] = {}  # apart: a flood of them must not push the others out
        self._used: set[int] = set()

    async def authenticate(self, scope: Scope) -> Key:
        """Returns the key of a request. Raises Refused: missing_api_key, invalid_api_key, buffer_unavailable."""
        secret = header(scope, b"x-api-key").strip()
        if not secret:
            raise Refused("missing_api_key")
        if len(secret) > LONGEST_KEY or not secret.startswith(PREFIXES):
            raise Refused("invalid_api_key")
        hashed = digest(secret)
        remembered = self._remembered.get(hashed) or self._unknown.get(hashed)
        if remembered is None or remembered.until < time.monotonic():
            remembered = await self._look_up(hashed, remembered)
        if remembered.key is None:
            raise Refused("invalid_api_key")
        self.note_use(remembered.key.key_id)
        return remembered.key

    async def authenticate_secret(self, scope: Scope) -> Key:
        """Returns the key of a request that needs a secret one. Raises Refused, key_not_allowed as well."""
        key = await self.authenticate(scope)
        if key.publishable:
            raise Refused("key_not_allowed")
        return key

    def note_use(self, key_id: int) -> None:
        """Note that this key is used now."""
        self._used.add(key_id)

    async def save_used_keys(self) -> None:
        """Save to Redis which keys were used since the last time. Raises RedisError, OSError; then they are lost."""
        if self._used:
            used, self._used = self._used, set()
            await save_last_used(self._redis, used)

    async def _look_up(self, hashed: bytes, stale: RememberedKey | None) -> RememberedKey:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS if stale else None):
                entry = await self._mirror.find(hashed)
        except TimeoutError:
            entry = None
        if entry is None:
            if stale is not None:
                return stale  # better an answer of a minute ago than none: reading goes on without Redis
            raise Refused("buffer_unavailable")
        if entry.key is None and not entry.is_mirrored:
            raise Refused(
                "buffer_unavailable",
                "The keys are not in Redis yet: the clock process writes them there. Send it again.",
            )
        return self._remember(hashed, None if entry.key is None else _decode(entry.key))

    def _remember(self, hashed: bytes, key: Key | None) -> RememberedKey:
        memory = self._unknown if key is None else self._remembered
        if len(memory) >= REMEMBER_KEYS:
            memory.clear()
        self._unknown.pop(hashed, None)
        self._remembered.pop(hashed, None)
        remembered = memory[hashed] = RememberedKey(key, time.monotonic() + REMEMBER_SECONDS)
        return remembered


class MirroredKey(NamedTuple):
    """A key as the mirror holds it: its JSON or None, and a flag that a mirror exists."""

    key: bytes | None
    is_mirrored: bool


class KeyMirror:
    """The mirror of the keys in Redis; where home's is away, its copy in that of a cell, under another prefix. Look-ups
    that come while another is under way share the next: so a flood of unknown keys takes a single connection, and not
    all there are."""

    def __init__(self, *places: tuple[Redis, str]) -> None:
        self._places = places
        self._waiting: dict[bytes, asyncio.Future[MirroredKey | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def find(self, hashed: bytes) -> MirroredKey | None:
        """Returns what the mirror holds of a key; None if Redis doesn't answer."""
        answer = self._waiting.get(hashed)
        if answer is None:
            answer = self._waiting[hashed] = asyncio.get_running_loop().create_future()
            if self._reading is None:
                self._reading = asyncio.get_running_loop().create_task(self._read_groups())
        return await asyncio.shield(answer)

    async def _read_groups(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting, {}
                keys = await self._read(list(group))
                answers = list(group.values())
                if keys is None:  # requests that came meanwhile are refused as well
                    answers, self._waiting = [*answers, *self._waiting.values()], {}
                for place, answer in enumerate(answers):
                    answer.set_result(keys[place] if keys else None)
        finally:
            self._reading = None

    async def _read(self, hashes: Sequence[bytes]) -> Sequence[MirroredKey] | None:
        fields = [MIRRORED, *(hashed.hex() for hashed in hashes)]
        until = time.monotonic() + LOOK_UP_SECONDS
        for others, (redis, prefix) in zip(range(len(self._places) - 1, -1, -1), self._places, strict=True):
            left = until - time.monotonic()
            with suppress(*REDIS_AWAY):
                async with asyncio.timeout(left / 2 if others else left):  # one that hangs leaves time for the others
                    reply: Any = await redis.hmget(mirror_key(prefix), fields)
                mirrored, *keys = reply
                return [MirroredKey(key, mirrored is not None) for key in keys]
        return None


async def save_last_used(redis: Redis, key_ids: Iterable[int]) -> None:
    """Save to Redis that these keys are used now."""
    now = int(time.time())
    await redis.hset(USED, mapping={str(key_id): now for key_id in key_ids})


async def find_last_used(redis: Redis, key_ids: Sequence[int]) -> dict[int, datetime]:
    """Returns when these keys were last used, exact to a second or two, without those that never were."""
    times = await redis.hmget(USED, [str(key_id) for key_id in key_ids]) if key_ids else []
    return {
        key_id: datetime.fromtimestamp(int(at), UTC)
        for key_id, at in zip(key_ids, times, strict=True)
        if at is not None
    }


def header(scope: Scope, name: bytes) -> bytes:
    """Returns a request's header, or b"". `name` is in lower case."""
    for sent_name, value in scope["headers"]:
        if sent_name == name:
            return bytes(value)
    return b""
