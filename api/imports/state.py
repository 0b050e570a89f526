"""The state of an account's imports: a hash in Redis, which ends a week after the last one.

The file itself and its preview are gone when the import is through, or after a day.
"""

import time
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from api.history.times import Dates
from workers.redis import PREFIX

KEPT_SECONDS: Final = 7 * 86400
DEAD_SECONDS: Final = 30.0  # without a sign of life of the process at work
LOCKED_SECONDS: Final = 15  # since that sign; less, so that an import that looks dead can be begun anew
MOST_IMPORTS: Final = 20  # of an account that are remembered
WORKING: Final = ("reading", "sending", "storing", "scoring")

Stage = Literal["reading", "ready", "sending", "storing", "scoring", "done", "failed", "stopped"]


class PreviewRow(Struct):
    """One of the first records, as it would be sent, or why it can't be."""

    number: int
    event: str = ""
    customer: str = ""
    timestamp: str = ""
    properties: str = ""
    fault: str = ""


class FilePreview(Struct):
    """The contents of a file: its columns with an example of each, the first rows, and the figures of a dry run."""

    columns: dict[str, str] = {}
    is_table: bool = False
    rows: list[PreviewRow] = []
    events: int = 0
    names: list[tuple[str, int]] = []
    more_names: int = 0
    first: str | None = None
    last: str | None = None
    unresolved: int = 0
    users: int = 0


class LineFault(Struct):
    """A line that can't be used."""

    number: int
    reason: str


class FileImport(Struct):
    """A file on its way in: how it is read, and how far it is."""

    import_id: str
    account_id: int
    filename: str
    size: int  # bytes
    created_at: float  # epoch seconds, as all times here
    host: str  # the machine on which the file lies
    stage: Stage = "reading"
    beat_at: float = 0.0
    preset: str | None = None
    columns: dict[str, str] = {}  # ours → theirs
    renames: dict[str, str] = {}  # theirs → ours
    now: bool = False  # events without a time happen now
    dates: Dates | None = None  # the order in dates like 3/4/2025
    people: int = 0  # addresses of user ids that came with it
    preview: FilePreview | None = None
    share: float = 0.0  # of the file that is read
    rate: float = 0.0  # events a second
    sent: int = 0
    identities: int = 0
    refused: int = 0
    faults: list[LineFault] = []
    skipped: dict[str, int] = {}
    left: int = 0  # events to be stored, or customers to be scored
    message: str | None = None  # why it failed, or waits

    def is_working(self, now: float) -> bool:
        """Returns whether a process is at work on it."""
        return self.stage in WORKING and now - self.beat_at < DEAD_SECONDS

    def was_interrupted(self, now: float) -> bool:
        """Returns whether the process that was at work is gone."""
        return self.stage in WORKING and not self.is_working(now)

    def begin(self, stage: Stage) -> None:
        """Begin to read or to send the file from its beginning."""
        self.stage, self.beat_at, self.message = stage, time.time(), None
        self.share = self.rate = 0.0
        self.sent = self.identities = self.refused = self.left = 0
        self.faults, self.skipped = [], {}


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(FileImport).decode


def hash_key(account_id: int) -> str:
    """The hash of an account's imports: id → import."""
    return f"{PREFIX}:imports:{account_id}"


def stop_key(import_id: str) -> str:
    """The key that exists while an import is asked to stop."""
    return f"{PREFIX}:import:{import_id}:stop"


def lock_key(import_id: str) -> str:
    """Is there while a process is at work on an import."""
    return f"{PREFIX}:import:{import_id}:lock"


async def save(redis: Redis, state: FileImport) -> None:
    """Write an import down. Raises RedisError, OSError."""
    key = hash_key(state.account_id)
    pipeline: Any = redis.pipeline(transaction=False)
    pipeline.hset(key, state.import_id, _encode(state))
    pipeline.expire(key, KEPT_SECONDS)
    await pipeline.execute()


async def leave(redis: Redis, state: FileImport) -> None:
    """Save the state of an import as its process leaves it, and free its place in the same moment: a reader that sees
    it ended may start another at once. Raises RedisError, OSError."""
    pipeline: Any = redis.pipeline(transaction=True)
    pipeline.hset(hash_key(state.account_id), state.import_id, _encode(state))
    pipeline.expire(hash_key(state.account_id), KEPT_SECONDS)
    pipeline.delete(lock_key(state.import_id), stop_key(state.import_id))
    await pipeline.execute()


async def find(redis: Redis, account_id: int, import_id: str) -> FileImport | None:
    """Returns an import of the account. Raises RedisError, OSError."""
    encoded: Any = await redis.hget(hash_key(account_id), import_id)
    return _decode(encoded) if encoded else None


async def list_imports(redis: Redis, account_id: int) -> list[FileImport]:
    """Returns the imports of an account, the latest first. Raises RedisError, OSError."""
    encoded: Mapping[Any, Any] = await redis.hgetall(hash_key(account_id))
    return sorted(map(_decode, encoded.values()), key=lambda state: -state.created_at)


async def forget(redis: Redis, account_id: int, *import_ids: str) -> None:
    """Forget imports. Raises RedisError, OSError."""
    if import_ids:
        await redis.hdel(hash_key(account_id), *import_ids)
