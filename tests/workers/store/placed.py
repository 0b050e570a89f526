"""What an extension that places schemas on other servers refuses, or sends on torn: found in a parsed statement.

The rules are those of Citus 14. It computes what depends on the moment or on settings where a statement arrives, and
once for all rows, so such functions may not meet columns. An INSERT … SELECT that calls one arrives torn at the node of
the cell, unless it reads by CTEs alone.
"""

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any

from pglast import ast, parse_sql
from pglast.enums import A_Expr_Kind

# Functions whose results depend on the moment or on settings, at least for some arguments; and those that differ from
# row to row, or do something.
STABLE = {
    *("now", "extract", "date_trunc", "to_char", "to_jsonb", "jsonb_agg", "jsonb_build_object", "concat_ws"),
    *("jsonb_populate_recordset", "convert_to", "generate_series", "to_regclass", "to_regnamespace", "current_schema"),
    *("current_database", "current_setting", "pg_backend_pid", "pg_column_size", "pg_current_snapshot"),
    *("pg_current_xact_id", "pg_partition_tree"),
}
VOLATILE = {
    *("clock_timestamp", "gen_random_uuid", "random", "nextval", "set_config", "pg_control_system"),
    *("pg_is_in_recovery", "pg_terminate_backend", "pg_advisory_lock", "pg_advisory_unlock", "pg_advisory_xact_lock"),
    *("pg_advisory_xact_lock_shared", "pg_try_advisory_lock", "pg_try_advisory_lock_shared"),
    *("pg_try_advisory_xact_lock_shared", "citus_schema_move", "citus_schema_distribute"),
    "pg_logical_emit_message",
}
STEADY = {"length", "timezone", "to_timestamp"}  # as they are called here: of text, with a zone, of seconds
TIMES = {"now", "clock_timestamp", "to_timestamp"}  # the functions that return a timestamptz
CHANGES = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt)
Nodes = Iterator[Any]

# The rules, by what a statement must not do.
SETS = "DO UPDATE or RETURNING depends on the moment"
MIXES = "what depends on the moment is computed of a column that is changed, or by which a row is chosen"
CHOOSES = "CASE or COALESCE depends on the moment"
VARIES = "UPDATE or DELETE calls a volatile function"
TEARS = "INSERT … SELECT reads a table other than by a CTE, and depends on the moment"
NESTS = "INSERT … SELECT reads a table beside its CTEs"
ROWS = "a row of columns is looked for in a subquery, where something depends on the moment"
VALUES = "INSERT … VALUES has a subquery"
DEPENDS = "a subquery names a column of a temporary table"


def parse(statement: str) -> Any:
    """Returns the tree of a statement with psycopg's marks for parameters."""
    (raw,) = parse_sql(re.sub(r"%(\(\w+\))?[sbt]", "$1", statement))
    return raw.stmt


def walk(node: Any) -> Nodes:
    """Yields a node and all that are in it."""
    if isinstance(node, ast.Node):
        yield node
        for name in node:
            yield from walk(getattr(node, name))
    elif isinstance(node, tuple):
        for each in node:
            yield from walk(each)


def find(node: Any, *kinds: type) -> Nodes:
    """Yields the nodes of these kinds."""
    return (each for each in walk(node) if isinstance(each, kinds))


def calls_of(node: Any) -> set[str]:
    """The names of the functions that are called."""
    return {_name(call) for call in find(node, ast.FuncCall)}


class Rules:
    """The rules for statements about a cell. `tables`: those of the cell, each with its columns whose defaults call
    functions, and these functions; `times`: the columns of type timestamptz; `temporary`: the tables of a session."""

    def __init__(self, tables: Mapping[str, Mapping[str, Set[str]]], times: Set[str], temporary: Set[str]) -> None:
        self._tables, self._times, self._temporary = tables, times, temporary

    def find_faults(self, statement: str) -> set[str]:
        """Returns the rules that a statement breaks."""
        tree = parse(statement)
        changes, inserts = list(find(tree, *CHANGES)), list(find(tree, ast.InsertStmt))
        ctes = {cte.ctename for cte in find(tree, ast.CommonTableExpr)}
        broken = {
            SETS: any(map(self._sets_unstable, changes)),
            MIXES: any(map(self._mixes_unstable, changes)),
            CHOOSES: any(map(self._chooses_unstable, changes)),
            VARIES: any(map(_calls_volatile, changes)),
            TEARS: any(self._is_torn(insert, ctes) for insert in inserts),
            ROWS: any(map(self._looks_for_rows, changes)),
            NESTS: isinstance(tree, ast.InsertStmt) and self._nests(tree, ctes),
            VALUES: any(_has_values(insert) and any(find(insert.selectStmt, ast.SubLink)) for insert in inserts),
            DEPENDS: any(map(self._depends_on_temporary, find(tree, ast.SelectStmt, ast.DeleteStmt))),
        }
        return {rule for rule, is_broken in broken.items() if is_broken}

    def _sets_unstable(self, change: Any) -> bool:
        clause = getattr(change, "onConflictClause", None)
        parts = [clause.targetList, clause.whereClause] if clause else []
        return any(self._is_unstable(node) for node in walk((*parts, _returned(change))))

    def _mixes_unstable(self, change: Any) -> bool:
        return any(self._is_unstable(node) and any(find(node, ast.ColumnRef)) for node in _computed(change))

    def _chooses_unstable(self, change: Any) -> bool:
        choices = (node for node in _computed(change) if isinstance(node, (ast.CaseExpr, ast.CoalesceExpr)))
        return any(self._is_unstable(node) for choice in choices for node in walk(choice))

    def _is_torn(self, insert: Any, ctes: Set[str]) -> bool:
        """Returns whether an INSERT … SELECT reads a table itself, not by a CTE, and depends on the moment. One that
        calls a volatile function is carried out in two steps, and that goes well."""
        query, table = insert.selectStmt, insert.relation.relname
        if not query or table not in self._tables:
            return False
        filled = {target.name for target in insert.cols or ()}
        defaults = {name for column, calls in self._tables[table].items() if column not in filled for name in calls}
        if (defaults | calls_of(query)) & VOLATILE:
            return False
        depends = bool(defaults & STABLE) or any(map(self._is_unstable, walk(query)))
        return depends and self._reads_placed(query, ctes)

    def _looks_for_rows(self, change: Any) -> bool:
        """Returns whether UPDATE or DELETE has a condition like `(a, b) IN (SELECT …)`, which arrives as one on a
        single column."""
        if isinstance(change, ast.InsertStmt):
            return False
        tests = (link.testexpr for link in find(change.whereClause, ast.SubLink))
        return any(isinstance(test, ast.RowExpr) for test in tests) and any(map(self._is_unstable, walk(change)))

    def _nests(self, insert: Any, ctes: Set[str]) -> bool:
        """Returns whether an INSERT … SELECT joins rows of its CTEs, which come from tables, with a table itself."""
        is_nested = insert.withClause and self._reads_placed(insert.withClause, ctes)
        return bool(is_nested and self._reads_placed(insert.selectStmt, ctes))

    def _is_unstable(self, node: Any) -> bool:
        """Returns whether an expression depends on the moment or on the time zone by itself."""
        if isinstance(node, ast.SQLValueFunction):  # current_date
            return True
        if isinstance(node, ast.FuncCall):
            return _name(node) in STABLE and not _has_zone(node)
        if isinstance(node, ast.A_Expr) and node.kind == A_Expr_Kind.AEXPR_OP and _operator(node) in ("+", "-"):
            return self._is_time(node.lexpr) != self._is_time(node.rexpr)  # a time and an interval
        return isinstance(node, ast.TypeCast) and _type(node) == "date" and self._is_time(node.arg)

    def _is_time(self, node: Any) -> bool:
        """Returns whether an expression is a timestamptz, as far as it shows."""
        if isinstance(node, ast.ColumnRef):
            *_, last = node.fields or ()
            return getattr(last, "sval", "") in self._times
        if isinstance(node, ast.FuncCall):
            return _name(node) in TIMES
        if isinstance(node, (ast.MinMaxExpr, ast.CoalesceExpr)):
            return any(map(self._is_time, node.args or ()))
        if isinstance(node, ast.TypeCast):
            return _type(node) == "timestamptz"
        return isinstance(node, ast.A_Expr) and _operator(node) in ("+", "-") and self._is_unstable(node)

    def _depends_on_temporary(self, query: Any) -> bool:
        """Returns whether a subquery, which reads a placed table, names a column of a temporary one."""
        is_change = isinstance(query, ast.DeleteStmt)
        tables = {
            table.alias.aliasname if table.alias else table.relname
            for table in find((query.usingClause, query.relation) if is_change else query.fromClause, ast.RangeVar)
            if table.relname in self._temporary
        }
        if is_change and query.relation.relname in self._temporary:
            return any(self._reads_placed(node) for node in _find_inner(query))
        return any(self._reads_placed(node) and _refers_to(node, tables) for node in find(query, ast.SubLink))

    def _reads_placed(self, node: Any, without: Set[str] = frozenset()) -> bool:
        return any(str(table.relname) in self._tables.keys() - without for table in _find_tables(node))


def _computed(change: Any) -> Nodes:
    """Yields all expressions that a change of rows sets or looks at, but for those of its subqueries."""
    targets = [target.val for target in getattr(change, "targetList", None) or ()]
    return (node for part in (*targets, getattr(change, "whereClause", None)) for node in _outside_subqueries(part))


def _outside_subqueries(node: Any) -> Nodes:
    if isinstance(node, ast.SubLink):
        return
    if isinstance(node, ast.Node):
        yield node
        for name in node:
            yield from _outside_subqueries(getattr(node, name))
    elif isinstance(node, tuple):
        for each in node:
            yield from _outside_subqueries(each)


def _calls_volatile(change: Any) -> bool:
    """Returns whether UPDATE or DELETE calls a volatile function, in its subqueries as well, but not in its CTEs."""
    if isinstance(change, ast.InsertStmt):
        return False
    parts = [getattr(change, name) for name in change if name != "withClause"]
    return any(_name(call) in VOLATILE for call in find(tuple(parts), ast.FuncCall))


def _has_values(insert: Any) -> bool:
    return bool(insert.selectStmt and insert.selectStmt.valuesLists)


def _find_tables(node: Any) -> Nodes:
    """Yields the tables that are read, but for those in a WITH."""
    if isinstance(node, ast.RangeVar):
        yield node
    elif isinstance(node, ast.Node):
        yield from (table for name in node if name != "withClause" for table in _find_tables(getattr(node, name)))
    elif isinstance(node, tuple):
        yield from (table for each in node for table in _find_tables(each))


def _find_inner(change: Any) -> Nodes:
    """Yields the subqueries of a change, and those of its sources that depend on others."""
    yield from find(change.whereClause, ast.SubLink)
    yield from (node for node in find(change.usingClause, ast.RangeSubselect) if node.lateral)


def _returned(change: Any) -> tuple[Any, ...]:
    clause = getattr(change, "returningClause", None)
    return tuple((clause.exprs if clause else getattr(change, "returningList", None)) or ())


def _refers_to(node: Any, names: Set[str]) -> bool:
    """Returns whether a subquery names a column of one of these, and doesn't read it itself."""
    own = {table.alias.aliasname if table.alias else table.relname for table in find(node, ast.RangeVar)}
    columns = (column.fields for column in find(node, ast.ColumnRef) if len(column.fields) > 1)
    return any(fields[0].sval in names - own for fields in columns)


def _name(call: Any) -> str:
    return str(call.funcname[-1].sval)


def _has_zone(call: Any) -> bool:
    """`date_trunc(field, time, zone)` depends on nothing else."""
    return _name(call) == "date_trunc" and len(call.args or ()) == 3


def _operator(expression: Any) -> str:
    return str(expression.name[-1].sval)


def _type(cast: Any) -> str:
    *_, last = cast.typeName.names
    return str(last.sval)
