"""Writes the embedded Redis's append-only file through to the disk, once a second.

Redis would do that by itself (`appendfsync everysec`), but holds its own writes back while the disk is busy with it: up
to two seconds of what it has answered are lost where it is killed then. So it is told to write at once and to leave the
disk to us: its answers survive its own death always, and the machine's but for the last second.
"""

import asyncio
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

EVERY_SECONDS = 1.0


async def sync_every_second(folder: Path) -> None:
    """Write the append-only files of Redis's folder through to the disk, every second until cancelled."""
    while True:
        try:
            await asyncio.to_thread(sync, folder)
        except OSError as error:
            log.warning("the buffer can't be brought to the disk: %s", error)
        await asyncio.sleep(EVERY_SECONDS)


def sync(folder: Path) -> int:
    """Bring the append-only files to the disk. Returns how many that were. Raises OSError."""
    synced = 0
    for path in folder.glob("appendonlydir/*.aof"):
        try:
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # a rewrite has replaced it
            continue
        try:
            os.fsync(file)
        finally:
            os.close(file)
        synced += 1
    return synced
