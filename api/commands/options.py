"""Shared by the commands: finding the servers, and reporting any trouble with them in one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import psycopg
from redis.exceptions import RedisError

from api.up import embedded
from api.up.embedded import EmbeddedError, Servers
from workers import placement, settings
from workers.accounts import registry
from workers.accounts.registry import ListedAccount, NoSuchAccount
from workers.installation import ForeignRedis
from workers.logs import first_line
from workers.store import Connection, find_absent_cell, migrate
from workers.store.faults import is_unavailable
from workers.store.presence import CellTaken
from workers.store.sessions import TransactionPooling

F = TypeVar("F", bound=Callable[..., Any])

account_option = click.option("--account", help="The account's name; needed where there are several.")
every_account_option = click.option("--account", help="The account's name; all accounts without it.")


def choose_account(connection: Connection, name: str | None) -> ListedAccount:
    """The account of this name, or the only one; else the command ends with one line."""
    try:
        return registry.resolve_account(connection, name)
    except NoSuchAccount as error:
        raise click.ClickException(str(error)) from None


def list_accounts(connection: Connection, name: str | None) -> list[ListedAccount]:
    """The account of this name, or all accounts; else the command ends with one line."""
    return registry.list_accounts(connection) if name is None else [choose_account(connection, name)]


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends a command with one line when a setting is wrong or a server can't be reached."""
    try:
        yield
    except (settings.SettingsError, EmbeddedError, migrate.MigrationError, TransactionPooling) as error:
        raise click.ClickException(str(error)) from None
    except psycopg.Error as error:
        if not is_unavailable(error):
            raise
        raise click.ClickException(describe_absence(error)) from None
    except ForeignRedis as error:
        raise click.ClickException(str(error)) from None
    except RedisError as error:
        raise click.ClickException(f"REDIS_URL: Redis doesn't answer: {first_line(error)}") from None


def describe_absence(error: psycopg.Error) -> str:
    """Returns which Postgres can't do its work, and why, in one line."""
    if isinstance(error, CellTaken):
        return first_line(error)
    cell = find_absent_cell(error)
    whose = f"the Postgres of cell {cell}" if cell else "DATABASE_URL: Postgres"
    fault = "doesn't answer" if isinstance(error, psycopg.OperationalError) else "can't do it now"
    return f"{whose} {fault}: {first_line(error)}"


def explain_absence(configured: settings.Settings, data_dir: Path) -> str | None:
    """Returns why neither the settings nor the data folder lead to both servers, or None if they do."""
    urls = {"DATABASE_URL": configured.database_url, "REDIS_URL": configured.redis_url}
    unset = [name for name, url in urls.items() if not url]
    if not unset or data_dir.exists():
        return None
    if len(unset) == 1:
        return f"{unset[0]} is not set, and there is no Windback in {data_dir}; set it, or name the folder: --data-dir"
    return f"There is no Windback in {data_dir}; `windback up` makes one, or name it: --data-dir"


def migrate_servers(configured: settings.Settings, data_dir: Path) -> list[str]:
    """Bring the database of the settings, or else that of the data folder, to the current schema; returns what was
    applied. Redis isn't needed. Raises EmbeddedError."""
    if configured.database_url:
        return placement.migrate_all(configured)
    if configured.redis_url and (absence := explain_absence(configured, data_dir)):
        raise EmbeddedError(absence)  # a database of our own beside their Redis was hardly meant
    with embedded.servers(data_dir, None, configured.redis_url) as servers:
        return placement.migrate_all(count_cells(servers, configured).apply(configured))


@contextmanager
def use_servers(data_dir: Path, migrating: bool = True) -> Iterator[Servers]:
    """Both servers, with the database at the current schema: those of the settings, else those of the data folder.
    A cell whose Postgres is away is left as it is; whoever needs it says so.

    A data folder that doesn't exist is taken for a mistyped one.
    """
    with one_line_errors():
        configured = settings.load()
        if absence := explain_absence(configured, data_dir):
            raise EmbeddedError(absence)
        with embedded.servers(data_dir, configured.database_url, configured.redis_url) as servers:
            servers = count_cells(servers, configured)
            if migrating:
                placement.migrate_all(servers.apply(configured), present=True)
            yield servers


def count_cells(servers: Servers, configured: settings.Settings) -> Servers:
    """Returns the servers with the number of cells that the data folder's Postgres has noted, unless it is set."""
    if configured.database_url or settings.is_set("cells"):
        return servers
    return servers._replace(cells=placement.count_cells(servers.apply(configured)) or None)
