"""`windback dead-letters`: events that could not be stored, by cause. Replay them, or delete them."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import psycopg

from api.commands.options import describe_absence, use_servers
from api.up.options import data_dir_option
from workers import settings
from workers.ingest import dead_letters
from workers.ingest.dead_letters import Letter, LetterGroup, ReplayResult
from workers.store import Connection, presence


class LetterId(click.types.UUIDParameterType):
    """The id of a dead letter."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click does."""
        try:
            return UUID(str(value))
        except ValueError:
            self.fail(f"{value!r} is not the id of a dead letter; `windback dead-letters list` shows examples")


ids_argument = click.argument("ids", metavar="[ID]...", nargs=-1, type=LetterId())


@click.group("dead-letters")
def dead_letters_commands() -> None:
    """Show, replay or purge events that could not be stored."""


@dead_letters_commands.command("list")
@data_dir_option
def list_letters(data_dir: Path) -> None:
    """Show the causes, the most frequent first. Each has the id of an example."""
    with _use_cells(data_dir) as cells:
        groups = dead_letters.add_up([group for cell in cells for group in dead_letters.group(cell)])
        click.echo("\n".join(_list_groups(groups)) if groups else "there are no dead letters")


@dead_letters_commands.command("show")
@click.argument("id_", metavar="ID", type=LetterId())
@data_dir_option
def show_letter(id_: UUID, data_dir: Path) -> None:
    """Show a dead letter: its reason and its event."""
    with _use_cells(data_dir) as cells:
        letter = next(filter(None, (dead_letters.find(cell, str(id_)) for cell in cells)), None)
        if letter is None:
            raise click.ClickException(f"there is no dead letter {id_}; `windback dead-letters list` shows examples")
        click.echo(_whole(letter))


@dead_letters_commands.command("replay")
@ids_argument
@data_dir_option
def replay_letters(ids: Sequence[UUID], data_dir: Path) -> None:
    """Store these dead letters (default: all) once the cause is fixed. Safe to run twice; failures stay."""
    total = ReplayResult()
    with _use_cells(data_dir) as cells:
        present = [dead_letters.list_ids(cell, [str(id_) for id_ in ids]) for cell in cells]
        total_ids = sum(map(len, present))
        with click.progressbar(length=total_ids, file=sys.stderr, hidden=not sys.stderr.isatty()) as progress:
            for cell, letters in zip(cells, present, strict=True):
                for step in dead_letters.replay(cell, letters, settings.load().rescore_seconds):
                    total += step
                    progress.update(step.letters + step.failed)
        outcome = total.outcome
        click.echo(f"{total.letters} replayed: {outcome.stored} events stored, {outcome.duplicate} were stored before")
        _report_missing(len(ids) - total_ids if ids else 0)
        if total.failed:
            raise click.ClickException(f"{total.failed} failed again and stay; see `windback dead-letters show ID`")


@dead_letters_commands.command("purge")
@ids_argument
@click.option("--yes", is_flag=True, help="Don't ask.")
@data_dir_option
def purge_letters(ids: Sequence[UUID], yes: bool, data_dir: Path) -> None:
    """Delete these dead letters (default: all) for good."""
    with _use_cells(data_dir) as cells:
        present = [dead_letters.list_ids(cell, [str(id_) for id_ in ids]) for cell in cells]
        count = sum(map(len, present))
        if count and not yes:
            click.confirm(f"Delete {count} dead letters for good?", abort=True, err=True)
        gone = sum(dead_letters.purge(cell, letters) for cell, letters in zip(cells, present, strict=True) if letters)
        click.echo(f"{gone} deleted")
        _report_missing(len(ids) - count if ids else 0)


@contextmanager
def _use_cells(data_dir: Path) -> Iterator[list[Connection]]:
    """Yields a connection to each cell. Those whose Postgres is away are left out and named, and the exit code is 1."""
    with use_servers(data_dir) as servers, ExitStack() as stack:
        connections, absences = [], []
        for cell in servers.apply(settings.load()).all_cells:
            try:
                connections.append(stack.enter_context(presence.enter(cell)))
            except psycopg.OperationalError as error:
                if cell.number is None:
                    raise
                absences.append(describe_absence(error))
        for absence in absences:
            click.echo(f"left out: {absence}", err=True)
        yield connections
    if absences:
        raise click.exceptions.Exit(1)


def _report_missing(missing: int) -> None:
    if missing:
        click.echo(f"{missing} of these don't exist (any more)", err=True)


def _list_groups(groups: Sequence[LetterGroup]) -> Iterator[str]:
    yield f"{'COUNT':>7}  {'FIRST':<16}  {'LAST':<16}  {'SQLSTATE':<8}  {'EXAMPLE':<36}  REASON"
    yield from map(_row, groups)


def _row(group: LetterGroup) -> str:
    times = f"{group.first:%Y-%m-%d %H:%M}  {group.last:%Y-%m-%d %H:%M}"
    return f"{group.letters:>7}  {times}  {group.sqlstate or '-':<8}  {group.example:<36}  {group.reason}"


def _whole(letter: Letter) -> str:
    facts = {name: value for name, value in letter._asdict().items() if name != "body"}
    facts["event"] = dead_letters.describe(letter)
    return json.dumps(facts, indent=2, ensure_ascii=False, default=str)
