"""Cells that share a server share a group commit: what waits for them goes together, and each has its own outcome."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.cells.test_lodging import Valkey
from tests.workers.events import event, request
from workers.buffer.capacity import Capacity
from workers.buffer.connection import Call, ScriptConnection
from workers.buffer.entries import decode_entry
from workers.buffer.group_commit import GroupCommit
from workers.buffer.lanes import LIVE, Lane, lanes_of
from workers.buffer.lodging import Lodger
from workers.buffer.push import PUSH
from workers.buffer.writer import BufferFull, BufferUnavailable, Lodge, RequestParts, Writer
from workers.cells import Cell

CELLS = 4
HANGING = 60_000  # milliseconds


def lane_of(cell: int) -> Lane:
    return lanes_of(Cell("", "", cell, CELLS))[LIVE.name]


async def no_ticket(queue: str) -> None:
    """A ticket issuer that issues none."""


@asynccontextmanager
async def writing(url: str, lodge: Lodge | None = None, seconds: float = 20.0) -> AsyncIterator[list[Writer]]:
    """Writers of all cells, on one server; the first cell's events may lodge elsewhere."""
    commit = GroupCommit(ScriptConnection(url, PUSH), seconds)
    writers = [
        Writer(commit, lane_of(cell), Capacity(10**6, 10**12), no_ticket, None if cell else lodge)
        for cell in range(CELLS)
    ]
    yield writers
    for writer in writers:
        await writer.close()


def read_bodies(redis: Redis, cell: int) -> list[tuple[bytes, bytes]]:
    """The bodies in a cell's buffer, with their entries' batch ids."""
    messages: Any = redis.xrange(lane_of(cell).stream)
    entries = [decode_entry(fields[b"entry"]) for _, fields in messages]
    return [(sent.body, entry.batch_id) for entry in entries for sent in entry.requests]


async def write_all(writers: Sequence[Writer]) -> list[object]:
    return await asyncio.gather(*[writer.write(request(event()), 1) for writer in writers], return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    """Let others work until the condition holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 (conditions of several kinds)
            await asyncio.sleep(0)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many calls went together, for each piece that was sent."""
    sizes: list[int] = []
    run_all = ScriptConnection.run_all

    async def count(self: ScriptConnection, calls: Sequence[Call], seconds: float) -> list[Any]:
        sizes.append(len(calls))
        return await run_all(self, calls, seconds)

    monkeypatch.setattr(ScriptConnection, "run_all", count)
    return sizes


def test_what_waits_for_several_cells_goes_in_one_piece(redis_url: str, redis: Redis, sent: list[int]) -> None:
    async def run() -> None:
        async with writing(redis_url) as writers:
            assert await write_all([*writers, *writers]) == [None] * 2 * CELLS

    asyncio.run(run())
    assert sent == [CELLS]
    assert [redis.xlen(lane_of(cell).stream) for cell in range(CELLS)] == [1] * CELLS
    assert [redis.hget(lane_of(cell).ledger, "accepted") for cell in range(CELLS)] == [b"2"] * CELLS


def test_a_group_is_no_larger_for_several_cells(
    redis_url: str, redis: Redis, sent: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One write may not take so long that it is given up: what is too much for it takes the next."""
    monkeypatch.setattr("workers.buffer.group_commit.GROUP_BYTES", 600)

    async def run() -> None:
        async with writing(redis_url) as writers:
            assert await write_all(writers) == [None] * CELLS

    asyncio.run(run())
    assert len(sent) > 1
    assert [redis.xlen(lane_of(cell).stream) for cell in range(CELLS)] == [1] * CELLS


def test_a_cell_that_fails_answers_its_own_requests_alone(redis_url: str, redis: Redis, sent: list[int]) -> None:
    redis.set(lane_of(1).stream, "no stream")

    async def run() -> list[object]:
        async with writing(redis_url) as writers:
            return await write_all(writers)

    outcomes = asyncio.run(run())
    assert sent == [CELLS]
    assert [type(outcome) for outcome in outcomes] == [type(None), BufferUnavailable, type(None), type(None)]


def test_a_call_that_cannot_be_made_fails_alone(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Call:
        raise ValueError("a fault of ours")

    async def run() -> list[object]:
        async with writing(redis_url) as writers:
            monkeypatch.setattr(writers[2], "take", fail)
            outcomes = await write_all(writers)
            monkeypatch.undo()
            assert await write_all(writers) == [None] * CELLS
            return outcomes

    with caplog.at_level(logging.CRITICAL):
        outcomes = asyncio.run(run())
    assert [type(outcome) for outcome in outcomes] == [type(None), type(None), BufferUnavailable, type(None)]


def test_a_request_fails_with_one_of_its_parts(redis_url: str, redis: Redis) -> None:
    """But not before the others have an outcome, too."""
    redis.set(lane_of(1).stream, "no stream")

    async def run() -> None:
        async with writing(redis_url) as writers:
            for cells, error in (((0, 2, 3), None), ((1, 2), BufferUnavailable), ((2, 1), BufferUnavailable)):
                written = asyncio.get_running_loop().create_future()
                parts = RequestParts(written, len(cells))
                for cell in cells:
                    writers[cell].submit(request(event()), 1, None, parts)
                outcomes = await asyncio.gather(written, return_exceptions=True)
                assert isinstance(outcomes[0], error or type(None))

    asyncio.run(run())
    assert [len(read_bodies(redis, cell)) for cell in (0, 2, 3)] == [1, 3, 1]


def test_a_client_that_goes_away_takes_nothing_with_it(redis_url: str, redis: Redis) -> None:
    async def run() -> None:
        async with writing(redis_url) as writers:
            written = asyncio.get_running_loop().create_future()
            parts = RequestParts(written, CELLS)
            for writer in writers:
                writer.submit(request(event()), 1, None, parts)
            staying = asyncio.create_task(write_all(writers))
            written.cancel()
            assert await staying == [None] * CELLS

    asyncio.run(run())
    assert [len(read_bodies(redis, cell)) for cell in range(CELLS)] == [2] * CELLS


def test_whoever_comes_while_a_server_hangs_waits_for_one_write_only(
    redis_url: str, redis: Redis, sent: list[int]
) -> None:
    async def run() -> None:
        async with writing(redis_url, seconds=0.3) as writers:
            assert await write_all(writers) == [None] * CELLS
            sent.clear()
            redis.client_pause(HANGING, all=False)
            first = asyncio.create_task(write_all(writers[:1]))
            await until(lambda: bool(sent))
            outcomes = [*await write_all(writers[1:]), *await first]
            assert [type(outcome) for outcome in outcomes] == [BufferUnavailable] * CELLS
            assert sent == [1]
            redis.client_unpause()
            assert await write_all(writers) == [None] * CELLS

    asyncio.run(run())


def test_a_cell_that_lodges_elsewhere_holds_up_no_other(redis_url: str, redis: Redis) -> None:
    redis.set(lane_of(0).stream, "no stream")
    lodging: list[Sequence[Lodger]] = []

    async def run() -> None:
        host_answers = asyncio.Event()

        async def lodge(lane: str, lodgers: Sequence[Lodger]) -> bool:
            lodging.append(lodgers)
            await host_answers.wait()
            return True

        async with writing(redis_url, lodge) as writers:
            guest = asyncio.create_task(write_all(writers[:1]))
            await until(lambda: bool(lodging))
            assert await write_all(writers[1:]) == [None] * (CELLS - 1)
            later = asyncio.create_task(write_all(writers[:1]))
            host_answers.set()
            assert await guest == await later == [None]

    asyncio.run(run())
    assert [len(lodgers) for lodgers in lodging] == [1, 1]


def test_memory_that_is_full_says_so_to_each_cell(tmp_path: Path) -> None:
    server = Valkey(tmp_path / "valkey")
    try:
        with Redis.from_url(server.url) as redis:

            async def run() -> None:
                async with writing(server.url) as writers:
                    assert await write_all(writers) == [None] * CELLS
                    redis.config_set("maxmemory", 1)
                    assert [type(outcome) for outcome in await write_all(writers)] == [BufferFull] * CELLS
                    redis.config_set("maxmemory", 0)
                    assert await write_all(writers) == [None] * CELLS

            asyncio.run(run())
            assert [len(read_bodies(redis, cell)) for cell in range(CELLS)] == [2] * CELLS
    finally:
        server.kill()


def test_a_server_that_is_killed_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """kill -9 amid joined writes, again and again. What is in the buffer twice has one batch id: it is stored once."""
    server = Valkey(tmp_path / "valkey")
    try:
        taken, failures = asyncio.run(_write_and_kill(server, times=3))
        assert failures
        with Redis.from_url(server.url) as redis:
            for cell in range(CELLS):
                batches = defaultdict(set)
                for body, batch_id in read_bodies(redis, cell):
                    batches[body].add(batch_id)
                assert taken[cell] <= batches.keys()
                assert {len(ids) for ids in batches.values()} == {1}
    finally:
        server.kill()


async def _write_and_kill(server: Valkey, times: int) -> tuple[list[set[bytes]], int]:
    """Returns the bodies that were acknowledged, by cell, and how many others there were."""
    taken: list[set[bytes]] = [set() for _ in range(CELLS)]
    failures = 0
    ending = asyncio.Event()

    async def produce(writers: Sequence[Writer], producer: int) -> None:
        nonlocal failures
        for number in range(10**9):
            if ending.is_set():
                return
            cell = (producer + number) % CELLS
            sent = request(event(event_id=f"{producer}-{number}"))
            try:
                await writers[cell].write(sent, 1)
                taken[cell].add(sent.body)
            except BufferUnavailable:
                failures += 1
                await asyncio.sleep(0.01)

    async with writing(server.url) as writers:
        producers = [asyncio.create_task(produce(writers, producer)) for producer in range(16)]
        for _ in range(times):
            before = sum(map(len, taken))
            await until(lambda before=before: sum(map(len, taken)) >= before + 200)  # type: ignore[misc]
            server.kill()
            await asyncio.to_thread(server.start)
        ending.set()
        await asyncio.gather(*producers)
    return taken, failures
