"""Reads a file of another product's history as events: converted, renamed, and with the addresses of known people."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from api.history.conversion import Converted
from api.history.event_files import COLUMNS, FileLine, check_event, to_event
from api.history.presets import PRESETS
from api.history.records import Columns, Record, read_records, write_usual
from api.history.text_files import TextFile
from api.history.times import Dates
from api.identities.rules import find_faults as find_identity_faults

Json = dict[str, Any]
SaveIdentity = Callable[[Json], None]


class Reading(NamedTuple):
    """The way to read files: the product they come from, other names of events and columns, the addresses of user ids,
    `now` for events without a time, and the order in dates like 3/4/2025."""

    preset: str | None = None
    renamed: Mapping[str, str] = {}
    columns: Mapping[str, str] = {}
    people: Mapping[str, str] = {}
    now: bool = False
    dates: Dates | None = None


def read_history(file: TextFile, reading: Reading, save: SaveIdentity, skipped: Counter[str]) -> Iterator[FileLine]:
    """The events of a file, and the lines that can't be used. `save` takes its identities; `skipped` counts what needs
    no mending. Raises FileFault, OSError."""
    for record in read_records(file, _find_columns(reading)):
        line = _read_line(record, reading, save, skipped)
        if line is not None:
            yield line


def _find_columns(reading: Reading) -> Columns:
    """The columns that a CSV must name, under the names that it has."""
    columns = PRESETS[reading.preset].columns if reading.preset else COLUMNS
    theirs = {name: reading.columns.get(name, name) for name in (*columns.required, *columns.instead.values())}
    instead = {theirs[name]: theirs[other] for name, other in columns.instead.items()}
    mapped = {write_usual(name): name for name in reading.columns.values()}
    known = [name for name in columns.known if write_usual(name) not in mapped]
    return Columns([theirs[name] for name in columns.required], [*known, *mapped.values()], instead)


def _read_line(record: Record, reading: Reading, save: SaveIdentity, skipped: Counter[str]) -> FileLine | None:
    if record.fields is None:
        return FileLine(record.number, None, record.fault)
    try:
        converted = _convert(_rename_columns(record, reading.columns), reading)
    except ValueError as error:
        return FileLine(record.number, None, str(error))
    if converted.skipped:
        skipped[converted.skipped] += 1
    if converted.identity and next(find_identity_faults(converted.identity, time.time()), None) is None:
        save(converted.identity)
    if converted.event is None:
        return None
    return check_event(record.number, _finish_event(converted.event, reading), now=reading.now)


def _convert(record: Record, reading: Reading) -> Converted:
    assert record.fields is not None
    if reading.preset is None:
        return Converted(event=to_event(record, reading.dates))
    return PRESETS[reading.preset].convert(record.fields)


def _rename_columns(record: Record, columns: Mapping[str, str]) -> Record:
    if not columns:
        return record
    fields = record.fields or {}
    ours = {name: fields[theirs] for name, theirs in columns.items() if theirs in fields}
    others = {name: value for name, value in fields.items() if name not in columns.values()}
    return record._replace(fields=others | ours)


def _finish_event(event: Json, reading: Reading) -> Json:
    name, user_id = event.get("event"), event.get("user_id")
    if isinstance(name, str) and name in reading.renamed:
        event = {**event, "event": reading.renamed[name]}
    if not reading.people or event.get("customer_email"):
        return event
    email = reading.people.get(user_id) if isinstance(user_id, str) else None
    if email is None:
        return event
    return {"customer_email": email, **{field: value for field, value in event.items() if field != "user_id"}}
