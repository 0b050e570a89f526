"""`windback keys`: make, list and revoke API keys."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from redis import Redis

from api.commands.options import use_servers
from api.up.options import data_dir_option
from workers.accounts import keys
from workers.redis import command_client
from workers.store import Connection, connect


@click.group("keys")
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
    with _connections(data_dir) as (connection, redis):
        key = keys.create(connection, redis, account.strip(), publishable=publishable, rate_limit=rate_limit)
    click.echo(key.secret)
    if sys.stdout.isatty():
        click.echo(f"key {key.key_id} of account {key.account}; it is not shown again", err=True)


@keys_group.command("list")
@data_dir_option
def list_keys(data_dir: Path) -> None:
    """Show all keys: id, account, kind, state; never the key itself."""
    with _connections(data_dir) as (connection, _):
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
    with _connections(data_dir) as (connection, redis):
        try:
            keys.revoke(connection, redis, key_id)
        except keys.NoSuchKey as error:
            raise click.ClickException(str(error)) from None
    click.echo(f"key {key_id} is revoked")


@contextmanager
def _connections(data_dir: Path) -> Iterator[tuple[Connection, Redis]]:
    with (
        use_servers(data_dir) as servers,
        connect(servers.database_url) as connection,
        command_client(servers.redis_url) as redis,
    ):
        yield connection, redis
