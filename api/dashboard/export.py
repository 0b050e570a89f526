"""Customers as CSV (RFC 4180), row by row, for spreadsheets."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, LiteralString

from api.reading.common import score_of
from workers.store import Connection

ROWS = 500  # a piece
HEAD = (
    "email",
    "score",
    "level",
    "state",
    "reason",
    "plan",
    "first_seen",
    "last_seen",
    "open_tickets",
    "overdue_since",
    "nps",
    "strategy",
    "urgency",
    "advice",
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of one


def lines(connected: Callable[[], Connection], query: LiteralString, parameters: Mapping[str, Any]) -> Iterator[bytes]:
    """The file in pieces; all of it as of one moment. It holds a connection until it ends."""
    with connected() as connection, connection.transaction(), connection.cursor(name="export") as cursor:
        cursor.itersize = ROWS
        cursor.execute(query, parameters)
        names = [column.name for column in cursor.description or ()]
        yield _piece([HEAD])
        while rows := cursor.fetchmany(ROWS):
            yield _piece([_cells(dict(zip(names, row, strict=True))) for row in rows])


def guarded(cell: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe goes before what could be one."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _piece(rows: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _cells(row: Mapping[str, Any]) -> list[Any]:
    scored = row["level"] is not None
    cells = {
        **row,
        "score": score_of(row["probability"]) if scored else None,
        "last_seen": row["last_event"],
        "advice": row["why"],
    }
    return [_cell(cells[name]) for name in HEAD]


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return guarded(value) if isinstance(value, str) else value
