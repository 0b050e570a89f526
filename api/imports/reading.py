"""Reads an uploaded file as an import reads it: the first rows, and the figures of all of it."""

import asyncio
from collections import Counter
from itertools import islice
from pathlib import Path

import msgspec

from api.history.dry_run import ImportPreview
from api.history.event_files import NO_TIME, FileLine
from api.history.guess import guess_columns, guess_preset
from api.history.people import read_people
from api.history.records import Columns, Record, read_records
from api.history.source import Reading, read_history
from api.history.text_files import TextFile
from api.imports.beat import ImportBeat
from api.imports.state import FileImport, FilePreview, LineFault, PreviewRow
from api.track.rules import FIELDS

ROWS = 10  # that are shown
LONGEST_CELL = 200
SHOWN_NAMES = 40
MOST_COLUMNS = 100
MOST_FAULTS = 100  # that are kept with their reasons
NO_TIME_HERE = "it has no time; name its column above, or tick that such events happened now"
BREATHS = 500  # lines between two looks at the clock


def make_reading(state: FileImport, people_path: Path) -> Reading:
    """Returns how the file is to be read. Raises FileFault, OSError."""
    people = read_people(people_path) if people_path.exists() else {}
    return Reading(state.preset, state.renames, state.columns, people, state.now, state.dates)


async def preview(state: FileImport, path: Path, people_path: Path, beat: ImportBeat) -> None:
    """Read the whole file, and say what is in it. Raises FileFault, OSError, Stopped."""
    head = _read_head(path)
    if state.preview is None:  # for the first time
        _guess(state, head)
    shown = state.preview = FilePreview(columns=_list_examples(head), is_table=any(record.is_row for record in head))
    reading = make_reading(state, people_path)
    state.people = len(reading.people)
    figures = ImportPreview()
    with TextFile(path) as file:
        for number, line in enumerate(read_history(file, reading, lambda _: _count_identity(state), _skips(state))):
            figures.add(line)
            if number < ROWS:
                shown.rows.append(_make_row(line))
            if number % BREATHS == 0:
                state.share = file.share
                _take_figures(state, shown, figures)
                await beat.tick()
                await asyncio.sleep(0)
    state.share = 1.0
    _take_figures(state, shown, figures)


def note_fault(state: FileImport, number: int, reason: str) -> None:
    """Count a line that can't be used, and keep the first of them."""
    state.refused += 1
    if len(state.faults) < MOST_FAULTS:
        state.faults.append(LineFault(number, _explain(reason)))


def _explain(reason: str) -> str:
    """A reason in the words of the page, which has no options."""
    return NO_TIME_HERE if reason == NO_TIME else reason


def _skips(state: FileImport) -> Counter[str]:
    state.skipped = Counter()
    return state.skipped


def _count_identity(state: FileImport) -> None:
    state.identities += 1


def _read_head(path: Path) -> list[Record]:
    """The first records, whatever they hold."""
    with TextFile(path) as file:
        return list(islice(read_records(file, Columns((), FIELDS)), ROWS))


def _guess(state: FileImport, head: list[Record]) -> None:
    fields = next((record.fields for record in head if record.fields), {})
    state.preset = guess_preset(fields)
    if state.preset is None and any(record.is_row for record in head):
        state.columns = guess_columns(fields)


def _list_examples(head: list[Record]) -> dict[str, str]:
    """The columns, each with the first value that it has."""
    examples: dict[str, str] = {}
    for record in head:
        for name, value in (record.fields or {}).items():
            if name and (name in examples or len(examples) < MOST_COLUMNS):
                examples[name] = examples.get(name) or _text(value)
    return examples


def _take_figures(state: FileImport, shown: FilePreview, figures: ImportPreview) -> None:
    shown.events, shown.first, shown.last = figures.events, figures.first, figures.last
    shown.names = figures.names.most_common(SHOWN_NAMES)
    shown.more_names = max(len(figures.names) - SHOWN_NAMES, 0)
    shown.unresolved, shown.users = figures.unresolved, len(figures.users)
    state.refused = figures.refusals
    state.faults = [LineFault(line.number, _explain(line.fault)) for line in figures.refused[:MOST_FAULTS]]


def _make_row(line: FileLine) -> PreviewRow:
    if line.event is None:
        return PreviewRow(line.number, fault=_explain(line.fault))
    event = line.event
    customer = event.get("customer_email") or f"user id {event.get('user_id')}"
    properties = event.get("properties")
    shown = msgspec.json.encode(properties).decode() if properties else ""
    return PreviewRow(
        line.number, _text(event["event"]), _text(customer), _text(event.get("timestamp") or "now"), _text(shown)
    )


def _text(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]}…"
