"""`windback status`: the state of the whole pipeline, on one screen."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
import psycopg
from msgspec import Struct
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from api.commands.options import one_line_errors
from api.up import packaged_servers
from api.up.embedded import Servers
from api.up.options import data_dir_option
from workers import heartbeat, settings
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
from workers.store import connect, one, sql
from workers.store.faults import find_write_fault
from workers.tickets import JOBS

ANSWER_SECONDS = 3
DUE_COUNTED = 100_000
WIDTH = 15


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
    """The whole status. The last four are null while Postgres doesn't answer. `outages` holds the accounts whose
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


@click.command()
@data_dir_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(data_dir: Path, as_json: bool) -> None:
    """Show the buffer, the workers, the events stored and missing, the customers due, the last training."""
    with one_line_errors():
        configured = settings.load()
    ours = packaged_servers.urls(data_dir)
    try:
        configured = Servers(configured.database_url or ours[0], configured.redis_url or ours[1]).apply(configured)
        report = _read_redis(configured)
    except (RedisError, OSError) as error:
        hint = "Start it with `windback up`, or set REDIS_URL or --data-dir"
        raise click.ClickException(
            f"Nothing runs here: Redis doesn't answer ({first_line(error).rstrip('.')}). {hint}"
        ) from None
    _read_postgres(configured, report)
    click.echo(msgspec.json.encode(report).decode() if as_json else "\n".join(_screen(report)))


def _read_redis(configured: Settings) -> Status:
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
    settled = [entry.settled_seconds for entry in ledgers.values() if entry.settled_seconds is not None]
    stalls = [stall for state in cells for stall in ledger.describe_stalls(state.ledgers)]
    return Status(
        buffer={name: _lane_status(entry) for name, entry in ledgers.items()},
        workers={kind: _workers(heartbeat.select_kind(beats, kind)) for kind in JOBS},
        stuck=[*heartbeat.find_faults(beats, {}), *stalls],
        clock=all(state.clock for state in cells),
        last_stored_seconds=min(settled, default=None),
        ledger=_sums([*ledgers.values()]),
        redis=_describe_redis(away, describe_persistence(persistence)),
    )


class CellLedgers(NamedTuple):
    """The ledgers of a cell by lane, and a flag that a clock is active there."""

    ledgers: dict[str, Ledger]
    clock: bool


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


def _read_postgres(configured: Settings, report: Status) -> None:
    try:
        with connect(configured.home) as connection:
            report.postgres = find_write_fault(connection) or report.postgres
            report.outages = dict(connection.execute(sql("open_outages")).fetchall())
            trained = connection.execute(sql("latest_training")).fetchone()
            report.training = TrainingSummary(*trained) if trained else None
        due, letters = DueRescores(0, 0.0), Counter[str]()
        for cell in configured.all_cells:
            with connect(cell) as connection:
                customers, lag_seconds = one(connection.execute(sql("due"), {"limit": DUE_COUNTED}))
                due = DueRescores(due.customers + customers, max(due.lag_seconds, lag_seconds))
                letters.update(dict(connection.execute(sql("count_dead_letters")).fetchall()))
        report.due, report.dead_letters = due, dict(letters.most_common())
    except psycopg.Error as error:
        report.postgres = f"doesn't answer: {first_line(error).rstrip('.')}"


def _screen(report: Status) -> Iterator[str]:
    rows = {f"buffer, {name}": _lane(lane) for name, lane in report.buffer.items()}
    rows |= {f"workers, {kind}": _alive(workers) for kind, workers in report.workers.items()}
    rows |= {"stuck": "; ".join(report.stuck)} if report.stuck else {}
    rows["clock"] = "runs" if report.clock else "none runs"
    last = report.last_stored_seconds
    rows["last stored"] = "never" if last is None else f"{_span(last)} ago"
    rows["rescores"] = _due(report.due)
    rows["ledger"] = _equation(report.ledger)
    rows["unaccounted"] = _show_unaccounted(report)
    rows["dead letters"] = _letters(report.dead_letters)
    rows["tracking"] = _outages(report.outages)
    rows["last training"] = _show_training(report)
    rows |= {"redis": report.redis, "postgres": report.postgres}
    return (f"{name:<{WIDTH + 2}}{text}" for name, text in rows.items())


def _lane(lane: LaneStatus) -> str:
    return f"{lane.events} events wait, the first for {_span(lane.oldest_seconds)}" if lane.events else "empty"


def _alive(workers: WorkerCount) -> str:
    if not workers.alive:
        return "none"
    last = (
        "nothing done yet"
        if workers.progress_seconds is None
        else f"last progress {_span(workers.progress_seconds)} ago"
    )
    return f"{workers.alive}, {workers.busy} busy, {last}"


def _show_unaccounted(report: Status) -> str:
    missing = {name: lane.unaccounted for name, lane in report.buffer.items() if lane.unaccounted}
    return ", ".join(f"{count} {name}" for name, count in missing.items()) or "0"


def _outages(outages: dict[int, datetime] | None) -> str:
    if outages is None:
        return "unknown"
    return ", ".join(f"account {id_} out since {since:%Y-%m-%d %H:%M}" for id_, since in outages.items()) or "ok"


def _show_training(report: Status) -> str:
    if report.due is None:
        return "unknown"
    last = report.training
    return f"{last.trained_at:%Y-%m-%d %H:%M}, {last.account}: {last.model}" if last else "never"


def _due(due: DueRescores | None) -> str:
    if due is None:
        return "unknown"
    return f"{due.customers} due, the first for {_span(due.lag_seconds)}" if due.customers else "none due"


def _equation(sums: LedgerSums) -> str:
    parts = f"{sums.stored} stored + {sums.duplicate} duplicate + {sums.dead} dead + {sums.erased} erased"
    parts += f" + {sums.unresolved} unresolved" if sums.unresolved else ""
    return f"{sums.accepted} accepted = {parts} + {sums.buffered} in the buffer"


def _letters(letters: dict[str, int] | None) -> str:
    if letters is None:
        return "unknown"
    return ", ".join(f"{count} {reason}" for reason, count in letters.items()) or "none"


def _span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86_400
    return f"{minutes:.0f} min" if hours < 2 else f"{hours:.0f} h" if days < 2 else f"{days:.0f} days"
