"""Queries keep to what an extension that places schemas on other servers carries out, too."""

from typing import Any

import pytest
from pglast import ast

from tests.workers.store import placed
from tests.workers.store.placed import CHOOSES, DEPENDS, MIXES, NESTS, ROWS, SETS, TEARS, VALUES, VARIES, Rules
from tests.workers.store.test_home import CELL, PARTS, STATEMENTS, TEMPORARY
from tests.workers.store.test_store import NAMES
from workers.identities import moving, relocations
from workers.store import Connection, sql

MADE: list[Any] = [statement for statement in STATEMENTS if isinstance(statement, ast.CreateStmt)]
COLUMNS: list[tuple[str, Any]] = [
    (table.relation.relname, column)
    for table in MADE
    for column in table.tableElts or ()
    if isinstance(column, ast.ColumnDef)
]
TIMES = {column.colname for _, column in COLUMNS if column.typeName.names[-1].sval == "timestamptz"}
DEFAULTS: dict[str, dict[str, set[str]]] = {table: {} for table in CELL}
for table, column in COLUMNS:
    DEFAULTS.get(table, {})[column.colname] = placed.calls_of(column.constraints)
RULES = Rules(DEFAULTS, TIMES, TEMPORARY)

# As queries were before they ran on Citus, shortened, and their neighbours.
BAD = {
    "INSERT INTO rebuilds VALUES ($1) ON CONFLICT (customer_id) DO UPDATE SET since = now()": SETS,
    """INSERT INTO customers AS kept VALUES ($1) ON CONFLICT (customer_id) DO UPDATE
       SET rescore_at = least(kept.rescore_at, kept.scored_at + $2 * '1 second'::interval)""": SETS,
    """INSERT INTO rebuilds AS kept VALUES ($1) ON CONFLICT (customer_id) DO UPDATE SET since = excluded.since
       WHERE kept.since < current_date""": SETS,
    "WITH d AS (DELETE FROM news RETURNING extract(epoch FROM first_seen)) SELECT FROM d": SETS,
    "UPDATE customers SET plan = NULL RETURNING first_seen::date": SETS,
    "INSERT INTO rebuilds VALUES ($1, $2) RETURNING since - interval '1 day'": SETS,
    "UPDATE customers SET rescore_at = greatest(now(), scored_at + $1 * '1 second'::interval)": MIXES,
    "DELETE FROM event_ids WHERE 'epoch'::timestamptz + event_key * '1 second'::interval < now()": MIXES,
    "UPDATE customers SET plan = NULL WHERE first_seen::date = $1": MIXES,
    "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now())": CHOOSES,
    "UPDATE customers SET plan = CASE WHEN first_seen < now() THEN 'pro' END": CHOOSES,
    "UPDATE customers SET rescore_at = now() + random() * interval '1 second'": VARIES,
    "DELETE FROM news WHERE customer_id IN (SELECT customer_id FROM customers WHERE random() < 0.5)": VARIES,
    """INSERT INTO dead_letters (customer_id, died_at) SELECT $1, $2
       FROM (SELECT 'epoch'::timestamptz + $3 * '1 microsecond'::interval AS at) AS given
       WHERE NOT EXISTS (SELECT FROM erasures WHERE erased_at >= given.at)""": TEARS,
    """WITH scored AS (SELECT $1::uuid AS customer_id), noted AS (
           INSERT INTO risk_history (customer_id, at)
           SELECT customer_id, $2 FROM scored JOIN customers USING (customer_id)
           WHERE recorded_at <= $2::timestamptz - interval '1 day' RETURNING customer_id
       ) SELECT FROM noted""": TEARS,
    "INSERT INTO rebuilds (customer_id, since) SELECT customer_id, now() FROM customers": TEARS,
    "INSERT INTO deliveries (customer_id, alert_id, webhook_id) SELECT customer_id, $1, $2 FROM customers": TEARS,
    """INSERT INTO risk_moves SELECT account_id, 'today'::timestamptz::date, level, count(*) FROM customers
       GROUP BY account_id, level""": TEARS,
    """WITH moved AS (SELECT customer_id, level FROM risk_history) INSERT INTO risk_moves
       SELECT account_id, $1, moved.level, 1 FROM moved JOIN customers USING (customer_id)""": NESTS,
    """WITH gone AS (DELETE FROM news RETURNING customer_id) INSERT INTO rebuilds
       SELECT customer_id, first_seen FROM customers WHERE customer_id IN (SELECT customer_id FROM gone)""": NESTS,
    """DELETE FROM outages WHERE (account_id, began_at) NOT IN (
           SELECT account_id, began_at FROM jsonb_populate_recordset(NULL::outages, $1)
       )""": ROWS,
    "DELETE FROM outages WHERE (account_id, began_at) IN (VALUES (1, now()))": ROWS,
    "INSERT INTO rebuilds VALUES ($1, (SELECT max(first_seen) FROM customers))": VALUES,
    """SELECT FROM fresh WHERE EXISTS (SELECT FROM events WHERE events.customer_id = fresh.customer_id)""": DEPENDS,
    """INSERT INTO event_hours SELECT event, count(*) FILTER (WHERE NOT EXISTS (
           SELECT FROM events WHERE events.customer_id = fresh.customer_id
       )) FROM fresh GROUP BY event""": DEPENDS,
    "DELETE FROM fresh WHERE EXISTS (SELECT FROM erasing WHERE erasing.customer_id = fresh.customer_id)": DEPENDS,
    """DELETE FROM fresh USING (SELECT DISTINCT customer_id FROM fresh) AS sent CROSS JOIN LATERAL (
           SELECT FROM pruned WHERE pruned.customer_id = sent.customer_id OFFSET 0
       ) AS known WHERE fresh.customer_id = sent.customer_id""": DEPENDS,
}
GOOD = [
    "DELETE FROM outages WHERE (account_id, began_at) NOT IN (SELECT account_id, first_seen FROM customers)",
    """DELETE FROM outages WHERE NOT EXISTS (
           SELECT FROM jsonb_populate_recordset(NULL::outages, $1) AS home WHERE home.began_at = outages.began_at
       )""",
    "INSERT INTO rebuilds VALUES ($1, now()) ON CONFLICT (customer_id) DO UPDATE SET since = excluded.since",
    "UPDATE customers SET rescore_at = least(rescore_at, now()) WHERE first_seen < now() - interval '1 day'",
    """UPDATE customers SET rescore_at = (scored_at AT TIME ZONE 'UTC' + interval '1 day') AT TIME ZONE 'UTC'
       RETURNING rescore_at""",
    "UPDATE customers SET rescore_at = (SELECT max(first_seen + interval '1 day') FROM news)",
    "WITH drawn AS (SELECT random() AS r) UPDATE customers SET probability = r FROM drawn",
    "WITH known AS MATERIALIZED (SELECT * FROM news) INSERT INTO rebuilds SELECT customer_id, now() FROM known",
    """WITH known AS (SELECT * FROM unnest($1::uuid[]) AS known (customer_id)) INSERT INTO rebuilds
       SELECT customer_id, first_seen FROM known JOIN customers USING (customer_id)""",
    "INSERT INTO rebuilds SELECT customer_id, first_seen FROM customers WHERE last_seen - first_seen > $1",
    "INSERT INTO fresh SELECT customer_id, now() FROM customers",
    "DELETE FROM fresh USING erasing WHERE fresh.customer_id = erasing.customer_id",
    """WITH batch AS MATERIALIZED (SELECT * FROM fresh) SELECT FROM batch
       WHERE EXISTS (SELECT FROM events WHERE events.customer_id = batch.customer_id)""",
]


@pytest.mark.parametrize("statement", BAD)
def test_what_a_placed_cell_refuses_is_found(statement: str) -> None:
    assert RULES.find_faults(statement) == {BAD[statement]}


@pytest.mark.parametrize("statement", GOOD)
def test_what_a_placed_cell_carries_out_is_let_through(statement: str) -> None:
    assert RULES.find_faults(statement) == set()


@pytest.mark.parametrize("name", sorted(set(NAMES) - PARTS))
def test_a_query_runs_on_a_placed_cell(name: str) -> None:
    assert RULES.find_faults(sql(name)) == set()


@pytest.mark.parametrize("table", sorted(CELL))
def test_what_is_put_together_runs_on_a_placed_cell(table: str) -> None:
    """Statements for the rows of any table."""
    columns = [column.colname for name, column in COLUMNS if name == table]
    for statement in (relocations.pack(table), relocations.unpack(table, columns), moving.delete_of(table)):
        assert RULES.find_faults(statement.as_string()) == set()


def test_functions_are_taken_for_what_they_are(connection: Connection) -> None:
    """Of the functions that queries call, those that are not immutable for all arguments."""
    called = {name for query in set(NAMES) - PARTS for name in placed.calls_of(placed.parse(sql(query)))}
    query = "SELECT DISTINCT proname FROM pg_proc WHERE proname = ANY (%s) AND provolatile = ANY (%s)"
    unstable = {name for (name,) in connection.execute(query, [list(called), ["s", "v"]]).fetchall()}
    assert unstable - placed.STABLE - placed.STEADY <= placed.VOLATILE
    stable = {name for (name,) in connection.execute(query, [list(placed.VOLATILE), ["i", "s"]]).fetchall()}
    assert stable == set()


def test_numbers_of_rows_are_long_enough_to_be_given_on_each_node() -> None:
    """Each node begins at a number of its own, far beyond an integer."""
    short = {
        (table, column.colname)
        for table, column in COLUMNS
        if table in CELL and column.typeName.names[-1].sval in ("int2", "int4", "serial")
        if any(constraint.contype.name == "CONSTR_IDENTITY" for constraint in column.constraints or ())
    }
    assert short == set()


def test_no_table_has_a_trigger() -> None:
    assert [statement for statement in STATEMENTS if isinstance(statement, ast.CreateTrigStmt)] == []
