"""`windback cells`: where the cells are; twice as many of them; a cell on another server."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
from psycopg.conninfo import conninfo_to_dict

from api.commands.options import use_servers
from api.up.options import data_dir_option
from workers import engine, growth, settings
from workers.buffer import ledger
from workers.buffer.lanes import lanes_of
from workers.cells import Cell
from workers.cluster import describe_server
from workers.lease import lease_key
from workers.redis import command_client
from workers.settings import Settings, variable
from workers.store import Connection, connect, one, sql
from workers.urls import SettingsError, check_postgres

CHANGED = ("cells", "cell_database_urls", "cell_buffer_urls")


@click.group("cells")
def cells_group() -> None:
    """Cells of customers: where they are, dividing them, moving one."""


@cells_group.command("status")
@data_dir_option
def show_cells(data_dir: Path) -> None:
    """Show each cell: its place, its customers, what waits in its buffer and what lodges there."""
    with use_servers(data_dir) as servers:
        rows = [_read(cell) for cell in servers.apply(settings.load()).all_cells]
    click.echo(f"{'CELL':<6}{'CUSTOMERS':>11}{'WAITING':>9}{'LODGING':>9}  {'CLOCK':<6} PLACE")
    for row in rows:
        clock = "runs" if row.clock else "none"
        click.echo(f"{row.name:<6}{row.customers:>11}{row.waiting:>9}{row.lodging:>9}  {clock:<6} {row.place}")


@cells_group.command("split")
@data_dir_option
def split_cells(data_dir: Path) -> None:
    """Divide each cell in two, while everything runs. Interrupted, it is run again, and goes on."""
    with use_servers(data_dir, migrating=False) as servers:
        after = growth.split(servers.apply(settings.load()))
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
        if number >= before.cells or before.cells == 1:
            raise click.BadParameter(f"there are {before.cells} cells", param_hint="NUMBER")
        try:
            check_postgres(database_url, "--to")
        except SettingsError as error:
            raise click.ClickException(str(error)) from None
        if engine.is_placed(cell := before.all_cells[number]):
            engine.move(cell, database_url)
            click.echo("done; all processes follow by themselves")
            return
        after = growth.move(before, number, database_url)
    click.echo(f"done; the events of cell {number:03} wait until processes are started again with these settings:")
    click.echo("\n".join(_describe_settings(after)))


def _describe_settings(after: Settings) -> Iterator[str]:
    for name in CHANGED:
        if value := getattr(after, name):
            yield f"  {variable(name)}={value}"


class CellRow(NamedTuple):
    """A cell as it is listed."""

    name: str
    customers: int
    waiting: int
    lodging: int
    clock: bool
    place: str


def _read(cell: Cell) -> CellRow:
    with connect(cell) as connection:
        (customers,) = one(connection.execute(sql("count_customers")))
        place = _describe_place(cell, _describe_host(connection))
    lanes = lanes_of(cell)
    with command_client(cell.buffer_url) as redis:
        pipeline = redis.pipeline(transaction=False)
        for lane in lanes.values():
            ledger.queue_read(pipeline, lane)
        pipeline.exists(lease_key(cell.prefix))
        *replies, lease = pipeline.execute()
    ledgers = [ledger.parse(reply) for reply in replies]
    lodging = sum(each.lodging for each in ledgers)
    waiting = sum(each.buffered for each in ledgers) - lodging
    return CellRow(cell.name, customers, waiting, lodging, bool(lease), place)


def _describe_host(connection: Connection) -> str:
    """The server, or the node that holds the cell."""
    port = connection.info.port
    return connection.info.host if port == engine.POSTGRES_PORT else f"{connection.info.host}:{port}"


def _describe_place(cell: Cell, host: str) -> str:
    """Where a cell is, without passwords."""
    parts = conninfo_to_dict(cell.database_url)
    return (
        f"{cell.schema or 'home'} in {parts.get('dbname')} at {host or 'localhost'}; {describe_server(cell.buffer_url)}"
    )
