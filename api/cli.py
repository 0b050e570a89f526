"""`windback`: the command line.

Each command finds its servers by DATABASE_URL and REDIS_URL, or takes the embedded ones of the data folder, running or
not.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from api.up.options import data_dir_option
from workers import settings

COMMANDS = {
    "accounts": "api.commands.accounts:accounts_group",
    "backtest": "api.commands.backtest:backtest",
    "cells": "api.commands.cells:cells_group",
    "check": "api.commands.check:check",
    "clock": "workers.__main__:clock_command",
    "customers": "api.commands.customers:customers_group",
    "dead-letters": "api.commands.dead_letters:dead_letters_commands",
    "demo": "api.demo.command:demo",
    "import": "api.commands.history.command:import_command",
    "keys": "api.commands.keys:keys_group",
    "models": "api.commands.models:models_group",
    "status": "api.commands.status:status",
    "train": "api.commands.models:train",
    "up": "api.up.command:up",
    "web": "api.web:web",
    "webhooks": "api.commands.webhooks:webhooks_group",
    "worker": "workers.__main__:worker",
}
SILENT = ("web", "worker", "clock", "check")  # these say themselves which settings are none


class Misuse(click.ClickException):
    """A command line that can't be read: exit code 2."""

    exit_code = 2


class Commands(click.Group):
    """A group of commands. Each is imported on first use, so that a long-running command needs no memory for the
    others. Every error, misuse included, is one line: the fault, and the --help to read."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As click does."""
        return sorted([*COMMANDS, *super().list_commands(ctx)])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """As click does."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

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
    """Windback takes your customers' events and predicts the churn of each customer."""
    if context.invoked_subcommand not in SILENT:
        for sentence in settings.explain_unknown().values():
            click.echo(f"Note: {sentence}", err=True)


@main.command("migrate")
@data_dir_option
def migrate_command(data_dir: Path) -> None:
    """Bring the database to the current schema. Safe to run twice, and from two places at once."""
    from api.commands.options import migrate_servers, one_line_errors

    with one_line_errors():
        applied = migrate_servers(settings.load(), data_dir)
    click.echo("\n".join(f"applied {name}" for name in applied) or "nothing to apply: the schema is current")
