"""Erased customers leave the totals, whatever else happens meanwhile."""

from datetime import UTC, datetime

import pytest

from tests.workers.events import event
from tests.workers.upkeep.counting import assert_right, customers_between, rows, store, tallied_between
from workers.process import Process
from workers.store import Connection, connect
from workers.store.locks import Lock, holding
from workers.upkeep import erased_totals, erasure, totals
from workers.upkeep.snapshots import one_moment, read_last


@pytest.mark.parametrize("chunk", [1, 10_000])
def test_nobody_who_erases_waits_for_a_tally(
    process: Process, connection: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """However long it takes; the totals follow, whatever the tally under way has seen of the customer."""
    monkeypatch.setattr(erasure, "CHUNK", chunk)
    days = [event(timestamp=f"2025-12-0{day}T10:00:00Z") for day in range(1, 8)]
    store(process, *days[:3], event(customer_email="joe@example.com", timestamp="2025-12-02"))
    totals.tally(connection)
    store(process, *days[3:5])
    with connect(database_url) as other, holding(other, Lock.TOTALS):
        with one_moment(other):
            read_last(other)  # what it sees is settled
            store(process, *days[5:])
            assert erasure.erase(connection, 1, "jane@example.com").events == 7
            totals.add_new(other)
        store(process, *days[:2])  # a new history
        assert erasure.erase(connection, 1, "jane@example.com").events == 2
        store(process, days[0])
        assert erased_totals.is_due(connection)
        assert totals.is_due(process)
    totals.tally(connection)
    assert_right(connection)
    assert not erased_totals.is_due(connection)


def test_who_is_erased_is_left_out_at_once_even_if_it_is_time_to_rest(process: Process, connection: Connection) -> None:
    store(process, event(timestamp="2025-12-01"), event(customer_email="joe@example.com"))
    totals.tally(connection)
    connection.execute("UPDATE tallied SET worked_seconds = 100")
    erasure.erase(connection, 1, "jane@example.com")
    assert_right(connection)
    with connect(process.settings.database_url or "") as other, holding(other, Lock.TOTALS):
        erasure.erase(connection, 1, "joe@example.com")
    assert totals.is_due(process)
    totals.drain(process)
    assert_right(connection)
    assert rows(connection, "SELECT * FROM event_days") == rows(connection, "SELECT * FROM recent_events") == []


def test_who_is_erased_while_old_days_are_pruned_leaves_the_days_after_them(
    process: Process, connection: Connection
) -> None:
    """The totals forget old days at the beginning of a pass, the rollup customer by customer."""
    days = [f"2025-{month:02}-01T10:00:00Z" for month in (3, 4, 8, 9)]
    store(
        process, *(event(timestamp=day, customer_email=email) for day in days for email in ("jane@x.com", "joe@x.com"))
    )
    totals.tally(connection)
    cut = datetime(2025, 6, 1, tzinfo=UTC)
    totals.prune(connection, cut, cut)
    erasure.erase(connection, 1, "jane@x.com")
    for _ in range(2):
        for since, until in ((8, 8), (8, 9), (9, 9)):
            span = cut.replace(month=since).date(), cut.replace(month=until).date()
            assert tallied_between(connection, *span) == customers_between(connection, *span) == [("login", 1)]
        totals.prune(connection, cut, cut)
    erasure.erase(connection, 1, "joe@x.com")
    totals.prune(connection, cut, cut)
    assert rows(connection, "SELECT customers FROM event_returns WHERE customers <> 0") == []
