"""`windback`: the command line.

Each command finds its servers by DATABASE_URL and REDIS_URL, or takes the embedded ones of the data folder, running or
not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from api.commands.accounts import accounts_group
from api.commands.backtest import backtest
from api.commands.check import check
from api.commands.customers import customers_group
from api.commands.dead_letters import dead_letters_commands
from api.commands.history.command import import_command
from api.commands.keys import keys_group
from api.commands.models import models_group, train
from api.commands.options import one_line_errors
from api.commands.status import status
from api.commands.webhooks import webhooks_group
from api.demo.command import demo
from api.up import embedded
from api.up.command import up
from api.up.options import data_dir_option
from api.web import web
from workers import placement, settings
from workers.__main__ import clock_command, worker


class Misuse(click.ClickException):
    """A command line that can't be read: exit code 2."""

    exit_code = 2


class Commands(click.Group):
    """A group of commands. Every error is one line, misuse included: what is wrong, and which --help to read."""

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
        message = " ".join(error.format_message().split()).rstrip(".") + "."
        raise Misuse(f"{message} See `{error.ctx.command_path} --help`." if error.ctx else message) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(None, "-V", "--version", package_name="windback-server", prog_name="windback")
@click.pass_context
def main(context: click.Context) -> None:
    """Windback: customers' events in, a churn risk for every customer out."""
    if context.invoked_subcommand not in (web.name, worker.name, clock_command.name, check.name):  # these say it
        for sentence in settings.explain_unknown().values():
            click.echo(f"Note: {sentence}", err=True)


main.add_command(up)
main.add_command(backtest)
main.add_command(import_command)
main.add_command(demo)
main.add_command(train)
main.add_command(models_group)
main.add_command(accounts_group)
main.add_command(dead_letters_commands)
main.add_command(customers_group)
main.add_command(webhooks_group)
main.add_command(keys_group)
main.add_command(status)
main.add_command(check)
main.add_command(web)
main.add_command(worker)
main.add_command(clock_command)


@main.command("migrate")
@data_dir_option
def migrate_command(data_dir: Path) -> None:
    """Bring the database to the current schema. Safe to run twice, and from two places at once."""
    with one_line_errors():
        configured = settings.load()
        with embedded.servers(data_dir, configured.database_url, configured.redis_url) as servers:
            applied = placement.migrate_all(servers.apply(configured))
    click.echo("\n".join(f"applied {name}" for name in applied) or "nothing to apply: the schema is current")
