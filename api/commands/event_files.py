"""Files of events: CSV and NDJSON, plain or .gz, line by line."""

import csv
import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

FIELDS = ("event", "customer_email", "timestamp", "properties", "event_id")

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Line(NamedTuple):
    """A line of a file: its number, and the event on it, or why there is none."""

    number: int
    event: dict[str, Any] | None
    fault: str = ""


def is_csv(path: Path) -> bool:
    """Whether a file is CSV by its name; everything else is NDJSON."""
    return ".csv" in (suffix.lower() for suffix in path.suffixes)


def lines(path: Path) -> Iterator[Line]:
    """The lines of a file that are not blank. Raises OSError, EOFError, ValueError where it can't be read at all."""
    with opened(path) as file:
        yield from (_csv_lines if is_csv(path) else _json_lines)(file)


def opened(path: Path) -> IO[str]:
    """A text file, plain or .gz, with or without a byte order mark."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _json_lines(file: IO[str]) -> Iterator[Line]:
    for number, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            yield Line(number, _decode(text))
        except (ValueError, RecursionError) as error:
            yield Line(number, None, f"not a JSON object: {error}")


def _csv_lines(file: IO[str]) -> Iterator[Line]:
    rows = csv.DictReader(file)
    if missing := [name for name in FIELDS[:2] if name not in (rows.fieldnames or ())]:
        raise ValueError(f"the first line of the CSV file must name the columns {' and '.join(missing)}")
    for row in rows:
        try:
            yield Line(rows.line_num, csv_event(row))
        except ValueError as error:
            yield Line(rows.line_num, None, str(error))


def csv_event(row: dict[str | None, Any]) -> dict[str, Any]:
    """A row as an event: a column `properties` holds JSON, any other column that is no field is a property."""
    if None in row:
        raise ValueError("more cells than columns")
    event = {name: row[name] for name in FIELDS if name != "properties" and row.get(name)}
    properties: dict[str, Any] = {}
    if given := row.get("properties"):
        try:
            properties = _decode(given)
        except (ValueError, RecursionError):
            raise ValueError("the column properties is not a JSON object") from None
    others = {str(name): _number(cell) for name, cell in row.items() if name not in FIELDS and cell}
    return event | ({"properties": properties | others} if properties or others else {})


def _number(cell: str) -> Any:
    """A cell as the number that it spells, or else as text: 007 and 1e5 are."""
    if re.fullmatch(r"-?(0|[1-9]\d{0,14})", cell):
        return int(cell)
    if re.fullmatch(r"-?(0|[1-9]\d{0,14})\.\d{1,15}", cell):
        return float(cell)
    return cell
