"""Mending the append-only file of the embedded Redis after a disk that was full.

When a write comes out short, Valkey and Redis cut the file back to its last whole write. After a rewrite of the file
they write on at the old place, so the file gets a run of zero bytes between two commands, with whole commands after it
(seen with Valkey 9.1.2 and Redis 7.0.15; related: valkey-io/valkey#2627). The server then never starts again, and its
own repair would drop everything behind the hole: acknowledged events. Here the holes alone are taken out, and the
damaged file is kept.
"""

import mmap
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

BAD_FORMAT = "Bad file format reading the append only file"  # as the server's log says it
FOLDER = "appendonlydir"
COPY_BYTES = 1 << 20


class Unmendable(OSError):
    """The file is damaged in another way than by holes. A copy of Redis's folder, and valkey-check-aof, may help."""


class Hole(NamedTuple):
    """Zero bytes between two commands: where they begin, and where the next command does."""

    start: int
    end: int


def mend(folder: Path, user: dict[str, Any]) -> list[Path]:
    """Take the holes out of the append-only files in Redis's folder. Returns the copies that are kept of the damaged
    ones. Raises Unmendable, and OSError if there is no room for a copy."""
    copies = [copy for path in sorted((folder / FOLDER).glob("*.incr.aof")) if (copy := _mend_file(path, user))]
    if not copies:
        raise Unmendable("its append-only file has no hole that could be taken out")
    return copies


def find_holes(data: mmap.mmap | bytes) -> Iterator[Hole]:
    """Returns the holes. Raises Unmendable where something else stands between commands. A last command that is cut off
    is none: the server drops it by itself."""
    position = 0
    while position < len(data):
        if data[position] == 0:
            start = position
            while position < len(data) and data[position] == 0:
                position = _end_of_zeros(data, position)
            yield Hole(start, position)
        else:
            position = _end_of_command(data, position)


def _mend_file(path: Path, user: dict[str, Any]) -> Path | None:
    """Returns the copy of a file that had holes, else None."""
    with path.open("rb") as file:
        if not (size := os.fstat(file.fileno()).st_size):
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            holes = list(find_holes(data))
        if not holes:
            return None
        mended = path.with_suffix(".aof.mended")
        with mended.open("wb") as target:
            for start, end in _between(holes, size):
                _copy(file, target, start, end)
            target.flush()
            os.fsync(target.fileno())
    shutil.copystat(path, mended)
    if user:
        os.chown(mended, user["user"], user["group"])
    copy = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    path.rename(copy)
    mended.rename(path)
    return copy


def _between(holes: list[Hole], size: int) -> Iterator[tuple[int, int]]:
    start = 0
    for hole in holes:
        yield start, hole.start
        start = hole.end
    yield start, size


def _copy(source: Any, target: Any, start: int, end: int) -> None:
    source.seek(start)
    while start < end:
        part = source.read(min(COPY_BYTES, end - start))
        target.write(part)
        start += len(part)


def _end_of_zeros(data: mmap.mmap | bytes, position: int) -> int:
    block = data[position : position + COPY_BYTES]
    return position + len(block) - len(block.lstrip(b"\0"))


def _end_of_command(data: mmap.mmap | bytes, position: int) -> int:
    """Returns where the command (or the annotation, `#TS:…`) that begins here ends."""
    if data[position : position + 1] == b"#":
        return _number(data, position, b"#")[1]
    count, at = _number(data, position, b"*")
    for _ in range(count):
        if at >= len(data):
            return len(data)
        length, at = _number(data, at, b"$")
        at += length + 2
        if at <= len(data) and data[at - 2 : at] != b"\r\n":
            raise Unmendable(f"its append-only file is damaged at byte {position}")
    return at


def _number(data: mmap.mmap | bytes, position: int, sign: bytes) -> tuple[int, int]:
    """Returns the number after a sign, and where its line ends. A line that is cut off ends the file."""
    end = data.find(b"\r\n", position, position + 64)
    if end < 0 and position + 64 > len(data):
        return 0, len(data)
    text = data[position + 1 : end]
    if data[position : position + 1] != sign or (sign != b"#" and not text.isdigit()):
        raise Unmendable(f"its append-only file is damaged at byte {position}")
    return (int(text) if sign != b"#" else 0), end + 2
