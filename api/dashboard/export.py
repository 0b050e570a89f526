"""Customers as CSV (RFC 4180), row by row, for spreadsheets."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, LiteralString

from api.reading.common import score_of
from workers.store import Connection

ROWS = 500  # a piece
COLUMNS = (
    "email",
    "score",
    "score_14_days_ago",
    "level",
    "state",
    "reason",
    "plan",
    "company",
    "mrr",
    "currency",
    "mrr_at_risk",
    "first_seen",
    "last_seen",
    "last_active",
    "open_tickets",
    "overdue_since",
    "nps",
    "strategy",
    "urgency",
    "advice",
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet starts a formula with one of these


def write_lines(
    connected: Callable[[], Connection], query: LiteralString, parameters: Mapping[str, Any]
) -> Iterator[bytes]:
    """Yields the file in pieces, as of one moment. Holds a connection until the end."""
    with connected() as connection, connection.transaction(), connection.cursor(name="export") as cursor:
        cursor.itersize = ROWS
        cursor.execute(query, parameters)
        names = [column.name for column in cursor.description or ()]
        yield _piece([COLUMNS])
        while rows := cursor.fetchmany(ROWS):
            yield _piece([_cells(dict(zip(names, row, strict=True))) for row in rows])


def guard(cell: str) -> str:
    """Puts an apostrophe before text that a spreadsheet would run as a formula."""
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
        "score_14_days_ago": None if row["risk_before"] is None else score_of(row["risk_before"]),
        "last_seen": row["last_event"],
        "urgency": row["advice_urgency"],
        "advice": row["why"],
    }
    return [_cell(cells[name]) for name in COLUMNS]


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return guard(value) if isinstance(value, str) else value
