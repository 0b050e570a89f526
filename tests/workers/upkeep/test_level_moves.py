"""Moves between levels add up to the customers at each."""

from collections.abc import Callable

import pytest

from tests.workers.events import event
from tests.workers.upkeep.counting import levels, levels_by_risks, rows, store
from workers.identities.moving import merge_known
from workers.process import Process
from workers.risk import rebuild, rescore
from workers.store import Connection, sql
from workers.upkeep import erasure, level_moves, totals


def test_moves_are_merged(process: Process, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(level_moves, "MOST_MOVES", 2)
    for number in range(5):
        store(process, event(customer_email=f"c{number}@example.com"))
        rescore.rescore_due(process)
    before = levels(connection)
    totals.tally(connection)
    assert levels(connection) == before
    assert len(rows(connection, "SELECT * FROM risk_moves")) <= 2


def test_levels_that_were_counted_wrong_are_settled(process: Process, connection: Connection) -> None:
    store(process, event(), event(customer_email="joe@example.com"))
    rescore.rescore_due(process)
    level_moves.repair_levels(process)
    assert levels(connection) == levels_by_risks(connection)
    connection.execute("INSERT INTO risk_moves VALUES (1, current_date, 'high', 3), (1, current_date, 'lapsed', -1)")
    assert levels(connection) != levels_by_risks(connection)
    level_moves.repair_levels(process)
    assert levels(connection) == levels_by_risks(connection)


def erase(connection: Connection) -> None:
    erasure.erase(connection, 1, "jane@example.com")


def rename(connection: Connection) -> None:
    assert merge_known(connection, 1, "jane@example.com", "jane@example.org")


def merge(connection: Connection) -> None:
    assert merge_known(connection, 1, "jane@example.com", "joe@example.com")


@pytest.mark.parametrize("act", [erase, rename, merge])
@pytest.mark.parametrize("tables", [["risk_history"], ["risk_rebuilt"], ["risk_history", "risk_rebuilt"]], ids=" ".join)
def test_levels_are_right_where_past_risks_are_pruned(
    process: Process, connection: Connection, act: Callable[[Connection], None], tables: list[str]
) -> None:
    """The last level that was recorded is known without them."""
    store(process, event(timestamp="2025-12-01"), event(customer_email="joe@example.com", timestamp="2025-12-01"))
    rebuild.rebuild_batch(process)
    rescore.rescore_due(process)
    for table in tables:
        connection.execute(f"DELETE FROM {table}")
    act(connection)
    rebuild.rebuild_batch(process)
    assert rows(connection, "SELECT level, sum(customers) FROM risk_moves GROUP BY 1 HAVING sum(customers) <> 0")
    assert connection.execute(sql("repair_levels")).rowcount == 0
