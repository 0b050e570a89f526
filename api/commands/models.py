"""`windback train` and `windback models`: train on the outcomes of customers, list models, go back."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from api.commands.options import account_option, choose_account, every_account_option, list_accounts, use_servers
from api.up.embedded import Servers
from api.up.options import data_dir_option
from api.words import describe_top_tenth
from scoring.learning.metrics import Metrics
from scoring.learning.training import RECALIBRATE
from scoring.model import PRIOR
from workers import settings
from workers.accounts import models, renewals
from workers.accounts.models import Card, ListedModel
from workers.accounts.registry import ListedAccount
from workers.accounts.renewals import RenewalProgress
from workers.learning import trainer
from workers.placement import connect_cells
from workers.redis import command_client
from workers.risk import renewal
from workers.risk.renewal_state import Means
from workers.store import Connection, connect

FIGURES = ("log_loss", "auc", "lift", "brier", "ece")
HEAD = f"  {'':<14}{'LOG LOSS':>9}{'AUC':>8}{'LIFT':>7}{'BRIER':>8}{'ECE':>8}"
WIDTHS = (9, 8, 7, 8, 8)
PLACES = (4, 3, 2, 4, 4)


@click.command()
@every_account_option
@data_dir_option
def train(account: str | None, data_dir: Path) -> None:
    """Train a model on the outcomes of customers. It is used only if it predicts later months better."""
    with use_servers(data_dir) as servers, connect(servers.database_url) as connection:
        for trained in list_accounts(connection, account):
            try:
                card = _train(connection, servers, trained)
            except trainer.Overtaken as error:
                raise click.ClickException(f"account {trained.name}: {error}") from None
            click.echo("\n".join(_report(trained.name, card)))


def _train(connection: Connection, servers: Servers, account: ListedAccount) -> Card:
    configured = servers.apply(settings.load())
    with command_client(servers.redis_url) as redis, connect_cells(configured) as cells:
        return trainer.train(
            connection,
            account.account_id,
            configured.horizon_days,
            levels=configured.levels,
            redis=redis,
            cells=cells,
            progress=_show_progress,
        )


def _show_progress(progress: RenewalProgress) -> None:
    """On a terminal, how many customers have their new score."""
    if sys.stderr.isatty():
        click.echo(f"\r  new scores: {progress.scored:,} of {progress.total:,} customers ", nl=False, err=True)
        if progress.scored >= progress.total:
            click.echo(err=True)


@click.group("models")
def models_group() -> None:
    """List models, or roll back."""


@models_group.command("list")
@every_account_option
@data_dir_option
def list_models(account: str | None, data_dir: Path) -> None:
    """Show all models and their quality: departures in the training, AUC and calibration on the holdout."""
    with use_servers(data_dir) as servers, connect(servers.database_url) as connection:
        list_accounts(connection, account)
        listed = models.list_models(connection, account)
    figures = f"{'DAYS':>4} {'LAPSES':>7} {'LOG LOSS':>9} {'AUC':>6} {'ECE':>6}"
    click.echo(f"{'ACCOUNT':<20} {'MODEL':<18} {'CREATED':<10} {figures}  STATE")
    for model in listed:
        click.echo(_line(model))


@models_group.command("rollback")
@account_option
@data_dir_option
def roll_back(account: str | None, data_dir: Path) -> None:
    """Go back to the previous model, or to the day-one formula."""
    with use_servers(data_dir) as servers, connect(servers.database_url) as connection:
        owner = choose_account(connection, account)
        try:
            renewals.request_roll_back(connection, owner.account_id)
        except models.NoEarlierModel as error:
            raise click.ClickException(f"account {owner.name}: {error}") from None
        with command_client(servers.redis_url) as redis:
            configured = settings.load()
            means = Means(configured.levels, configured.horizon_days, redis)
            renewal.run(connection, means, owner.account_id, _show_progress)
        model = models.find_in_use(connection, owner.account_id).model
    click.echo(f"account {owner.name}: {model.version} is in use")


def _report(account: str, card: Card) -> Iterator[str]:
    """One training as lines; the first says what was found."""
    yield f"account {account}: {_summarise(card)}"
    yield (
        f"  {card.snapshots:,} snapshots of {card.customers:,} customers, {card.lapses:,} lapses "
        f"within {card.horizon_days} days"
    )
    if card.holdout:
        yield HEAD
        for kind, metrics in card.holdout.items():
            yield f"  {card.against if kind == trainer.IN_USE else kind:<14}{_figures(metrics)}"
        if card.against != PRIOR.version:
            yield f"  {card.against} may have been trained on these months, so its figures flatter it"
    passed = [candidate.event for candidate in card.candidates if candidate.in_use]
    if card.candidates:
        yield f"  custom events: {len(card.candidates)} tested; predictive: {', '.join(passed) or 'none'}"
    verb = "switched to" if card.chosen != card.against else "kept"
    yield f"  {verb} {card.chosen}: {card.why}"


def _summarise(card: Card) -> str:
    """Describes the result of a training in words."""
    if not card.snapshots:
        return (
            "nothing to learn from yet: no customer was active a horizon ago (beside others, those of demo don't count)"
        )
    if not card.holdout:
        return (
            f"not enough to learn from yet: {card.lapses:,} customers churned, and at least {RECALIBRATE} must have "
            "before the last months, which are kept for the test"
        )
    if card.chosen == card.against:
        return f"the model in use stays, none did better in the test months. {_describe_rank(card, trainer.IN_USE)}"
    kind = card.chosen.rpartition("-")[0]
    return f"a new model did better in the test months, and is in use. {_describe_rank(card, kind)}"


def _describe_rank(card: Card, kind: str) -> str:
    metrics = card.holdout.get(kind)
    return describe_top_tenth(metrics.lift if metrics else None)


def _figures(metrics: Metrics) -> str:
    values = [getattr(metrics, name) for name in FIGURES]
    return "".join(
        f"{'-' if value is None else f'{value:.{places}f}':>{width}}"
        for value, width, places in zip(values, WIDTHS, PLACES, strict=True)
    )


def _line(model: ListedModel) -> str:
    metrics = model.card.holdout.get(model.kind)
    auc = "-" if metrics is None or metrics.auc is None else f"{metrics.auc:.3f}"
    loss = "-" if metrics is None else f"{metrics.log_loss:.4f}"
    ece = "-" if metrics is None else f"{metrics.ece:.4f}"
    state = "in use" if model.in_use else ""
    return (
        f"{model.account:<20} {model.name:<18} {model.created_at:%Y-%m-%d} {model.card.horizon_days:>4} "
        f"{model.card.lapses:>7} {loss:>9} {auc:>6} {ece:>6}  {state}"
    ).rstrip()
