"""`windback cells`: where the cells are; twice as many of them; a cell on another server."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import click
import psycopg
from psycopg.conninfo import conninfo_to_dict

from api.commands.options import use_servers
from api.up.options import data_dir_option
from workers import citus, growth, placement, settings
from workers.buffer import ledger
from workers.buffer.lanes import lanes_of
from workers.cells import Cell
from workers.cluster import describe_server
from workers.lease import lease_key
from workers.logs import first_line
from workers.placement import Misplaced
from workers.redis import REDIS_AWAY, command_client
from workers.settings import Settings, variable
from workers.store import Connection, connect, only_row, presence, sql
from workers.store.faults import is_unavailable
from workers.store.locks import Lock, holding
from workers.urls import SettingsError, check_postgres

UNKNOWN = "?"
CHANGED = ("cells", "cell_database_urls", "cell_buffer_urls")


@click.group("cells")
def cells_group() -> None:
    """Show, divide and move the cells of customers."""


@cells_group.command("status")
@data_dir_option
def show_cells(data_dir: Path) -> None:
    """Show each cell: its place, its customers, its backlog."""
    with use_servers(data_dir, migrating=False) as servers:
        configured = servers.apply(settings.load())
        with suppress(psycopg.OperationalError):  # without home, each cell says what it can
            _check_count(configured)
        rows = [_read(cell) for cell in configured.all_cells]
    click.echo(f"{'CELL':<6}{'CUSTOMERS':>11}{'WAITING':>9}{'LODGING':>9}  {'CLOCK':<6} PLACE")
    for row in rows:
        click.echo(_describe_row(row))


@cells_group.command("split")
@data_dir_option
def split_cells(data_dir: Path) -> None:
    """Divide each cell in two, while everything runs. Interrupted, it is run again, and goes on."""
    with use_servers(data_dir, migrating=False) as servers:
        before = servers.apply(settings.load())
        _reach_buffers(before)
        with _alone(before):
            after = growth.split(before)
    click.echo("done; processes take it over by themselves; at their next start they need these settings:")
    click.echo("\n".join(_describe_settings(after)))


@cells_group.command("move")
@click.argument("number", type=click.IntRange(0))
@click.option("--to", "database_url", required=True, help="The URL of the other Postgres.")
@data_dir_option
def move_cell(number: int, database_url: str, data_dir: Path) -> None:
    """Move cell NUMBER to another Postgres, while everything runs. Interrupted, it is run again. A cell that Citus has
    placed is moved by Citus, to the node of the URL."""
    with use_servers(data_dir, migrating=False) as servers:
        before = servers.apply(settings.load())
        _check_count(before)
        if before.cells == 1:
            raise click.ClickException("a single cell stays at home; divide it first: `windback cells split`")
        if number >= before.cells:
            raise click.BadParameter(f"the cells are 0 to {before.cells - 1}", param_hint="NUMBER")
        try:
            check_postgres(database_url, "--to")
        except SettingsError as error:
            raise click.ClickException(str(error)) from None
        if citus.is_placed(cell := before.all_cells[number]):
            citus.move(cell, database_url)
            click.echo("done; all processes follow by themselves")
            return
        _reach_target(database_url)
        with _alone(before):
            after = growth.move(before, number, database_url)
    click.echo(f"done; the events of cell {number:03} wait until processes are started again with these settings:")
    click.echo("\n".join(_describe_settings(after)))
    click.echo(f"the old tables stay where they were, in a schema {cell.schema}_moved; drop it when all is well")


def _check_count(configured: Settings) -> None:
    """Raises Misplaced unless the settings have as many cells as there are, psycopg.OperationalError."""
    if fault := placement.find_count_fault(placement.count_cells(configured), configured.cells):
        raise Misplaced(fault)


@contextmanager
def _alone(configured: Settings) -> Iterator[None]:
    """Ends the command if another one is at work: the lists that both print would contradict each other."""
    with connect(configured.home) as home, holding(home, Lock.CELLS) as is_ours:
        if not is_ours:
            raise click.ClickException(
                "another `windback cells split` or `move` is at work; run this when it has ended, with the settings"
                " that it prints"
            )
        yield


def _reach_buffers(configured: Settings) -> None:
    """Ends the command if a Redis doesn't answer: else some cells would be divided, and others not."""
    for cell in (configured.home, *configured.all_cells):
        try:
            with command_client(cell.buffer_url) as redis:
                redis.ping()
        except REDIS_AWAY as error:
            whose = "home" if cell.number is None else f"cell {cell.name}"
            raise click.ClickException(f"the Redis of {whose} doesn't answer: {first_line(error)}") from None


def _reach_target(database_url: str) -> None:
    try:
        connect(database_url).close()
    except psycopg.OperationalError as error:
        raise click.ClickException(f"--to: Postgres doesn't answer: {first_line(error)}") from None


def _describe_settings(after: Settings) -> Iterator[str]:
    """The settings as a shell, or a file of them, takes them."""
    for name in CHANGED:
        if value := getattr(after, name):
            yield f"  {variable(name)}={shlex.quote(str(value))}"


class CellTables(NamedTuple):
    """Facts from the Postgres of a cell: how many customers there are, and where."""

    customers: int
    place: str


class WaitingEvents(NamedTuple):
    """Facts from the Redis of a cell: how many events wait and lodge there, and whether a clock is active."""

    waiting: int
    lodging: int
    clock: bool


class CellRow(NamedTuple):
    """A cell as it is listed. Facts that could not be read are None, and `faults` say why."""

    cell: Cell
    tables: CellTables | None
    buffer: WaitingEvents | None
    faults: list[str]


def _read(cell: Cell) -> CellRow:
    tables, buffer, faults = None, None, []
    try:
        tables = _read_tables(cell)
    except psycopg.Error as error:
        if not is_unavailable(error):
            raise
        faults.append(presence.describe_fault(error))
    try:
        buffer = _read_buffer(cell)
    except REDIS_AWAY as error:
        faults.append(f"its Redis doesn't answer: {first_line(error)}")
    return CellRow(cell, tables, buffer, faults)


def _read_tables(cell: Cell) -> CellTables:
    with presence.reading(cell) as connection:
        (customers,) = only_row(connection.execute(sql("count_customers")))
        return CellTables(customers, _describe_tables(cell, _describe_host(connection)))


def _read_buffer(cell: Cell) -> WaitingEvents:
    lanes = lanes_of(cell)
    with command_client(cell.buffer_url) as redis:
        pipeline = redis.pipeline(transaction=False)
        for lane in lanes.values():
            ledger.queue_read(pipeline, lane)
        pipeline.exists(lease_key(cell.prefix))
        *replies, lease = pipeline.execute()
    ledgers = [ledger.parse(reply) for reply in replies]
    lodging = sum(each.lodging for each in ledgers)
    return WaitingEvents(sum(each.buffered for each in ledgers) - lodging, lodging, bool(lease))


def _describe_row(row: CellRow) -> str:
    """The row as a line; a question mark stands for an unknown value."""
    customers = row.tables.customers if row.tables else UNKNOWN
    waiting, lodging, clock = row.buffer or (UNKNOWN, UNKNOWN, UNKNOWN)
    if row.buffer:
        clock = "runs" if row.buffer.clock else "none"
    tables = [row.tables.place] if row.tables else []
    buffer = [describe_server(row.cell.buffer_url)] if row.buffer else []
    place = "; ".join([*tables, *buffer, *row.faults])
    return f"{row.cell.name:<6}{customers:>11}{waiting:>9}{lodging:>9}  {clock:<6} {place}"


def _describe_host(connection: Connection) -> str:
    """The server, or the node that holds the cell."""
    port = connection.info.port
    return connection.info.host if port == citus.POSTGRES_PORT else f"{connection.info.host}:{port}"


def _describe_tables(cell: Cell, host: str) -> str:
    """The place of a cell's tables, without passwords."""
    parts = conninfo_to_dict(cell.database_url)
    return f"{cell.schema or 'home'} in {parts.get('dbname')} at {host or 'localhost'}"
