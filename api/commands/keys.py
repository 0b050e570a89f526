"""`windback keys`: make, list and revoke API keys."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from redis import Redis

from api.commands.options import use_servers
from api.up.options import data_dir_option
from workers.accounts import keys, registry
from workers.redis import command_client
from workers.store import Connection, connect


@click.group("keys")
def keys_group() -> None:
    """Create, list and revoke API keys."""


@keys_group.command("create")
@click.option("--account", required=True, help="The account's name; a new name makes a new account.")
@click.option("--publishable", is_flag=True, help="A key for browsers: it may only track events.")
@click.option("--rate-limit", type=click.IntRange(min=1), help="Events a second.")
@click.option("--name", default="", help="Where the key is used: website, importer.")
@data_dir_option
def create_key(account: str, publishable: bool, rate_limit: int | None, name: str, data_dir: Path) -> None:
    """Make a key and show it, once: only its SHA-256 is kept."""
    if not account.strip() or not account.isprintable():
        raise click.BadParameter("the name is blank or holds control characters", param_hint="--account")
    if not name.isprintable() or len(name) > keys.LONGEST_NAME:
        raise click.BadParameter(f"a name has at most {keys.LONGEST_NAME} printable characters", param_hint="--name")
    with _connections(data_dir) as (connection, redis):
        is_new = not registry.list_accounts(connection, account.strip())
        key = keys.create(
            connection, redis, account.strip(), publishable=publishable, rate_limit=rate_limit, name=name.strip()
        )
    click.echo(key.secret)
    if sys.stderr.isatty():
        new = "the new " if is_new else ""
        click.echo(f"key {key.key_id} of {new}account {key.account}; it is not shown again", err=True)


@keys_group.command("list")
@data_dir_option
def list_keys(data_dir: Path) -> None:
    """Show all keys: id, account, kind, state; never the key itself."""
    with _connections(data_dir) as (connection, _):
        all_keys = keys.list_keys(connection)
    click.echo(f"{'ID':>4}  {'ACCOUNT':<20} {'NAME':<16} {'KIND':<11} {'KEY':<18} {'CREATED':<10}  STATE")
    for key in all_keys:
        kind = "publishable" if key.publishable else "secret"
        state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "works"
        owner = f"{key.account:<20} {key.name or '-':<16}"
        click.echo(f"{key.key_id:>4}  {owner} {kind:<11} {key.hint:<18} {key.created_at:%Y-%m-%d}  {state}")


@keys_group.command("revoke")
@click.argument("key_id", metavar="ID", type=int)
@click.option("--yes", is_flag=True, help="Also where it is the account's last secret key.")
@data_dir_option
def revoke_key(key_id: int, yes: bool, data_dir: Path) -> None:
    """End a key: it is refused everywhere within 10 seconds."""
    with _connections(data_dir) as (connection, redis):
        if not yes and (last := keys.find_last_secret_key(connection, key_id)):
            used = keys.find_last_use(redis, key_id)
            when = f"last used {used:%Y-%m-%d %H:%M} UTC" if used else "never used"
            raise click.ClickException(
                f"key {key_id} is the last secret key of account {last.account} ({when}): make another first with "
                f"`windback keys create --account {last.account}`, or add --yes"
            )
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
