"""`windback accounts`: the meaning of an account's own events, and the horizon of its risks."""

from pathlib import Path

import click

from api.commands import options
from api.commands.options import account_option, choose_account, every_account_option, use_servers
from api.up.options import data_dir_option
from scoring.event_roles import CHURN_ROLE, ENGAGEMENT_ROLE, ROLES, explain_bad_mapping
from scoring.events import MAX_EVENT_NAME
from workers import placement, settings
from workers.accounts import mappings, registry
from workers.accounts.mappings import NeverSent, Unmappable
from workers.accounts.registry import ListedAccount
from workers.accounts.time_zones import UTC_NAME, explain_bad_time_zone
from workers.store import connect
from workers.upkeep import totals

SETTABLE = (
    "--churn-event",
    "--engagement-event",
    "--horizon-days",
    "--holdout-percent",
    "--contact-event",
    "--time-zone",
)
HEADINGS = f"{'ACCOUNT':<20} {'DAYS':>4} {'':<8} {'CHURN EVENT':<20} ENGAGEMENT EVENTS, OTHER NAMES"


@click.group("accounts")
def accounts_group() -> None:
    """List accounts, change their settings, and map their events."""


@accounts_group.command("list")
@every_account_option
@data_dir_option
def list_accounts(account: str | None, data_dir: Path) -> None:
    """Show accounts and their settings."""
    with use_servers(data_dir) as servers, connect(servers.database_url) as connection:
        accounts = options.list_accounts(connection, account)
    click.echo(HEADINGS)
    setting = settings.load().horizon_days
    for row in accounts:
        click.echo(_row(row, setting))


@accounts_group.command("set")
@account_option
@click.option("--churn-event", "churn_events", multiple=True,
              help="Your own event that means a customer has churned. May be repeated; '' for none.")  # fmt: skip
@click.option("--engagement-event", "engagement_events", multiple=True,
              help="An event of yours that counts as use of the product. May be repeated; '' for none.")  # fmt: skip
@click.option("--horizon-days", type=click.IntRange(0, 365),
              help="The horizon of the risks, in days; 0: as learnt from your customers.")  # fmt: skip
@click.option("--holdout-percent", type=click.FloatRange(0, 90),
              help="The share of customers whom no alert reaches, so that it shows whether alerts help.")  # fmt: skip
@click.option("--contact-event", help="An event that says a customer was written to; '' for none.")
@click.option("--time-zone", help="The zone in which pages show times, like Europe/Berlin.")
@data_dir_option
def set_account(
    account: str | None,
    churn_events: tuple[str, ...],
    engagement_events: tuple[str, ...],
    horizon_days: int | None,
    holdout_percent: float | None,
    contact_event: str | None,
    time_zone: str | None,
    data_dir: Path,
) -> None:
    """Change an account's settings. Options left out stay as they are. Customers are rescored within minutes."""
    if not (churn_events or engagement_events) and {horizon_days, holdout_percent, contact_event, time_zone} == {None}:
        raise click.UsageError(f"nothing to set: give one of {', '.join(SETTABLE)}")
    chosen = {CHURN_ROLE: churn_events, ENGAGEMENT_ROLE: engagement_events}
    _check(chosen)
    _check_contact(contact_event)
    if time_zone is not None and (fault := explain_bad_time_zone(time_zone)):
        raise click.UsageError(fault)
    with use_servers(data_dir) as servers, connect(servers.database_url) as connection:
        before = choose_account(connection, account)
        kept = {name: role for name, role in before.mappings.items() if not chosen.get(role)}
        named = {name: role for role, names in chosen.items() for name in names if name}
        horizon = before.horizon_chosen if horizon_days is None else horizon_days or None
        if churn_events or engagement_events or horizon_days is not None:
            registry.choose_rules(connection, before.name, {**kept, **named}, horizon)
        registry.choose_acting(connection, before.name, holdout_percent, contact_event)
        if time_zone is not None:
            registry.choose_time_zone(connection, before.account_id, time_zone)
        after = choose_account(connection, before.name)
    click.echo(HEADINGS)
    click.echo(_row(after, settings.load().horizon_days))


@accounts_group.command("map")
@click.argument("name")
@click.argument("event", metavar="ROLE", type=click.Choice(ROLES))
@account_option
@click.option("--force", is_flag=True, help="Map a name that was never sent as well.")
@data_dir_option
def map_event(name: str, event: str, account: str | None, force: bool, data_dir: Path) -> None:
    """Give NAME, an event of your own, a role. ROLE is a recognised event, `engagement` (it counts as use)
    or `churn` (the customer has left). It holds for the past as well; scores follow within a minute."""
    with (
        use_servers(data_dir) as servers,
        connect(servers.database_url) as connection,
        placement.connect_cells(servers.apply(settings.load())) as cells,
    ):
        account_id = choose_account(connection, account).account_id
        for cell in cells or [connection]:
            totals.tally_few(cell)  # names that were sent a moment ago
        try:
            mapped = mappings.add_mappings(connection, account_id, {name: event}, force, cells)
        except Unmappable as error:
            raise click.UsageError(str(error)) from None
        except NeverSent as error:
            raise click.ClickException(str(error).replace("Use force", "Use --force")) from None
    _show_mappings(mapped)


@accounts_group.command("unmap")
@click.argument("name")
@account_option
@data_dir_option
def unmap_event(name: str, account: str | None, data_dir: Path) -> None:
    """Take the role of NAME away. Scores follow within a minute."""
    with use_servers(data_dir) as servers, connect(servers.database_url) as connection:
        account_id = choose_account(connection, account).account_id
        if name not in mappings.list_mappings(connection, account_id):
            raise click.ClickException(f"{name!r} is not mapped; `windback accounts list` shows the names that are")
        mapped = mappings.remove_mappings(connection, account_id, [name])
    _show_mappings(mapped)


def _show_mappings(mapped: dict[str, str]) -> None:
    for name, event in mapped.items():
        click.echo(f"{name} → {event}")
    if not mapped:
        click.echo("no name is mapped")


def _check(chosen: dict[str, tuple[str, ...]]) -> None:
    for role, names in chosen.items():
        for name in filter(None, names):
            if fault := explain_bad_mapping(name, role):
                raise click.UsageError(fault)
    both = set(filter(None, chosen[CHURN_ROLE])) & set(chosen[ENGAGEMENT_ROLE])
    if both:
        raise click.UsageError(f"{', '.join(sorted(both))} can't mean both churn and engagement")


def _check_contact(event: str | None) -> None:
    if event and (not event.strip() or not event.isprintable() or len(event) > MAX_EVENT_NAME):
        raise click.UsageError(f"{event!r} can't be the name of an event: 1 to {MAX_EVENT_NAME} printable characters")


def _row(account: ListedAccount, setting: int | None) -> str:
    horizon = registry.resolve_rules(account, setting).horizon_days
    churn, engagement = (", ".join(names) or "-" for names in (account.meaning.churn, account.meaning.engagement))
    others = ", ".join(f"{name}={event}" for name, event in account.meaning.stands_for.items())
    row = f"{account.name:<20} {horizon:>4} {_origin(account, setting):<8} {churn:<20} {engagement}"
    acting = [f"{account.holdout_percent:g}% held out"] if account.holdout_percent else []
    acting += [f"contacted by {account.contact_event}"] if account.contact_event else []
    acting += [account.time_zone] if account.time_zone != UTC_NAME else []
    return "  ".join(filter(None, [row, others, *acting]))


def _origin(account: ListedAccount, setting: int | None) -> str:
    """Describes the source of an account's horizon."""
    if account.horizon_chosen:
        return "chosen"
    if setting:
        return "set"
    return "learnt" if account.horizon_learnt else "default"
