"""Customers as CSV (RFC 4180), row by row, for spreadsheets."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import islice
from typing import Any, LiteralString, NamedTuple

from psycopg.rows import dict_row
from starlette.requests import Request

from api.database import refusing
from api.reading.common import score_of
from api.reading.merging import merge_rows
from workers.cells import Cell
from workers.store import presence

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
FORMULA = re.compile(r"[\s\ufeff\u200b]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")  # begins a formula; \uff…: wide ones


class ExportOrder(NamedTuple):
    """The column by which the rows are in order, and the direction."""

    column: str
    descending: bool


def write_lines(
    cells: Sequence[Cell], query: LiteralString, parameters: Mapping[str, Any], order: ExportOrder
) -> Iterator[bytes]:
    """Yields the file in pieces, of each cell as of one moment. Holds connections until the end. Raises Refused before
    the first piece if a cell can't be read, or is being divided or moved."""
    with ExitStack() as stack:
        rows = [_read_rows(stack, cell, query, parameters) for cell in cells]
        merged = merge_rows(rows, (order.column, "customer_id"), descending=order.descending)
        yield _piece([COLUMNS, *(_cells(row) for row in islice(merged, ROWS))])
        while piece := list(islice(merged, ROWS)):
            yield _piece([_cells(row) for row in piece])


def _read_rows(
    stack: ExitStack, cell: Cell, query: LiteralString, parameters: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """The rows of a cell, as of now; later changes of the cell play no part."""
    with refusing(cell):
        connection = stack.enter_context(presence.look(cell))
        connection.autocommit = False  # a transaction that may end though the cell has moved meanwhile
        cursor = stack.enter_context(connection.cursor(name="export", row_factory=dict_row))
        cursor.itersize = ROWS
        cursor.execute(query, parameters)
        presence.confirm(connection, cell)
    return iter(cursor)


def byte_order_mark(request: Request) -> bytes:
    """The mark that spreadsheets know UTF-8 by, if `bom=true` asks for it, as the pages' own links do."""
    return codecs.BOM_UTF8 if request.query_params.get("bom") == "true" else b""


def guard(cell: str) -> str:
    """Puts an apostrophe before text that a spreadsheet would run as a formula."""
    return f"'{cell}" if FORMULA.match(cell) else cell


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
