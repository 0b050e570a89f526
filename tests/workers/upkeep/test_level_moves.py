"""Moves between levels add up to the customers at each."""

import pytest

from tests.workers.events import event
from tests.workers.upkeep.counting import levels, levels_by_risks, rows, store
from workers.process import Process
from workers.risk import rescore
from workers.store import Connection
from workers.upkeep import level_moves, totals


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
