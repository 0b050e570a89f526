"""Queries keep to what an extension that places tables on other servers carries out, too."""

import re
from typing import Any

import pytest
from pglast import ast, parse_sql
from pglast.visitors import Visitor

from tests.workers.store.test_home import PARTS, SCHEMA
from tests.workers.store.test_store import NAMES
from workers.store import sql

UNSTABLE = {"now", "clock_timestamp", "extract", "date_trunc", "pg_current_xact_id", "gen_random_uuid"}


class Calls(Visitor):
    """The functions that are called in a part of a statement."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def visit_FuncCall(self, _: Any, call: Any) -> None:  # noqa: N802  pglast's name
        self.names.add(call.funcname[-1].sval)


class Changes(Visitor):
    """The nodes of two parts: the assignments of ON CONFLICT DO UPDATE, and the rows that changes return."""

    def __init__(self) -> None:
        self.parts: list[Any] = []

    def visit_OnConflictClause(self, _: Any, clause: Any) -> None:  # noqa: N802
        self.parts += clause.targetList or ()

    def visit_UpdateStmt(self, _: Any, statement: Any) -> None:  # noqa: N802
        self.parts += _returned(statement)

    visit_DeleteStmt = visit_UpdateStmt  # noqa: N815


def _returned(statement: Any) -> list[Any]:
    clause = getattr(statement, "returningClause", None)
    return list((clause.exprs if clause else getattr(statement, "returningList", None)) or ())


def unstable_in(statement: str) -> set[str]:
    """The functions that depend on the moment or on settings, where a change of rows may not call them."""
    changes, calls = Changes(), Calls()
    changes(parse_sql(re.sub(r"%(\(\w+\))?[sbt]", "$1", statement)))
    for part in changes.parts:
        calls(part)
    return calls.names & UNSTABLE


def test_unstable_functions_are_found() -> None:
    assert unstable_in("INSERT INTO a VALUES (1) ON CONFLICT (b) DO UPDATE SET c = now()") == {"now"}
    assert unstable_in("WITH d AS (DELETE FROM a RETURNING extract(epoch FROM b)) SELECT FROM d") == {"extract"}
    assert unstable_in("INSERT INTO a VALUES (now()) ON CONFLICT (b) DO UPDATE SET c = excluded.c") == set()


@pytest.mark.parametrize("name", sorted(set(NAMES) - PARTS))
def test_a_change_calls_nothing_that_depends_on_the_moment(name: str) -> None:
    assert unstable_in(sql(name)) == set()


def test_no_table_has_a_trigger() -> None:
    statements = [raw.stmt for raw in parse_sql(SCHEMA)]
    assert [statement for statement in statements if isinstance(statement, ast.CreateTrigStmt)] == []
