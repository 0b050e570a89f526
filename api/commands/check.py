"""`windback check`: the foundations of an installation on one screen: settings, servers, schema, clocks, disk."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import click
import msgspec
import psycopg
from msgspec import Struct
from redis import Redis
from redis.exceptions import RedisError

from api.commands import cell_checks
from api.commands.options import count_cells, explain_absence
from api.up import embedded
from api.up.embedded import EmbeddedError, Servers
from api.up.options import data_dir_option
from workers import installation, placement, settings
from workers.cells import Cell
from workers.logs import first_line
from workers.persistence import describe_persistence
from workers.redis import command_client
from workers.settings import Settings
from workers.store import Connection, connect, only_row, sql
from workers.store.faults import describe_write_fault
from workers.store.migrate import MigrationError, pending

OLDEST_POSTGRES = 15
OLDEST_REDIS = 7
SKEW_WARNING_SECONDS = 2.0
SKEW_ERROR_SECONDS = 60.0
DISK_WARNING_SHARE = 0.10
DISK_ERROR_BYTES = 500_000_000

CLUSTER = (
    "REDIS_URL leads to a node of a cluster, where jobs can't be kept; name a single server there, and the cluster in"
    " WINDBACK_BUFFER_URL, for several cells"
)

State = Literal["ok", "warning", "error"]
MARKS = {"ok": "ok", "warning": "look", "error": "FIX"}


class Finding(Struct):
    """The result of one check. `detail` describes it and, unless it is ok, the remedy."""

    name: str
    status: State
    detail: str


class CheckReport(Struct):
    """Everything that was looked at; `status` is the worst."""

    status: State
    checks: list[Finding]


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@data_dir_option
def check(as_json: bool, data_dir: Path) -> None:
    """Check settings, both servers, the schema, clocks and disk. Exit code 1 where something must be fixed.

    Nothing is changed; servers of the data folder that don't run are started for as long as this takes.
    """
    checks = list(_check_all(data_dir))
    report = CheckReport(_find_worst(checks), checks)
    width = max(len(finding.name) for finding in checks)
    lines = (f"{MARKS[finding.status]:<5} {finding.name:<{width}}  {finding.detail}" for finding in checks)
    click.echo(msgspec.json.encode(report).decode() if as_json else "\n".join(lines))
    sys.exit(1 if report.status == "error" else 0)


def _find_worst(checks: list[Finding]) -> State:
    states = {finding.status for finding in checks}
    return "error" if "error" in states else "warning" if "warning" in states else "ok"


def _check_all(data_dir: Path) -> Iterator[Finding]:
    unknown = settings.explain_unknown()
    try:
        configured = settings.load()
    except settings.SettingsError as error:
        yield Finding("settings", "error", str(error))
        return
    yield Finding("settings", "warning" if unknown else "ok", "; ".join(unknown.values()) or "all are known and valid")
    if absence := explain_absence(configured, data_dir):
        yield Finding("servers", "error", absence)
        return
    try:
        with embedded.servers(data_dir, configured.database_url, configured.redis_url) as servers:
            yield from _check_postgres(servers.database_url)
            yield from _check_redis(servers.redis_url)
            yield from _check_ties(servers.database_url, servers.redis_url)
            yield from _check_cells(_count_cells(servers, configured).apply(configured))
    except (EmbeddedError, OSError) as error:
        yield Finding("servers", "error", str(error))
    yield _check_disk(data_dir if data_dir.exists() else Path.cwd())


def _check_postgres(url: str) -> Iterator[Finding]:
    try:
        with connect(url) as connection:
            version, now, is_durable = only_row(connection.execute(sql("read_server_facts")))
            yield _check_version("postgres", "PostgreSQL", version, OLDEST_POSTGRES)
            yield _check_durability("postgres, durable", is_durable)
            fault = describe_write_fault(*only_row(connection.execute(sql("find_write_fault"))))
            yield Finding("postgres, writing", "error" if fault else "ok", fault or "takes writes")
            yield _check_schema(connection)
            yield _check_clock("clock of postgres", now)
    except (psycopg.Error, MigrationError) as error:
        yield Finding("postgres", "error", f"DATABASE_URL: {first_line(error)}")


def _check_durability(name: str, is_durable: bool) -> Finding:
    if is_durable:
        return Finding(name, "ok", "what it stores outlives a power cut")
    return Finding(name, "warning", "turn fsync and full_page_writes on: a power cut may destroy what it stores")


def _check_schema(connection: Connection) -> Finding:
    if missing := pending(connection):
        names = ", ".join(f"{migration.version:04}" for migration in missing)
        return Finding("schema", "error", f"migrations {names} are missing; run `windback migrate`")
    return Finding("schema", "ok", "current")


def _check_redis(url: str) -> Iterator[Finding]:
    try:
        with command_client(url) as redis:
            info: Any = redis.info()
            version = str(info.get("valkey_version") or info["redis_version"])
            yield _check_version("redis", "Valkey" if "valkey_version" in info else "Redis", version, OLDEST_REDIS)
            fault = describe_persistence(info)
            yield Finding("redis, append-only", "error" if fault else "ok", fault or "what it holds outlives it")
            yield _check_eviction(info)
            if info.get("cluster_enabled"):
                yield Finding("redis, cluster", "error", CLUSTER)
            at: Any = redis.time()
            yield _check_clock("clock of redis", at[0] + at[1] / 1e6)
    except (RedisError, OSError, ValueError) as error:
        yield Finding("redis", "error", f"REDIS_URL: {first_line(error)}")


def _check_eviction(info: dict[str, Any]) -> Finding:
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return Finding("redis, eviction", "ok", "never evicts")
    return Finding(
        "redis, eviction", "error", f"set its maxmemory-policy to noeviction, not {policy}: it may lose events"
    )


def _check_ties(database_url: str, redis_url: str) -> Iterator[Finding]:
    """Checks that Redis and Postgres belong to the same installation, if both carry its id."""
    try:
        with connect(database_url) as connection, command_client(redis_url) as redis:
            noted = _read_noted(redis)
            if noted and not pending(connection) and noted != installation.find_id(connection):
                yield Finding("installation", "error", installation.FOREIGN)
    except (psycopg.Error, RedisError):
        return  # the missing server is reported already


def _count_cells(servers: Servers, configured: Settings) -> Servers:
    """Returns the servers with the number of cells of a data folder whose Postgres answers."""
    try:
        return count_cells(servers, configured)
    except psycopg.OperationalError:
        return servers


def _check_cells(configured: Settings) -> Iterator[Finding]:
    """The cells, and the buffer of a single one that is not in home's Redis."""
    noted = _list_noted_cells(configured)
    if len(noted) not in (0, configured.cells):
        yield Finding("cells", "error", placement.describe_count(len(noted), configured.cells))
        return
    for cell in configured.all_cells:
        if cell.number is not None or cell.buffer_url != configured.redis_url:
            faults = cell_checks.find_faults(cell, configured.buffer_replicas, noted.get(cell.number or 0))
            detail = "; ".join(faults) or cell_checks.describe_place(cell)
            yield Finding(f"cell {cell.name}", "error" if faults else "ok", detail)
            yield from (finding for finding in _check_servers(cell) if finding.status != "ok")


def _check_servers(cell: Cell) -> Iterator[Finding]:
    if (is_durable := cell_checks.find_durability(cell)) is not None:
        yield _check_durability(f"postgres, durable, cell {cell.name}", is_durable)
    for name, at in cell_checks.read_clocks(cell):
        yield _check_clock(name, at)


def _list_noted_cells(configured: Settings) -> dict[int, str]:
    """The installation id of each cell's tables as home has noted them; none if home is away or not set up."""
    with suppress(psycopg.Error), connect(configured.home) as home:
        return placement.list_noted(home)
    return {}


def _read_noted(redis: Redis) -> str | None:
    noted: Any = redis.get(installation.KEY)
    return noted.decode() if noted else None


def _check_version(name: str, product: str, version: str, oldest: int) -> Finding:
    major = version.partition(".")[0]
    is_old = major.isdecimal() and int(major) < oldest
    wanted = f"; version {oldest} or newer is needed" if is_old else ""
    return Finding(name, "error" if is_old else "ok", f"{product} {version}{wanted}")


def _check_clock(name: str, theirs: float, ours: Callable[[], float] = time.time) -> Finding:
    skew = theirs - ours()
    detail = f"{abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
    if abs(skew) < SKEW_WARNING_SECONDS:
        return Finding(name, "ok", "as this machine's")
    state: State = "error" if abs(skew) >= SKEW_ERROR_SECONDS else "warning"
    return Finding(name, state, f"{detail}; let both take their time from NTP")


def _check_disk(folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    detail = f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB are free for {folder}"
    if usage.free < DISK_ERROR_BYTES:
        return Finding("disk", "error", f"{detail}; make room")
    return Finding("disk", "warning" if usage.free < DISK_WARNING_SHARE * usage.total else "ok", detail)
