"""A query that is put once for each cell: its tables and functions, and nothing else, are those of the cell."""

import re
from datetime import UTC, datetime
from uuid import UUID

import pytest
from pglast import parse_sql, prettify
from pglast.visitors import Visitor

from api.reading.customer_filter import CustomerFilter, list_query, order_of
from api.reading.statements import NumberedStatement, changes, join_cells, number_parameters
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


def join_list(chosen: CustomerFilter, **parameters: object) -> NumberedStatement:
    """The statement of a list of all cells."""
    query, usual = list_query(1, chosen, limit=51)
    return join_cells(query, CELLS, order_of(chosen.sort), {**usual, **parameters})


def test_values_that_are_few_are_written_in() -> None:
    """The size of a page and words of ours: with them a plan that is kept is as good as one that is made anew."""
    statement = join_list(CustomerFilter(levels=("high", "critical"), states=("new",)))
    assert statement.names == ("account_id",)
    assert statement.text.count("LIMIT '51'") == len(CELLS) + 1
    assert "= ANY ('{high,critical}')" in statement.text
    assert "('1' OR (customers.probability" in statement.text


def test_only_words_of_ours_are_written_in() -> None:
    assert "levels" in join_list(CustomerFilter(), levels=["high'"]).names
    assert "plan" in join_list(CustomerFilter(plan="pro")).names


@pytest.mark.parametrize("sort", ["-risk", "email", "-urgency"])
def test_a_plan_is_kept_where_keys_alone_are_looked_up(sort: str) -> None:
    assert join_list(CustomerFilter(sort)).keeps_plan
    assert join_list(CustomerFilter(sort), first=False, value=0.5, customer_id=UUID(int=1)).keeps_plan
    assert join_cells(sql("find_customer"), CELLS[:1], None, {"customer_id": UUID(int=1)}).keeps_plan
    assert join_cells(sql("event_series"), CELLS).keeps_plan


@pytest.mark.parametrize(
    "chosen",
    [
        CustomerFilter(prefix="c"),
        CustomerFilter(part="c"),
        CustomerFilter(plan="pro"),
        CustomerFilter(company="Firm"),
        CustomerFilter(risen=0.2),
        CustomerFilter(lapsed_since=datetime.now(UTC)),
    ],
)
def test_a_plan_is_made_anew_where_it_depends_on_what_is_looked_for(chosen: CustomerFilter) -> None:
    assert not join_list(chosen).keeps_plan


def test_the_plan_of_a_range_is_kept_but_not_of_what_was_since_a_moment() -> None:
    assert join_cells(sql("count_account_events"), CELLS, None, {"limit": 1}).keeps_plan
    assert not join_list(CustomerFilter(since=datetime.now(UTC))).keeps_plan
    assert not join_cells(sql("daily_counts"), CELLS).keeps_plan


def test_what_writes_is_not_joined() -> None:
    assert changes(sql("redeliver"))
    assert not changes(sql("list_customers"))
