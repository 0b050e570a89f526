"""`windback webhooks`: where an account's alerts go."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import click
import msgspec

from api.alerts.webhooks import post_example
from api.commands.options import account_option, choose_account, use_servers
from api.up.options import data_dir_option
from workers import settings
from workers.alerts import webhooks
from workers.alerts.webhooks import DEFAULT_LEVEL, FORMATS, MIN_LEVELS, BadWebhook, NoSuchWebhook, Webhook
from workers.settings import Settings
from workers.store import Connection, connect


class WebhookId(click.ParamType[str]):
    """An id, as `windback webhooks list` shows it."""

    name = "id"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As click asks for it."""
        try:
            return str(UUID(str(value)))
        except ValueError:
            self.fail(f"{value!r} is not an id; `windback webhooks list` shows them", param, ctx)


@click.group("webhooks")
def webhooks_group() -> None:
    """Add, list, remove and test webhooks."""


@webhooks_group.command("add")
@click.argument("url")
@click.option("--format", "kind", type=click.Choice(FORMATS), default="json", show_default=True,
              help="What is sent: JSON, or a message for Slack.")  # fmt: skip
@click.option("--min-level", type=click.Choice(MIN_LEVELS), default=DEFAULT_LEVEL, show_default=True,
              help="The level of risk from which on a rise is an alert.")  # fmt: skip
@click.option("--description", help="What it is for.")
@account_option
@data_dir_option
def add_webhook(
    url: str, kind: str, min_level: str, description: str | None, account: str | None, data_dir: Path
) -> None:
    """Send alerts to URL from now on. Shows the webhook's id and its secret, which is not shown again."""
    with _account(data_dir, account) as (connection, account_id):
        try:
            webhook, secret = webhooks.create(connection, account_id, url, kind, min_level, description)
        except BadWebhook as error:
            raise click.UsageError(str(error)) from None
    click.echo("the webhook's id, and its secret, which signs messages and is not shown again:", err=True)
    click.echo(f"{webhook.webhook_id}\n{secret}")


@webhooks_group.command("list")
@account_option
@data_dir_option
def list_webhooks(account: str | None, data_dir: Path) -> None:
    """Show webhooks, their levels, and their latest attempts."""
    with _account(data_dir, account) as (connection, account_id):
        listed = webhooks.list_webhooks(connection, account_id)
    click.echo(f"{'ID':<36}  {'FORMAT':<6} {'LEVEL':<8} {'STATE':<8} {'LAST':<22} URL")
    for webhook in listed:
        click.echo(_row(webhook))


@webhooks_group.command("remove")
@click.argument("webhook_id", metavar="ID", type=WebhookId())
@account_option
@data_dir_option
def remove_webhook(webhook_id: str, account: str | None, data_dir: Path) -> None:
    """Remove a webhook and the deliveries that wait for it."""
    with _account(data_dir, account) as (connection, account_id):
        try:
            webhooks.remove(connection, account_id, webhook_id)
        except NoSuchWebhook as error:
            raise click.ClickException(str(error)) from None
    click.echo(f"webhook {webhook_id} is removed")


@webhooks_group.command("test")
@click.argument("webhook_id", metavar="ID", type=WebhookId())
@account_option
@data_dir_option
def try_webhook(webhook_id: str, account: str | None, data_dir: Path) -> None:
    """Send an example to a webhook now. Exit 1 where it isn't answered by a 2xx."""
    with _account(data_dir, account) as (connection, account_id):
        try:
            receiver = webhooks.find_receiver(connection, account_id, webhook_id)
        except NoSuchWebhook as error:
            raise click.ClickException(str(error)) from None
    outcome = asyncio.run(post_example(_settings(), receiver))
    if not outcome.delivered:
        raise click.ClickException(f"not delivered: {outcome.error}")
    click.echo(f"delivered: answered {outcome.status}")


def _settings() -> Settings:
    """The settings; with the servers of a data folder, private addresses are allowed as `windback up` allows them."""
    configured = settings.load()
    if configured.database_url or "WINDBACK_WEBHOOK_PRIVATE_ADDRESSES" in os.environ:
        return configured
    return msgspec.structs.replace(configured, webhook_private_addresses=True)


@contextmanager
def _account(data_dir: Path, name: str | None) -> Iterator[tuple[Connection, int]]:
    with use_servers(data_dir) as servers, connect(servers.database_url) as connection:
        yield connection, choose_account(connection, name).account_id


def _row(webhook: Webhook) -> str:
    state = "enabled" if webhook.enabled else "disabled"
    last = f"{webhook.last_at:%Y-%m-%d %H:%M} {webhook.last_status or 'none'}" if webhook.last_at else "never"
    return f"{webhook.webhook_id}  {webhook.format:<6} {webhook.min_level:<8} {state:<8} {last:<22} {webhook.url}"
