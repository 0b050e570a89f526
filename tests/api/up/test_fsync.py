import asyncio
import os
from pathlib import Path

import pytest
from redis import Redis

from api.up import embedded, fsync
from tests.waiting import wait_until


def test_what_redis_answers_is_written_at_once_and_synced_by_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never holds a write back: what it has answered survives its own death."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    with (
        embedded.servers(tmp_path, database_url="postgresql://none") as servers,
        Redis.from_url(servers.redis_url) as redis,
    ):
        assert redis.config_get("appendfsync") == {"appendfsync": "no"}
        redis.set("key", "a value to be found")
        assert fsync.sync(tmp_path / "redis") == len(synced)
        files = [path for path in (tmp_path / "redis").rglob("*") if path.stat().st_ino in synced]
        assert any(b"a value to be found" in path.read_bytes() for path in files)


def test_it_goes_on_until_it_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a disk that fails, too."""
    monkeypatch.setattr(fsync, "EVERY_SECONDS", 0.001)
    turns: list[Path] = []

    def failing(folder: Path) -> int:
        turns.append(folder)
        raise OSError("no space left")

    monkeypatch.setattr(fsync, "sync", failing)

    async def run() -> None:
        task = asyncio.create_task(fsync.sync_every_second(tmp_path))
        await asyncio.to_thread(wait_until, lambda: len(turns) > 2)
        task.cancel()

    asyncio.run(run())


def test_no_folder_is_nothing_to_do(tmp_path: Path) -> None:
    assert fsync.sync(tmp_path / "redis") == 0
