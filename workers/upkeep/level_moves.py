"""Moves of customers between the levels of risk: counted by day in `risk_moves`, with every risk that is written.

The sum of the moves up to a day is how many customers were at each level.
"""

import logging

from psycopg import sql as pieces

from workers.process import Process
from workers.store import Connection, sql

log = logging.getLogger(__name__)

MOST_MOVES = 30  # rows of an account's day, until they are merged


def count_moves(connection: Connection, account_id: int, customer_ids: list[str]) -> None:
    """Count how these customers' risks moved between the levels."""
    _add(connection, account_id, customer_ids, 1)


def take_back_moves(connection: Connection, account_id: int, customer_ids: list[str]) -> None:
    """Take these customers' moves out of the counts."""
    _add(connection, account_id, customer_ids, -1)


def merge_moves(connection: Connection) -> None:
    """Make one row of each level and day, where there are many."""
    connection.execute(sql("merge_moves"), {"many": MOST_MOVES})


def give_moves(connection: Connection, schema: str) -> None:
    """Take out of these tables the moves that another schema counts from now on: those of its customers. Others stay,
    those for risks that are pruned by now too."""
    query = "INSERT INTO risk_moves SELECT account_id, day, level, -customers FROM {}"
    connection.execute(pieces.SQL(query).format(pieces.Identifier(schema, "risk_moves")))


def repair_levels(process: Process) -> None:
    """Make the moves add up to how many customers are at each level now: a duty of the clock."""
    repaired = process.connection().execute(sql("repair_levels")).rowcount
    if repaired:
        log.warning("levels were counted wrong", extra={"levels": repaired})


def _add(connection: Connection, account_id: int, customer_ids: list[str], sign: int) -> None:
    parameters = {"account_id": account_id, "customer_ids": customer_ids, "sign": sign}
    connection.execute(sql("move_risks"), parameters)
