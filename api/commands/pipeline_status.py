"""The state of the whole pipeline, as `windback status` reads it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import psycopg
from msgspec import Struct
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from workers import heartbeat
from workers.buffer import ledger
from workers.buffer.lanes import LANES, lanes_of
from workers.buffer.ledger import Ledger
from workers.cells import Cell
from workers.heartbeat import Beats
from workers.lease import lease_key
from workers.logs import first_line
from workers.persistence import describe_persistence
from workers.redis import command_client
from workers.settings import Settings
from workers.store import connect, only_row, presence, sql
from workers.store.faults import find_write_fault
from workers.tickets import JOBS

ANSWER_SECONDS = 3
DUE_COUNTED = 100_000


class LaneStatus(Struct):
    """A lane's buffer: waiting events, the age of the oldest, and events missing from every count."""

    events: int
    oldest_seconds: float
    unaccounted: int


class WorkerCount(Struct):
    """The processes of a kind: how many run, how many are busy, seconds since one last made progress."""

    alive: int
    busy: int
    progress_seconds: float | None


class TrainingSummary(Struct):
    """The last training of any account."""

    trained_at: datetime
    account: str
    model: str


class LedgerSums(Struct):
    """The ledger of both lanes: accepted is the sum of all others."""

    accepted: int
    stored: int
    duplicate: int
    dead: int
    erased: int
    unresolved: int
    buffered: int
    unaccounted: int


class DueRescores(Struct):
    """Customers due for a rescore, and for how long the first has waited."""

    customers: int
    lag_seconds: float


class Status(Struct):
    """The whole status. The last four are null while their Postgres doesn't answer. `outages` holds the accounts whose
    tracking is out, and since when; `dead_letters` are counted by reason; `stuck` describes hung processes."""

    buffer: dict[str, LaneStatus]
    workers: dict[str, WorkerCount]
    stuck: list[str]
    clock: bool
    last_stored_seconds: float | None
    ledger: LedgerSums
    redis: str = "ok"
    postgres: str = "ok"
    due: DueRescores | None = None
    dead_letters: dict[str, int] | None = None
    outages: dict[int, datetime] | None = None
    training: TrainingSummary | None = None


def read_redis(configured: Settings) -> Status:
    """Returns what the Redis of home and of the cells tell. Raises RedisError, OSError if none answers."""
    with command_client(configured.redis_url or "", ANSWER_SECONDS) as redis:
        pipeline = redis.pipeline(transaction=False)
        heartbeat.queue_read(pipeline)
        pipeline.info("persistence")
        beating, persistence = pipeline.execute()
    beats = heartbeat.parse(beating)
    states = {cell: _read_cell(cell) for cell in configured.all_cells}
    cells = [state for state in states.values() if state is not None]
    away = [cell.name for cell, state in states.items() if state is None]
    if not cells:
        raise RedisConnectionError("no buffer of a cell answers")
    ledgers = {name: ledger.merge([state.ledgers[name] for state in cells]) for name in LANES}
    lanes = [lane for state in cells for lane in state.ledgers.values()]
    settled = [lane.settled_seconds for lane in lanes if lane.settled_seconds is not None]
    return Status(
        buffer={name: _lane_status(entry) for name, entry in ledgers.items()},
        workers={kind: _workers(heartbeat.select_kind(beats, kind)) for kind in JOBS},
        stuck=[*heartbeat.find_faults(beats, {}), *_describe_stalls(states)],
        clock=all(state.clock for state in cells),
        last_stored_seconds=min(settled, default=None),
        ledger=_sums([*ledgers.values()]),
        redis=_describe_redis(away, describe_persistence(persistence)),
    )


class CellLedgers(NamedTuple):
    """The ledgers of a cell by lane, and a flag that a clock is active there."""

    ledgers: dict[str, Ledger]
    clock: bool


def _describe_stalls(states: Mapping[Cell, CellLedgers | None]) -> Iterator[str]:
    for cell, state in states.items():
        whose = "" if cell.number is None else f"cell {cell.name}: "
        yield from (f"{whose}{stall}" for stall in (ledger.describe_stalls(state.ledgers) if state else ()))


def _describe_redis(away: Sequence[str], fault: str | None) -> str:
    """Returns `ok`, or names the fault of home's Redis and the cells that are missing in the counts."""
    missing = f"the buffer of cell {', '.join(away)} doesn't answer: its events are not in these counts"
    return "; ".join(filter(None, (fault, missing if away else None))) or "ok"


def _read_cell(cell: Cell) -> CellLedgers | None:
    """Returns the state of a cell's buffer; None if that of one of several doesn't answer."""
    try:
        return _read_ledgers(cell)
    except (RedisError, OSError):
        if cell.number is None:
            raise
        return None


def _read_ledgers(cell: Cell) -> CellLedgers:
    lanes = lanes_of(cell)
    with command_client(cell.buffer_url, ANSWER_SECONDS) as redis:
        pipeline = redis.pipeline(transaction=False)
        for lane in lanes.values():
            ledger.queue_read(pipeline, lane)
        pipeline.exists(lease_key(cell.prefix))
        *replies, lease = pipeline.execute()
    return CellLedgers(dict(zip(lanes, map(ledger.parse, replies), strict=True)), bool(lease))


def _lane_status(entry: Ledger) -> LaneStatus:
    return LaneStatus(entry.buffered, entry.oldest_seconds, entry.unaccounted)


def _workers(beats: Beats) -> WorkerCount:
    progress = [beat.progress_seconds for beat in beats.values() if beat.progress_seconds is not None]
    busy = sum(beat.busy_seconds is not None for beat in beats.values())
    return WorkerCount(len(beats), busy, min(progress, default=None))


def _sums(ledgers: list[Ledger]) -> LedgerSums:
    return LedgerSums(
        accepted=sum(entry.accepted for entry in ledgers),
        stored=sum(entry.stored for entry in ledgers),
        duplicate=sum(entry.duplicate for entry in ledgers),
        dead=sum(ledger.count_dead(ledgers).values()),
        erased=sum(entry.erased for entry in ledgers),
        unresolved=sum(entry.unresolved for entry in ledgers),
        buffered=sum(entry.buffered for entry in ledgers),
        unaccounted=sum(entry.unaccounted for entry in ledgers),
    )


def read_postgres(configured: Settings, report: Status) -> None:
    """Add what the Postgres of home and of the cells tell."""
    faults = [_read_home(configured, report)]
    due, letters = DueRescores(0, 0.0), Counter[str]()
    for cell in configured.all_cells:
        try:
            with presence.reading(cell) as connection:
                customers, lag_seconds = only_row(connection.execute(sql("due"), {"limit": DUE_COUNTED}))
                letters.update(dict(connection.execute(sql("count_dead_letters")).fetchall()))
        except psycopg.Error as error:
            whose = "" if cell.number is None else f"cell {cell.name} "
            counts = "" if cell.number is None else "; its customers are not in these counts"
            fault = first_line(error).rstrip(".")
            answer = "" if isinstance(error, presence.CellTaken) else "doesn't answer: "
            faults.append(f"{whose}{answer}{fault}{counts}")
        else:
            due = DueRescores(due.customers + customers, max(due.lag_seconds, lag_seconds))
            report.due, report.dead_letters = due, dict(letters.most_common())
    report.postgres = "; ".join(dict.fromkeys(filter(None, faults))) or report.postgres


def _read_home(configured: Settings, report: Status) -> str | None:
    """Read what belongs to no cell. Returns the fault of home's Postgres, or None."""
    try:
        with connect(configured.home) as connection:
            report.outages = dict(connection.execute(sql("open_outages")).fetchall())
            trained = connection.execute(sql("latest_training")).fetchone()
            report.training = TrainingSummary(*trained) if trained else None
            return find_write_fault(connection)
    except psycopg.Error as error:
        return f"doesn't answer: {first_line(error).rstrip('.')}"
