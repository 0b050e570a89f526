"""Home and cells stay apart: each statement touches the tables of one of them."""

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pglast import parse_sql
from pglast.visitors import referenced_relations

from api.reading.customer_filter import SORTS, CustomerFilter, list_query
from api.reading.past import Past
from tests.workers.store.test_store import NAMES, ROOT
from workers.store import sql
from workers.store.home import EVERYWHERE, HOME

SCHEMA = (ROOT / "workers/store/schema.sql").read_text()
STATEMENTS: list[Any] = [raw.stmt for raw in parse_sql(SCHEMA)]
TABLES = frozenset(re.findall(r"^CREATE TABLE (\w+)", SCHEMA, re.MULTILINE))
CELL = TABLES - HOME - EVERYWHERE
TEMPORARY = frozenset(
    name for query in NAMES for name in re.findall(r"CREATE TEMPORARY TABLE IF NOT EXISTS (\w+)", sql(query))
)
PARTS = frozenset(  # see list_query
    {
        "list_customers",
        "first_customers",
        "filter_customers",
        "search_customers",
        "risk_since",
        "level_then",
        "level_restated",
        "look_up",
    }
    | {"risks_in_pass", "restated_in_pass", "risk_in_pass", "level_in_pass", "level_fraction", "is_latest_in_pass"}
)
PASTS = [Past(has_changed, is_large) for has_changed in (False, True) for is_large in (False, True)]
LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)
FILTERS = {
    "everybody": CustomerFilter(),
    "a search": CustomerFilter(part="jane"),
    "a rise": CustomerFilter(risen=0.2, since=LONG_AGO),
    "a level of then": CustomerFilter(then=("high", LONG_AGO)),
    **{sort: CustomerFilter(sort=sort) for sort in SORTS},
}
STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|COPY|TRUNCATE|MERGE|LOCK)\s")


def tables_of(statement: str) -> set[str]:
    """The tables that a statement touches; marks for parameters are as psycopg has them, `{}` is a customer's table."""
    plain = re.sub(r"%(\(\w+\))?[sbt]", "$1", statement).replace("{}", "customers")
    plain = re.sub(r"FOR UPDATE OF \w+", "FOR UPDATE", plain)  # that is an alias
    return {name for name in referenced_relations(plain) if not name.startswith(("pg_", "information_schema."))}


def places_of(statement: str) -> set[str]:
    """The places of a statement's tables: home, cell. Fails if it touches an unknown table."""
    tables = tables_of(statement)
    assert tables <= TABLES | TEMPORARY
    return {name for name, there in (("home", HOME), ("cell", CELL | TEMPORARY)) if tables & there}


def sql_in(path: Path) -> Iterator[str]:
    """The statements that stand in the code of a module itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and STATEMENT.match(node.value):
            yield node.value


def test_the_places_of_a_statement_are_found() -> None:
    both = "WITH known AS (SELECT FROM accounts WHERE name = %(name)s) DELETE FROM customers USING known"
    assert places_of(both) == {"home", "cell"}
    assert places_of("SELECT %(one)s") == set()


def test_the_tables_of_home_exist() -> None:
    assert HOME | EVERYWHERE <= TABLES
    assert not HOME & EVERYWHERE


@pytest.mark.parametrize("name", sorted(set(NAMES) - PARTS))
def test_a_query_touches_home_or_a_cell(name: str) -> None:
    assert len(places_of(sql(name))) <= 1


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("past", PASTS)
def test_a_list_of_customers_touches_a_cell(name: str, past: Past) -> None:
    statement, _ = list_query(1, FILTERS[name], pasts={"since": past, "then": past})
    assert places_of(statement) == {"cell"}


def test_a_statement_in_the_code_touches_home_or_a_cell() -> None:
    paths = [path for folder in ("api", "workers") for path in (ROOT / folder).rglob("*.py")]
    statements = [statement for path in paths for statement in sql_in(path)]
    assert [statement for statement in statements if len(places_of(statement)) > 1] == []
    assert len(statements) > 3


def test_no_table_of_a_cell_refers_to_one_of_home() -> None:
    """Nor the other way round: a foreign key needs both on one server."""
    references = {
        (statement.relation.relname, constraint.pktable.relname)
        for statement in STATEMENTS
        if type(statement).__name__ == "CreateStmt"
        for element in statement.tableElts or ()
        for constraint in getattr(element, "constraints", None) or ()
        if constraint.pktable
    }
    assert references
    assert [(table, other) for table, other in references if (table in HOME) != (other in HOME)] == []


def test_functions_touch_cells_alone() -> None:
    functions = [statement for statement in STATEMENTS if type(statement).__name__ == "CreateFunctionStmt"]
    assert functions
    assert [table for function in functions for table in referenced_relations(function) if table in HOME] == []
