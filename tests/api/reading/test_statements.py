"""A query that is put once for each cell: its tables and functions, and nothing else, are those of the cell."""

import re

import pytest
from pglast import parse_sql, prettify
from pglast.visitors import Visitor

from api.reading.customer_filter import list_query
from api.reading.statements import changes, join_cells, number_parameters
from tests.api.reading.test_merging import FETCHES
from tests.workers.store.test_home import CELL, FILTERS, PASTS
from workers.cells import Cell
from workers.store import sql
from workers.store.home import EVERYWHERE

CELLS = tuple(Cell("", "", number, 3) for number in range(3))
LISTS = {
    f"list of {name}, {past}": list_query(1, chosen, None, 2, {"since": past, "then": past})[0]
    for name, chosen in FILTERS.items()
    for past in PASTS
}
READ: dict[str, str] = {name: sql(name) for _, name in FETCHES if not changes(sql(name))} | LISTS
PART = re.compile(r"SELECT read\.\*, 0 AS cell_place FROM \(\n(.*)\n\) AS read\n\) AS rows", re.DOTALL)


class Tables(Visitor):
    """The names that a statement reads from, with their schemas, and those that it defines itself."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[tuple[str | None, str]] = set()
        self.defined: set[str] = set()

    def visit_RangeVar(self, _: object, node: object) -> None:  # noqa: N802
        self.names.add((node.schemaname, node.relname))  # type: ignore[attr-defined]

    def visit_CommonTableExpr(self, _: object, node: object) -> None:  # noqa: N802
        self.defined.add(node.ctename)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", READ)
def test_all_tables_are_those_of_the_cell(name: str) -> None:
    statement = number_parameters(READ[name])
    joined = join_cells(READ[name], CELLS[1:2])
    assert joined.names == statement.names
    match = PART.search(joined.text)
    assert match
    tables = Tables()
    tables(parse_sql(match[1]))
    bare = {table for schema, table in tables.names if schema is None} - tables.defined
    assert not bare & (CELL | EVERYWHERE)
    assert {schema for schema, _ in tables.names} <= {None, "cell_001"}
    assert prettify(match[1].replace("cell_001.", "")) == prettify(statement.text)
    assert not re.search(r"(?<!\.)\bstanding\(", match[1])


def test_each_cell_is_asked_and_confirmed() -> None:
    text = join_cells(sql("knows_event"), CELLS).text
    for cell in CELLS:
        assert f"FROM {cell.schema}.event_days" in text
        assert f"FROM {cell.schema}.installation WHERE number = {cell.number} AND cells = 3" in text


def test_what_writes_is_not_joined() -> None:
    assert changes(sql("redeliver"))
    assert not changes(sql("list_customers"))
