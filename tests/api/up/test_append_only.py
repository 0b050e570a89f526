"""An append-only file with holes is mended, and any other damage is left alone."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from api.up import append_only, embedded, packaged_servers
from api.up.append_only import Hole, Unmendable, find_holes
from api.up.packaged_servers import EmbeddedError, Server
from tests.small_disk import small_disk
from tests.waiting import wait_until
from workers.redis import command_client


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


SET = command(b"SET", b"a", b"1")
ZEROS = b"\0" * 1000


@pytest.mark.parametrize(
    ("data", "holes"),
    [
        (SET + SET, []),
        (SET + ZEROS + SET, [Hole(len(SET), len(SET) + 1000)]),
        (ZEROS + SET + ZEROS, [Hole(0, 1000), Hole(1000 + len(SET), 2000 + len(SET))]),
        (b"#TS:1700000000\r\n" + SET, []),
        (command(b"SET", b"a", b"x\r\n" + ZEROS + b"*1\r\n"), []),
        (SET + SET[:-4], []),
        (SET + b"*3\r\n$3\r\nSE", []),
        (SET + b"*", []),
    ],
    ids=["whole", "between", "at both ends", "annotated", "within a value", "cut off", "cut off in a word", "a sign"],
)
def test_holes_are_zeros_between_commands(data: bytes, holes: list[Hole]) -> None:
    assert list(find_holes(data)) == holes


@pytest.mark.parametrize("data", [SET + b"garbage" * 20, SET + b"*2\r\n$3\r\nGETxx" + SET, b"*x\r\n" + SET])
def test_other_damage_is_not_taken_for_a_hole(data: bytes) -> None:
    with pytest.raises(Unmendable, match="byte"):
        list(find_holes(data))


@contextmanager
def running(server: Server) -> Iterator[Redis]:
    process = embedded._start(server)  # tries again, as `windback up` does
    try:
        with command_client(server.url) as redis:
            yield redis
    finally:
        process.kill()
        process.wait()


def fill(redis: Redis) -> int:
    """Write until the disk is full. Returns how many writes were acknowledged."""
    for number in range(10_000):
        try:
            redis.xadd("stream", {"n": number, "entry": b"x" * 3000})
        except RedisError:
            return number
    raise AssertionError("the disk is not full")


def test_a_disk_that_was_full_costs_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Full, room again, written on, killed, started: with the server's own fault, and its file mended."""
    with small_disk(tmp_path / "disk", 24) as disk:
        server = packaged_servers.valkey(disk.path / "data")
        with running(server) as redis:
            redis.xadd("stream", {"n": "first"})
            redis.bgrewriteaof()
            wait_until(lambda: not redis.info("persistence")["aof_rewrite_in_progress"], timeout=30)
            acknowledged = 1 + fill(redis)
            disk.resize(120)
            wait_until(lambda: redis.info("persistence")["aof_last_write_status"] == "ok", timeout=30)
            for number in range(20):
                redis.xadd("stream", {"n": number})
        with running(server) as redis:
            assert redis.xlen("stream") == acknowledged + 20
        mended = list((server.folder / append_only.FOLDER).glob("*.damaged-*"))
        assert len(mended) == server.log.read_text().count(append_only.BAD_FORMAT)


def test_a_file_that_cannot_be_mended_stops_the_start_with_one_line(tmp_path: Path) -> None:
    server = packaged_servers.valkey(tmp_path / "data")
    with running(server) as redis:
        redis.set("a", 1)
    (file,) = (server.folder / append_only.FOLDER).glob("*.incr.aof")
    with file.open("ab") as end:
        end.write(b"garbage that is no command\r\n" * 20)
    with packaged_servers.launching(server) as how:
        assert subprocess.run(server.argv, **how, check=False, timeout=60).returncode != 0
    with pytest.raises(EmbeddedError, match="valkey-check-aof") as error, packaged_servers.launching(server):
        pass
    assert "\n" not in str(error.value)
