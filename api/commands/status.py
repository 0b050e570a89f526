"""`windback status`: the state of the whole pipeline, on one screen."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click
import msgspec
from redis.exceptions import RedisError

from api.commands.options import one_line_errors
from api.commands.pipeline_status import (
    ANSWER_SECONDS,
    DueRescores,
    LaneStatus,
    LedgerSums,
    Status,
    WorkerCount,
    read_postgres,
    read_redis,
)
from api.up import packaged_servers
from api.up.embedded import Servers
from api.up.options import data_dir_option
from workers import placement, settings
from workers.logs import first_line
from workers.redis import command_client
from workers.settings import Settings

WIDTH = 15


@click.command()
@data_dir_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(data_dir: Path, as_json: bool) -> None:
    """Show the state of the service: buffer, workers, scores.

    It counts the events stored and missing, and names the last training.
    """
    with one_line_errors():
        configured = settings.load()
    ours = packaged_servers.urls(data_dir)
    try:
        configured = _agree(Servers(configured.database_url or ours[0], configured.redis_url or ours[1]), configured)
        report = read_redis(configured)
    except (RedisError, OSError) as error:
        hint = "Start it with `windback up`, or set REDIS_URL or --data-dir"
        raise click.ClickException(
            f"Nothing runs here: Redis doesn't answer ({first_line(error).rstrip('.')}). {hint}"
        ) from None
    read_postgres(configured, report)
    click.echo(msgspec.json.encode(report).decode() if as_json else "\n".join(_screen(report)))


def _agree(servers: Servers, configured: Settings) -> Settings:
    """Returns the settings with the servers. A data folder knows the number of its cells; a wrong one ends the command,
    since it would count others. Raises RedisError, OSError."""
    with command_client(servers.redis_url, ANSWER_SECONDS) as redis:
        count = placement.read_announced(redis).cells
    if not configured.database_url and not settings.is_set("cells"):
        servers = servers._replace(cells=count or None)
    agreed = servers.apply(configured)
    if fault := placement.find_count_fault(count, agreed.cells):
        raise click.ClickException(fault)
    return agreed


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
    if report.outages is None:
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
