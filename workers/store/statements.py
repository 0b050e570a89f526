"""The named queries of queries/*.sql, and the rows they return."""

import re
from functools import cache
from pathlib import Path
from typing import LiteralString, cast

import psycopg
from psycopg.rows import TupleRow


class QueryMissing(KeyError):
    """No query of this name stands in queries/*.sql."""


class RowMissing(LookupError):
    """A query that always returns a row returned none: it is a fault of ours."""


def sql(name: str) -> LiteralString:
    """Returns the query that stands under `-- name: NAME`, with its comment, in one of queries/*.sql."""
    try:
        return _read_queries()[name]
    except KeyError:
        raise QueryMissing(name) from None


def only_row(result: psycopg.Cursor[TupleRow]) -> TupleRow:
    """Returns the row of a result that has exactly one. Raises RowMissing."""
    row = result.fetchone()
    if row is None:
        raise RowMissing
    return row


@cache
def _read_queries() -> dict[str, LiteralString]:
    queries: dict[str, LiteralString] = {}
    for path in sorted(Path(__file__).with_name("queries").glob("*.sql")):
        parts = re.split(r"^-- name: (\w+)\n", path.read_text(), flags=re.MULTILINE)
        texts = cast(list[LiteralString], [text.strip() for text in parts[2::2]])
        queries.update(zip(parts[1::2], texts, strict=True))
    return queries
