"""Files of events for `import` and `backtest`: the same reader, and the rules of the track route, for both."""

import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import msgspec

from api.history.conversion import read_amount
from api.history.records import Columns, Record, read_records
from api.history.text_files import FileFault, TextFile
from api.history.times import SLASHES, Dates, read_time
from api.track.rules import FIELDS, find_faults

COLUMNS = Columns(("event", "customer_email"), FIELDS, {"customer_email": "user_id"})
NAMES = ("feature", "plan", "page")  # properties that are names: a plan 2.0 is text
NUMBERS = ("amount", "mrr", "duration_seconds", "score")  # properties that are numbers: an amount 49.00 is 49
MONEY = re.compile(
    r"\d{1,3}(?:(?P<thousands>[,. \u00a0])\d{3}(?:(?P=thousands)\d{3})*)?(?!(?P=thousands))[,.]\d{2}"
)  # 1,234.50 or 399,00
TIME_NAMES = re.compile(r"(?i)(.*[_ ])?(time|date|timestamp|ts|at|when|day|datetime)|occurredat|createdat|senttime")
UNDATED = "it has no timestamp"
NO_TIME = f"{UNDATED}; give it one, or date such events to now with --now"

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class FileLine(NamedTuple):
    """A line of a file: its number, and the event on it, or why there is none."""

    number: int
    event: dict[str, Any] | None
    fault: str = ""


Convert = Callable[[Record], dict[str, Any]]  # raises ValueError with a reason


def read_events(
    file: TextFile,
    *,
    now: bool = False,
    columns: Columns = COLUMNS,
    convert: Convert | None = None,
    no_time: str = NO_TIME,
    dates: Dates | None = None,
) -> Iterator[FileLine]:
    """The events of a file, and the lines that hold none. With `now`, an event without a timestamp happens now; else
    `no_time` says why there is none. `dates` is the order in 3/4/2025.

    Raises FileFault where the file can't be read any further, OSError.
    """
    for record in read_records(file, columns):
        if convert is None and not now and record.is_row:
            _check_time_column(record, no_time)
        yield read_event(record, convert or partial(to_event, dates=dates), now=now, no_time=no_time)


def read_event(record: Record, convert: Convert, *, now: bool, no_time: str = NO_TIME) -> FileLine:
    """The event of a record, if it keeps the rules of the track route."""
    if record.fields is None:
        return FileLine(record.number, None, record.fault)
    try:
        event = convert(record)
    except ValueError as error:
        return FileLine(record.number, None, str(error))
    return check_event(record.number, event, now=now, no_time=no_time)


def check_event(number: int, event: dict[str, Any], *, now: bool, no_time: str = NO_TIME) -> FileLine:
    """The line of this event, or of its first fault by the rules of the track route."""
    fault = next(find_faults(event, time.time()), None)
    timestamp = event.get("timestamp")
    if fault is not None:
        if fault.field == "timestamp" and isinstance(timestamp, str):
            return FileLine(number, None, _explain_time(timestamp, fault.message))
        return FileLine(number, None, fault.message)
    if timestamp is None and not now:
        return FileLine(number, None, no_time)
    return FileLine(number, event)


def _explain_time(timestamp: str, fault: str) -> str:
    if SLASHES.fullmatch(timestamp):
        return f"`timestamp` is {timestamp[:40]!r}; say if the day or the month comes first."
    return f"{fault} Here it is {timestamp[:40]!r}."


def to_event(record: Record, dates: Dates | None = None) -> dict[str, Any]:
    """A record with our own field names as an event; `dates` is the order in 3/4/2025. Raises ValueError.

    In a row a column `properties` holds JSON, and any other column that is no field is a property.
    """
    assert record.fields is not None
    event = _read_row(record.fields) if record.is_row else record.fields
    timestamp = event.get("timestamp")
    return {**event, "timestamp": read_time(timestamp, dates)} if timestamp else event


def _read_row(fields: dict[str, Any]) -> dict[str, Any]:
    cells = {name: cell for name, cell in fields.items() if name and cell}
    event = {name: cells[name] for name in FIELDS if name != "properties" and name in cells}
    properties = _read_properties(cells.get("properties", "{}"))
    properties |= {name: to_value(name, cell) for name, cell in cells.items() if name not in FIELDS}
    return event | ({"properties": properties} if properties else {})


def to_value(name: str, cell: str) -> Any:
    """A cell as the number that is written exactly so, or else as text: 007, 1.10, 2.0, -0 and 1e5 are text, except in
    a property that is a number."""
    if name.casefold() in NAMES:
        return cell
    if name.casefold() in NUMBERS and re.fullmatch(r"-?\d{1,15}\.\d{1,15}", cell):
        return float(cell)
    if name.casefold() == "amount" and MONEY.fullmatch(cell):
        return read_amount(cell)
    if re.fullmatch(r"0|-?[1-9]\d{0,14}", cell):
        return int(cell)
    if re.fullmatch(r"-?(0|[1-9]\d{0,14})\.\d{0,14}[1-9]", cell) and repr(float(cell)) == cell:
        return float(cell)
    return cell


def _read_properties(cell: str) -> dict[str, Any]:
    try:
        return _decode(cell)
    except (ValueError, RecursionError):
        raise ValueError("the column properties is not a JSON object") from None


def _check_time_column(record: Record, no_time: str) -> None:
    """Raises FileFault if a CSV file has no column `timestamp` at all."""
    assert record.fields is not None
    if "timestamp" in record.fields:
        return
    likely = next((name for name in record.fields if TIME_NAMES.fullmatch(name)), None)
    hint = f"rename the column {likely}" if likely else "add it"
    hint += ", or date all events to now with --now" if no_time == NO_TIME else ""
    raise FileFault(f"the header names no column timestamp: {hint}", 1)
