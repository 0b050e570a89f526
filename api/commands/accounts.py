"""`windback accounts`: what an account's own events mean, and over how many days its risks look."""

from pathlib import Path

import click

from api.commands.options import data_dir_option, found_servers
from scoring.events import MAX_EVENT_NAME, RECOGNISED
from workers import settings
from workers.accounts import registry
from workers.accounts.registry import ListedAccount
from workers.store import Connection, connect


@click.group("accounts")
def accounts_group() -> None:
    """Accounts: list, and set what is particular to one."""


@accounts_group.command("list")
@click.option("--account", help="The account's name; all accounts without it.")
@data_dir_option
def list_accounts(account: str | None, data_dir: Path) -> None:
    """Show accounts: over how many days their risks look, and which of their events mean churn or engagement."""
    with found_servers(data_dir) as found, connect(found.database_url) as connection:
        listed = [_the(connection, account)] if account else registry.listed(connection)
    click.echo(f"{'ACCOUNT':<20} {'DAYS':>4} {'':<8} {'CHURN EVENT':<20} ENGAGEMENT EVENTS")
    setting = settings.load().horizon_days
    for one in listed:
        click.echo(_line(one, setting))


@accounts_group.command("set")
@click.option("--account", default="default", show_default=True, help="The account's name.")
@click.option("--churn-event", help="Your own event that means that a customer has left; '' for none.")
@click.option("--engagement-event", "engagement_events", multiple=True,
              help="An event of yours that counts as use of the product. May be repeated; '' for none.")  # fmt: skip
@click.option("--horizon-days", type=click.IntRange(0, 365),
              help="Over how many days the risks look; 0: as is learnt from your customers.")  # fmt: skip
@data_dir_option
def set_account(
    account: str, churn_event: str | None, engagement_events: tuple[str, ...], horizon_days: int | None, data_dir: Path
) -> None:
    """Set what is particular to an account; what isn't named stays. Its customers are scored anew within minutes."""
    if churn_event is None and not engagement_events and horizon_days is None:
        raise click.UsageError("nothing to set: name --churn-event, --engagement-event or --horizon-days")
    for name in (churn_event, *engagement_events):
        _check(name)
    with found_servers(data_dir) as found, connect(found.database_url) as connection:
        before = _the(connection, account)
        churn = before.churn_event if churn_event is None else churn_event or None
        engagement = [name for name in engagement_events or before.engagement_events if name]
        if churn in engagement:
            raise click.UsageError(f"{churn!r} can't mean both churn and engagement")
        horizon = before.horizon_chosen if horizon_days is None else horizon_days or None
        registry.choose(connection, account, churn, engagement, horizon)
        after = _the(connection, account)
    click.echo(_line(after, settings.load().horizon_days))


def _the(connection: Connection, name: str) -> ListedAccount:
    found = registry.listed(connection, name)
    if not found:
        raise click.ClickException(f"there is no account {name}; `windback accounts list` shows them")
    return found[0]


def _check(name: str | None) -> None:
    if name is None or name == "":
        return
    if name in RECOGNISED:
        raise click.UsageError(f"{name!r} has its own meaning already")
    if not name.strip() or not name.isprintable() or len(name) > MAX_EVENT_NAME:
        raise click.UsageError(f"{name!r} can't be the name of an event: 1 to {MAX_EVENT_NAME} printable characters")


def _line(account: ListedAccount, setting: int | None) -> str:
    horizon = registry.rules(account, setting).horizon_days
    origins = {"chosen": account.horizon_chosen, "set": setting, "learnt": account.horizon_learnt, "default": True}
    origin = next(name for name, there in origins.items() if there)
    churn, engagement = account.churn_event or "-", ", ".join(account.engagement_events) or "-"
    return f"{account.name:<20} {horizon:>4} {origin:<8} {churn:<20} {engagement}"
