"""`windback`: the command line.

Each command finds its servers by DATABASE_URL and REDIS_URL, or takes the embedded ones of the data folder, running or
not.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import psycopg

from api.commands.accounts import accounts_group
from api.commands.backtest import backtest
from api.commands.dead_letters import dead_letters_commands
from api.commands.importing import import_command
from api.commands.models import models_group, train
from api.commands.options import data_dir_option, found_servers
from api.commands.status import status
from api.demo.command import demo
from api.reading.erasing import customers
from api.up.command import up
from api.up.embedded import EmbeddedError, servers
from workers import settings
from workers.accounts import keys
from workers.logs import first_line
from workers.redis import command_client
from workers.store import connect
from workers.store.migrate import Blocked, migrate


class Misuse(click.ClickException):
    """A command that can't be understood."""

    exit_code = 2


class Commands(click.Group):
    """A group whose every error is one line, misuse too: what is wrong, and where help is."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """As click does."""
        with _one_line():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """As click does."""
        with _one_line():
            return super().invoke(ctx)


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        said = " ".join(error.format_message().split())
        raise Misuse(f"{said} See `{error.ctx.command_path} --help`." if error.ctx else said) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="windback", prog_name="windback")
def main() -> None:
    """Windback: customers' events in, a churn risk for every customer out."""


main.add_command(up)
main.add_command(backtest)
main.add_command(import_command)
main.add_command(demo)
main.add_command(train)
main.add_command(models_group)
main.add_command(accounts_group)
main.add_command(dead_letters_commands)
main.add_command(customers)
main.add_command(status)


@main.command("migrate")
@data_dir_option
def migrate_command(data_dir: Path) -> None:
    """Bring the database to the current schema. Safe to run twice, and from two places at once."""
    try:
        configured = settings.load()
        with servers(data_dir, configured.database_url, configured.redis_url) as found:
            applied = migrate(found.database_url)
    except (settings.SettingsError, EmbeddedError, Blocked) as error:
        raise click.ClickException(str(error)) from None
    except psycopg.OperationalError as error:
        raise click.ClickException(f"DATABASE_URL: Postgres doesn't answer: {first_line(error)}") from None
    click.echo("\n".join(f"applied {name}" for name in applied) or "nothing to apply: the schema is current")


@main.group("keys")
def keys_group() -> None:
    """API keys: create, list, revoke."""


@keys_group.command("create")
@click.option("--account", required=True, help="The account's name; it is made where it doesn't exist.")
@click.option("--publishable", is_flag=True, help="A key for browsers: it may only track events.")
@click.option("--rate-limit", type=click.IntRange(min=1), help="Events a second.")
@data_dir_option
def create_key(account: str, publishable: bool, rate_limit: int | None, data_dir: Path) -> None:
    """Make a key and show it, once: only its SHA-256 is kept."""
    if not account.strip() or not account.isprintable():
        raise click.BadParameter("the name is blank or holds control characters", param_hint="--account")
    with found_servers(data_dir) as found, connect(found.database_url) as connection:
        redis = command_client(found.redis_url)
        with redis:
            key = keys.create(connection, redis, account.strip(), publishable=publishable, rate_limit=rate_limit)
    click.echo(key.secret)
    if sys.stdout.isatty():
        click.echo(f"key {key.key_id} of account {key.account}; it is not shown again", err=True)


@keys_group.command("list")
@data_dir_option
def list_keys(data_dir: Path) -> None:
    """Show all keys: id, account, kind, state; never the key itself."""
    with found_servers(data_dir) as found, connect(found.database_url) as connection:
        listed = keys.listed(connection)
    click.echo(f"{'ID':>4}  {'ACCOUNT':<20} {'KIND':<11} {'KEY':<18} {'CREATED':<10}  STATE")
    for key in listed:
        kind = "publishable" if key.publishable else "secret"
        state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "works"
        click.echo(f"{key.key_id:>4}  {key.account:<20} {kind:<11} {key.hint:<18} {key.created_at:%Y-%m-%d}  {state}")


@keys_group.command("revoke")
@click.argument("key_id", metavar="ID", type=int)
@data_dir_option
def revoke_key(key_id: int, data_dir: Path) -> None:
    """End a key: it is refused everywhere within 10 seconds."""
    with found_servers(data_dir) as found, connect(found.database_url) as connection:
        redis = command_client(found.redis_url)
        try:
            with redis:
                keys.revoke(connection, redis, key_id)
        except keys.NoSuchKey as error:
            raise click.ClickException(str(error)) from None
    click.echo(f"key {key_id} is revoked")
