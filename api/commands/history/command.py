"""`windback import`: our own files, and exports of other products."""

import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Any

import click
import msgspec

from api.commands.client import Client, ServiceFailed, open_service, service_options
from api.commands.history.progress import ProgressLine
from api.commands.history.waiting import count_unresolved, wait_until_scored
from api.commands.importing import Import, RefusedLine
from api.history.dry_run import ImportPreview
from api.history.event_files import FileLine, read_events
from api.history.guess import guess_columns
from api.history.people import read_people
from api.history.presets import PRESETS
from api.history.records import MissingColumns
from api.history.source import Reading, read_history
from api.history.text_files import FileFault, TextFile
from api.history.times import ORDERS, Dates
from api.track.rules import FIELDS
from api.words import count_of
from scoring.events import MAX_BATCH

SHOWN = 20  # reasons of refused lines that are shown
LISTED = 5  # further lines whose numbers follow
VALUES = re.compile(r"'[^']*'|\d+")  # parts in which lines differ that are refused for the same reason


class Identities:
    """Identities on their way into a service, in batches, and how many of them were refused."""

    def __init__(self, client: Client) -> None:
        self.taken, self.refused = 0, 0
        self._client = client
        self._waiting: list[dict[str, Any]] = []

    def add(self, identity: dict[str, Any]) -> None:
        """Take an identity; a full batch is sent. Raises ServiceFailed."""
        self._waiting.append(identity)
        if len(self._waiting) >= MAX_BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what waits. Raises ServiceFailed."""
        if not self._waiting:
            return
        batch, self._waiting = self._waiting, []
        reply = self._client.ask("POST", "/api/v1/identify", msgspec.json.encode({"identities": batch}))
        rejected = reply.body.get("rejected")
        if reply.status not in (HTTPStatus.OK, HTTPStatus.MULTI_STATUS, HTTPStatus.UNPROCESSABLE_ENTITY):
            raise ServiceFailed(reply.fault)
        refused = len(rejected) if isinstance(rejected, list) else 0
        self.taken, self.refused = self.taken + len(batch) - refused, self.refused + refused


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--from", "preset", type=click.Choice(list(PRESETS)), help="The product whose export it is.")
@click.option("--people", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A file user_id,email: the addresses of user ids, now and for events to come.")  # fmt: skip
@click.option("--rename", "renames", multiple=True, metavar="THEIRS=OURS",
              help='Another name for an event: --rename "Signed In=login". May be repeated.')  # fmt: skip
@click.option("--column", "columns", multiple=True, metavar="OURS=THEIRS",
              help="Where a field of ours is: --column customer_email=email. May be repeated.")  # fmt: skip
@click.option("--dates", type=click.Choice(ORDERS), help="The order in dates like 3/4/2025; else they are refused.")
@click.option("--now", is_flag=True, help="Date events without a timestamp to now; else they are refused.")
@click.option("--dry-run", is_flag=True, help="Show names, counts, the span and what can't be resolved; send nothing.")
@click.option("--wait", is_flag=True, help="Wait until all of it is stored and scored.")
@service_options
def import_command(
    files: tuple[Path, ...],
    preset: str | None,
    people: Path | None,
    renames: tuple[str, ...],
    columns: tuple[str, ...],
    dates: Dates | None,
    now: bool,
    dry_run: bool,
    wait: bool,
    url: str | None,
    api_key: str | None,
    data_dir: Path,
) -> None:
    """Send FILES of events through the API. Safe to run again.

    CSV (with commas, semicolons or tabs), NDJSON or a JSON array; UTF-8 or UTF-16, plain, .gz or .zip. A CSV file names
    its columns in the first line: event, customer_email, timestamp, event_id, properties (JSON); any other column is a
    property.
    """
    reading = Reading(
        preset,
        _split_pairs(renames, "--rename"),
        _check_columns(_split_pairs(columns, "--column")),
        _read_people(people),
        now,
        dates,
    )
    if dry_run:
        previews = [_preview_file(path, reading) for path in files]
        sys.exit(0 if all(previews) else 1)
    failed = not _send_people(reading.people, url, api_key, data_dir)
    for path in files:
        failed = not _import_file(path, reading, url, api_key, data_dir) or failed
    if wait:
        _wait(url, api_key, data_dir)
    sys.exit(1 if failed else 0)


def _split_pairs(pairs: tuple[str, ...], option: str) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    if bad := [pair for pair, (name, _, value) in zip(pairs, split, strict=True) if not name or not value]:
        raise click.BadParameter(f"{bad[0]!r} is not like NAME=NAME", param_hint=option)
    return {name: value for name, _, value in split}


def _check_columns(columns: dict[str, str]) -> dict[str, str]:
    if unknown := [name for name in columns if name not in FIELDS]:
        message = f"{unknown[0]!r} is no field of ours; they are {', '.join(FIELDS)}"
        raise click.BadParameter(message, param_hint="--column")
    return columns


def _read_people(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        return read_people(path)
    except FileFault as error:
        raise _explain(path, error) from None


def _explain(path: Path, fault: FileFault) -> click.ClickException:
    """The error for a file that can't be read; for a header with other names, with the options that may help."""
    where = path if fault.number is None else f"{path}:{fault.number}"
    columns = guess_columns(fault.names) if isinstance(fault, MissingColumns) else {}
    hint = "".join(f" --column {shlex.quote(f'{field}={name}')}" for field, name in columns.items())
    return click.ClickException(f"{where}: {fault}" + (f"; try{hint}" if hint else ""))


def _preview_file(path: Path, reading: Reading) -> bool:
    """Show what a file would give. Returns whether all of it can be used."""
    preview, skipped = ImportPreview(), Counter[str]()
    identities: list[dict[str, Any]] = []
    with TextFile(path) as file:
        try:
            for line in read_history(file, reading, identities.append, skipped):
                preview.add(line)
        except FileFault as error:
            raise _explain(path, error) from None
    for text in preview.describe():
        click.echo(f"{path}: {text}" if not text.startswith(" ") else text)
    if identities:
        click.echo(f"{path}: {count_of(len(identities), 'identity', 'identities')}")
    _show_skipped(path, skipped)
    _show_refused(path, [RefusedLine(line.number, line.fault) for line in preview.refused], preview.refusals)
    return not preview.refusals


def _send_people(people: Mapping[str, str], url: str | None, api_key: str | None, data_dir: Path) -> bool:
    """Send the addresses of user ids, so that events to come find them. Returns whether all were taken."""
    if not people:
        return True
    try:
        client = open_service(url, api_key, data_dir)
        with closing(client):
            identities = Identities(client)
            for user_id, email in people.items():
                identities.add({"user_id": user_id, "customer_email": email})
            identities.flush()
    except ServiceFailed as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{count_of(identities.taken, 'person', 'people')} taken, {identities.refused:,} refused")
    return not identities.refused


def _wait(url: str | None, api_key: str | None, data_dir: Path) -> None:
    try:
        client = open_service(url, api_key, data_dir)
        with closing(client):
            wait_until_scored(client)
            unresolved = count_unresolved(client)
    except ServiceFailed as error:
        raise click.ClickException(str(error)) from None
    if unresolved:
        click.echo(f"stored and scored, but for {count_of(unresolved, 'event')} of user ids without an address;")
        click.echo("they wait for 35 days: send it with --people, or POST /api/v1/identify")
    else:
        click.echo("all of it is stored and scored")


def _import_file(path: Path, reading: Reading, url: str | None, api_key: str | None, data_dir: Path) -> bool:
    """Import a file and report. Returns whether all of it was taken."""
    skipped: Counter[str] = Counter()
    with TextFile(path) as file:
        try:
            client = open_service(url, api_key, data_dir)
        except ServiceFailed as error:
            raise click.ClickException(str(error)) from None
        importing = Import(file, client, ProgressLine(path))
        identities = Identities(client)
        try:
            with closing(client):
                importing.run(_read(file, reading, identities, skipped))
                identities.flush()
        except FileFault as error:
            _report(path, importing, client)
            raise _explain(path, error) from None
        except (ServiceFailed, OSError) as error:
            if importing.accepted:
                _report(path, importing, client)
            raise click.ClickException(f"{path}: {' '.join(str(error).split())}") from None
    _report(path, importing, client)
    if identities.taken or identities.refused:
        taken = count_of(identities.taken, "identity", "identities")
        click.echo(f"{path}: {taken} taken, {identities.refused:,} refused")
    _show_skipped(path, skipped)
    return not importing.refused and not identities.refused


def _read(file: TextFile, reading: Reading, identities: Identities, skipped: Counter[str]) -> Iterator[FileLine]:
    """Our own files as they are; all others converted."""
    if reading == Reading(now=reading.now):
        return read_events(file, now=reading.now)
    return read_history(file, reading, identities.add, skipped)


def _show_skipped(path: Path, skipped: Counter[str]) -> None:
    for reason, count in skipped.most_common():
        click.echo(f"{path}: {count_of(count, 'line')} left out: {reason}")


def _report(path: Path, importing: Import, client: Client) -> None:
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    accepted, refused = count_of(importing.accepted, "event"), count_of(len(importing.refused), "line")
    click.echo(f"{path}: {accepted} taken, {refused} refused, by {client.url}")
    _show_refused(path, importing.refused, len(importing.refused))


def _show_refused(path: Path, refused: list[RefusedLine], total: int) -> None:
    """Show the first line of each reason, and how many more there are. `total` counts lines that weren't kept, too."""
    groups: dict[str, list[RefusedLine]] = {}
    for line in sorted(refused):
        groups.setdefault(VALUES.sub("", line.reason), []).append(line)
    for first, *others in [*groups.values()][:SHOWN]:
        lines = ", ".join(str(line.number) for line in others[:LISTED]) + (", …" if len(others) > LISTED else "")
        click.echo(f"{path}:{first.number}: {first.reason}", err=True)
        if others:
            click.echo(f"  … and {count_of(len(others), 'more line')}: {lines}", err=True)
    if unshown := total - sum(len(lines) for lines in [*groups.values()][:SHOWN]):
        click.echo(f"  … and {count_of(unshown, 'more line')}", err=True)
