"""The help of every command, as a person reads it in a terminal of 80 columns."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from api.cli import main


def groups(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from groups(command, *path, name)


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(groups(main)), ids=" ".join)
def test_a_list_of_commands_shows_whole_sentences(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(main, [*path, "--help"], terminal_width=80)
    listed = shown.output.partition("Commands:\n")[2].splitlines()
    assert listed
    assert all(line.endswith(".") for line in listed), shown.output


@pytest.mark.parametrize("path", list(commands(main)), ids=" ".join)
def test_a_usage_fits_on_its_line(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(main, [*path, "--help"], terminal_width=80)
    usage, _, rest = shown.output.partition("\n")
    assert (shown.exit_code, len(usage) <= 80, rest.startswith("\n")) == (0, True, True), shown.output
