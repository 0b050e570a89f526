"""`windback status`: how the line is, on one screen."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
import psycopg
from msgspec import Struct
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from api.up import packaged_servers
from workers import heartbeat, settings
from workers.buffer import ledger
from workers.buffer.lanes import LANES
from workers.buffer.ledger import Ledger
from workers.heartbeat import Beats
from workers.lease import LEASE
from workers.logs import first_line
from workers.settings import SettingsError
from workers.store import CONNECT, sql
from workers.tickets import JOBS

ANSWER_SECONDS = 3
DUE_COUNTED = 100_000
WIDTH = 15


class Lane(Struct):
    """What a lane's buffer holds, and how many of its events are missing."""

    events: int
    oldest_seconds: float
    unaccounted: int


class Workers(Struct):
    """The processes of a kind: how many run, how many of them work just now, and when one last got something done."""

    alive: int
    busy: int
    progress_seconds: float | None


class Training(Struct):
    """The last training of any account."""

    trained_at: datetime
    account: str
    model: str


class Sums(Struct):
    """The ledger of both lanes: accepted is the sum of the others, and what is missing."""

    accepted: int
    stored: int
    duplicate: int
    dead: int
    erased: int
    buffered: int
    unaccounted: int


class Due(Struct):
    """Customers whose risk is due, and for how long the first of them has been."""

    customers: int
    lag_seconds: float


class Status(Struct):
    """Everything. The last four are null where Postgres does not answer; `outages` are the accounts whose tracking is
    out, and since when; `dead_letters` are by reason; `stuck` is what processes get nothing done, in words."""

    buffer: dict[str, Lane]
    workers: dict[str, Workers]
    stuck: list[str]
    clock: bool
    last_stored_seconds: float | None
    ledger: Sums
    postgres: str = "ok"
    due: Due | None = None
    dead_letters: dict[str, int] | None = None
    outages: dict[int, datetime] | None = None
    training: Training | None = None


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the embedded servers, where DATABASE_URL or REDIS_URL is unset.  "
    "[default: WINDBACK_DATA_DIR, else .windback]",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(data_dir: Path | None, as_json: bool) -> None:
    """Show how it goes: the buffer, workers, what was stored, what is due, what is missing."""
    try:
        configured = settings.load()
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    ours = packaged_servers.urls(data_dir or configured.data_dir)
    try:
        found = _read_redis(configured.redis_url or ours[1])
    except (RedisError, OSError) as error:
        hint = "Start it with `windback up`, or set REDIS_URL or --data-dir"
        raise click.ClickException(
            f"Nothing runs here: Redis doesn't answer ({first_line(error).rstrip('.')}). {hint}"
        ) from None
    _read_postgres(configured.database_url or ours[0], found)
    click.echo(msgspec.json.encode(found).decode() if as_json else "\n".join(_screen(found)))


def _read_redis(url: str) -> Status:
    once = Retry(NoBackoff(), 0)
    with Redis.from_url(url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS, retry=once) as redis:
        pipeline = redis.pipeline(transaction=False)
        for lane in LANES.values():
            ledger.queue_read(pipeline, lane)
        heartbeat.queue_read(pipeline)
        pipeline.exists(LEASE)
        *replies, said, lease = pipeline.execute()
    ledgers, beats = dict(zip(LANES, map(ledger.parse, replies), strict=True)), heartbeat.parse(said)
    settled = [one.settled_seconds for one in ledgers.values() if one.settled_seconds is not None]
    return Status(
        buffer={name: Lane(one.buffered, one.oldest_seconds, one.unaccounted) for name, one in ledgers.items()},
        workers={kind: _workers(heartbeat.select_kind(beats, kind)) for kind in JOBS},
        stuck=list(heartbeat.find_faults(beats, {})),
        clock=bool(lease),
        last_stored_seconds=min(settled, default=None),
        ledger=_sums([*ledgers.values()]),
    )


def _workers(beats: Beats) -> Workers:
    progress = [one.progress_seconds for one in beats.values() if one.progress_seconds is not None]
    busy = sum(1 for one in beats.values() if one.busy_seconds is not None)
    return Workers(len(beats), busy, min(progress, default=None))


def _sums(ledgers: list[Ledger]) -> Sums:
    return Sums(
        accepted=sum(one.accepted for one in ledgers),
        stored=sum(one.stored for one in ledgers),
        duplicate=sum(one.duplicate for one in ledgers),
        dead=sum(ledger.count_dead(ledgers).values()),
        erased=sum(one.erased for one in ledgers),
        buffered=sum(one.buffered for one in ledgers),
        unaccounted=sum(one.unaccounted for one in ledgers),
    )


def _read_postgres(url: str, into: Status) -> None:
    try:
        with closing(psycopg.connect(url, **{**CONNECT, "connect_timeout": ANSWER_SECONDS})) as connection:
            due: Any = connection.execute(sql("due"), {"limit": DUE_COUNTED}).fetchone()
            into.dead_letters = dict(connection.execute(sql("count_dead_letters")).fetchall())
            into.outages = dict(connection.execute(sql("open_outages")).fetchall())
            trained = connection.execute(sql("latest_training")).fetchone()
            into.training = Training(*trained) if trained else None
            into.due = Due(*due)
    except psycopg.Error as error:
        into.postgres = f"doesn't answer: {first_line(error).rstrip('.')}"


def _screen(found: Status) -> Iterator[str]:
    rows = {f"buffer, {name}": _lane(lane) for name, lane in found.buffer.items()}
    rows |= {f"workers, {kind}": _alive(workers) for kind, workers in found.workers.items()}
    rows |= {"stuck": "; ".join(found.stuck)} if found.stuck else {}
    rows["clock"] = "runs" if found.clock else "none runs"
    last = found.last_stored_seconds
    rows["last stored"] = "never" if last is None else f"{_span(last)} ago"
    rows["rescores"] = _due(found.due)
    rows["ledger"] = _equation(found.ledger)
    rows["unaccounted"] = _unaccounted(found)
    rows["dead letters"] = _letters(found.dead_letters)
    rows["tracking"] = _outages(found.outages)
    rows["last training"] = _trained(found)
    rows["postgres"] = found.postgres
    return (f"{name:<{WIDTH + 2}}{text}" for name, text in rows.items())


def _lane(lane: Lane) -> str:
    return f"{lane.events} events wait, the first for {_span(lane.oldest_seconds)}" if lane.events else "empty"


def _alive(workers: Workers) -> str:
    if not workers.alive:
        return "none"
    last = (
        "nothing done yet" if workers.progress_seconds is None else f"last done {_span(workers.progress_seconds)} ago"
    )
    return f"{workers.alive}, {workers.busy} busy, {last}"


def _unaccounted(found: Status) -> str:
    missing = {name: lane.unaccounted for name, lane in found.buffer.items() if lane.unaccounted}
    return ", ".join(f"{count} {name}" for name, count in missing.items()) or "0"


def _outages(outages: dict[int, datetime] | None) -> str:
    if outages is None:
        return "unknown"
    return ", ".join(f"account {one} out since {since:%Y-%m-%d %H:%M}" for one, since in outages.items()) or "ok"


def _trained(found: Status) -> str:
    if found.due is None:
        return "unknown"
    last = found.training
    return f"{last.trained_at:%Y-%m-%d %H:%M}, {last.account}: {last.model}" if last else "never"


def _due(due: Due | None) -> str:
    if due is None:
        return "unknown"
    return f"{due.customers} due, the first for {_span(due.lag_seconds)}" if due.customers else "none due"


def _equation(sums: Sums) -> str:
    parts = f"{sums.stored} stored + {sums.duplicate} duplicate + {sums.dead} dead + {sums.erased} erased"
    return f"{sums.accepted} accepted = {parts} + {sums.buffered} in the buffer"


def _letters(letters: dict[str, int] | None) -> str:
    if letters is None:
        return "unknown"
    return ", ".join(f"{count} {reason}" for reason, count in letters.items()) or "none"


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
