"""`windback customers`: erase one."""

from pathlib import Path

import click
import msgspec

from api.commands.options import account_option, choose_account, use_servers
from api.reading.erasing import describe
from api.track.rules import valid_email
from api.up.options import data_dir_option
from workers import settings
from workers.identities import erasing
from workers.store import connect


@click.group("customers")
def customers_group() -> None:
    """Erase a customer."""


@customers_group.command("erase")
@click.argument("email")
@account_option
@click.option("--user-id", "by_user_id", is_flag=True, help="EMAIL is a user id, whether its address is known or not.")
@data_dir_option
def erase_customer(email: str, account: str | None, by_user_id: bool, data_dir: Path) -> None:
    """Erase a customer. Events, scores and dead letters go, and so does what waits to be stored.

    Safe to run twice.
    """
    if not by_user_id and not valid_email(email):
        raise click.BadParameter("this is not an address like local@domain.tld", param_hint="EMAIL")
    with use_servers(data_dir) as servers:
        with connect(servers.database_url) as connection:
            account_id = choose_account(connection, account).account_id
        receipt = erasing.erase(servers.apply(settings.load()), account_id, email, by_user_id)
    click.echo(msgspec.json.encode(describe(receipt)).decode())
