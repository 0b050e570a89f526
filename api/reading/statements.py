"""Statements over the cells of one database: a query is put once for each cell, with the names of that cell's tables.

The statement fails unless all tables are those of their cells, in the snapshot that it reads: so its rows are those of
whole cells, though cells may be divided or moved at any time.

To plan it takes longer than to read a page, as it is planned once for each cell. So values that are few, and say which
plan is a good one, are written into the text; where all others are mere keys, a plan is good for any of them, and kept.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from api.reading.merging import Row, add_up, put_in_order
from workers import store
from workers.cells import Cell

SELECT = "SELECT"  # of statements that are put together here
BREAK = "\n-- of all cells:\n"
PARAMETER = re.compile(r"%\((\w+)\)s|%%")
CHANGES = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM)\b")
CTE = re.compile(r"\b(\w+) AS (?:NOT )?(?:MATERIALIZED )?\(")
WRITTEN_NUMBERS = {"limit", "looked_up"}
WRITTEN_WORDS = {"levels", "states"}  # lists of words of ours
KEYS = {  # parameters that are looked up in an index: one plan suits all their values
    *("account_id", "customer_id", "event", "names", "alert_id", "erasure_id"),
    *("value", "occurred_at", "event_key", "hour", "after_at", "after_id", "most"),
    *("customer_ids", "hours", "limits", "cells", "first_day"),
}
ENDS = {"since", "until"}  # of days, which are next to each other in an index: of an event, or of an account
RANGE = {*ENDS, "interval"}

_schema: Final = Path(store.__file__).with_name("schema.sql").read_text()
_tables: Final = "|".join(re.findall(r"^CREATE TABLE (\w+)", _schema, re.MULTILINE))
_functions: Final = "|".join(re.findall(r"^CREATE FUNCTION (\w+)", _schema, re.MULTILINE))
NAME: Final = re.compile(rf"(?<=\bFROM )({_tables})\b|(?<=\bJOIN )({_tables})\b|(?<=')({_tables})(?='::regclass)")
FUNCTION: Final = re.compile(rf"\b({_functions})(?=\()")


class NumberedStatement(NamedTuple):
    """A statement in Postgres' own form, and the names of its parameters $1, $2 and so on."""

    text: str
    names: tuple[str, ...]
    keeps_plan: bool = False

    def values(self, parameters: Mapping[str, Any]) -> list[Any]:
        """Returns the parameters in their order."""
        return [parameters[name] for name in self.names]


class Order(NamedTuple):
    """The first rows of all cells, as many as the query's parameter `limit` says, in an order in which those of each
    cell are: by these columns, of which the first one's null counts as 0 where `null_is_zero`."""

    keys: tuple[str, ...]
    descending: bool = False
    null_is_zero: bool = False

    @property
    def columns(self) -> str:
        """The columns of the merged rows, in SQL."""
        return "rows.*"

    @property
    def ending(self) -> str:
        """The end of the statement that merges."""
        first, *others = self.keys
        keys = [f"coalesce({first}, 0)" if self.null_is_zero else first, *others]
        direction = " DESC" if self.descending else ""
        return f"ORDER BY {', '.join(key + direction for key in keys)} LIMIT %(limit)s"

    def merge(self, lists: Sequence[list[Row]], parameters: Mapping[str, Any]) -> list[Row]:
        """Returns what the statement would."""
        return put_in_order(lists, self.keys, parameters["limit"], descending=self.descending)


class Sums(NamedTuple):
    """A row for each combination of the keys, in their order, with the sums of whole numbers over all cells, the
    earliest of `first` and the latest of `last`."""

    keys: tuple[str, ...]
    summed: tuple[str, ...]
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()

    @property
    def columns(self) -> str:
        """The columns of the merged rows, in SQL."""
        sums = [f"sum({name})::bigint AS {name}" for name in self.summed]
        ends = [f"min({name}) AS {name}" for name in self.first] + [f"max({name}) AS {name}" for name in self.last]
        return ", ".join([*self.keys, *sums, *ends])

    @property
    def ending(self) -> str:
        """The end of the statement that merges."""
        keys = ", ".join(self.keys)
        return f"GROUP BY {keys} ORDER BY {keys}"

    def merge(self, lists: Sequence[list[Row]], _: Mapping[str, Any]) -> list[Row]:
        """Returns what the statement would."""
        return add_up(lists, self.keys, **dict.fromkeys(self.first, min), **dict.fromkeys(self.last, max))


Merging = Order | Sums


def changes(query: str) -> bool:
    """Returns whether a query writes."""
    return bool(CHANGES.search(query))


@lru_cache(maxsize=1000)
def number_parameters(query: str) -> NumberedStatement:
    """Returns a query of psycopg's form with numbered parameters."""
    names: dict[str, int] = {}

    def number(parameter: re.Match[str]) -> str:
        name = parameter[1]
        return f"${names.setdefault(name, len(names) + 1)}" if name else "%"

    text = PARAMETER.sub(number, query)
    return NumberedStatement(text, tuple(names))


def join_cells(
    query: str, cells: Sequence[Cell], merging: Merging | None = None, parameters: Mapping[str, Any] | None = None
) -> NumberedStatement:
    """Returns a statement with the rows of these cells, of one database: merged, or with the place of the cell among
    them as their last column. Some of the parameters are written in."""
    written = ((name, _write(name, value)) for name, value in (parameters or {}).items())
    return _join(query, tuple(cells), merging, tuple((name, text) for name, text in written if text))


@lru_cache(maxsize=1000)
def _join(
    query: str, cells: Sequence[Cell], merging: Merging | None, written: Sequence[tuple[str, str]]
) -> NumberedStatement:
    texts: dict[str | None, str] = dict(written)
    text = f"{query}{BREAK}{merging.ending if merging else ''}"
    named = number_parameters(PARAMETER.sub(lambda parameter: texts.get(parameter[1], parameter[0]), text))
    query, _, ending = named.text.partition(BREAK)
    rows = "\nUNION ALL\n".join(
        _select("read.*" if merging else f"read.*, {place} AS cell_place", _qualify(query, cell), "read")
        for place, cell in enumerate(cells)
    )
    merged = _select(merging.columns if merging else "rows.*", rows, "rows")
    text = f"{merged}\nWHERE ({_count_right(cells)}) = 1\n{ending}"
    return NumberedStatement(text, named.names, _is_look_up(set(named.names)))


def _is_look_up(names: set[str]) -> bool:
    """Returns whether a plan is good for any value of these parameters."""
    return names <= KEYS | (RANGE if names >= ENDS else set())


def _write(name: str, value: Any) -> str | None:
    """A value as a literal without a type, as a parameter has none; None where it stays a parameter."""
    if value is None:
        return "NULL"
    if isinstance(value, bool) or name in WRITTEN_NUMBERS:
        return f"'{value:d}'"
    if name in WRITTEN_WORDS and all(map(str.isalpha, value)):
        return f"'{{{','.join(value)}}}'"
    return None


def _select(columns: str, query: str, name: str) -> str:
    """A query of what another one returns."""
    return f"{SELECT} {columns} FROM (\n{query}\n) AS {name}"


def _qualify(query: str, cell: Cell) -> str:
    """A query with the schema of a cell before the names of its tables and functions."""
    ctes = set(CTE.findall(query))
    schema = cell.schema

    def name(match: re.Match[str]) -> str:
        return match[0] if match[0] in ctes else f"{schema}.{match[0]}"

    return FUNCTION.sub(rf"{schema}.\1", NAME.sub(name, query))


def _count_right(cells: Sequence[Cell]) -> str:
    """A query that returns 1 where all these cells have tables of their own numbers, and fails where one has others."""
    right = "\nUNION ALL\n".join(
        f"{SELECT} FROM {cell.schema}.installation WHERE number = {cell.number} AND cells = {cell.cells}"
        for cell in cells
    )
    return _select(f"1 / (count(*) / {len(cells)})", right, "numbered")
