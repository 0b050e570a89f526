"""Names that stand for others: what may be mapped, and that risks follow, those of long histories too."""

from typing import Any

import pytest

from tests.workers.events import store_names
from tests.workers.worlds import account, fill, world
from workers.accounts import mappings, renewals
from workers.accounts.mappings import NeverSent, Unmappable
from workers.process import Process
from workers.risk import rescore
from workers.store import Connection
from workers.upkeep import totals

PROBABILITIES = "SELECT email, probability, state, level FROM customers ORDER BY email"


@pytest.fixture
def sent(process: Process, connection: Connection) -> int:
    """An account that has sent `Signed In` and `account.closed`."""
    account_id = account(connection)
    store_names(process, account_id, "Signed In", "account.closed")
    totals.tally(connection)
    return account_id


def rescored(process: Process, connection: Connection) -> list[Any]:
    process.serving._cache.clear()
    connection.execute("UPDATE customers SET rescore_at = now()")
    while rescore.rescore_due(process):
        pass
    return connection.execute(PROBABILITIES).fetchall()


def test_names_are_added_replaced_and_removed(connection: Connection, sent: int) -> None:
    assert mappings.add_mappings(connection, sent, {"Signed In": "login"}) == {"Signed In": "login"}
    both = {"Signed In": "login", "account.closed": "churn"}
    assert mappings.add_mappings(connection, sent, {"account.closed": "churn"}) == both
    assert mappings.replace_mappings(connection, sent, {"Signed In": "engagement"}) == {"Signed In": "engagement"}
    assert mappings.remove_mappings(connection, sent, ["Signed In"]) == {}
    assert mappings.list_mappings(connection, sent) == {}


def test_a_name_that_was_never_sent_is_refused_unless_forced(connection: Connection, sent: int) -> None:
    for change in (mappings.add_mappings, mappings.replace_mappings):
        with pytest.raises(NeverSent, match="signed in"):
            change(connection, sent, {"Signed In": "login", "signed in": "login"})
    assert mappings.list_mappings(connection, sent) == {}
    assert mappings.add_mappings(connection, sent, {"signed in": "login"}, force=True)
    assert mappings.replace_mappings(connection, sent, {"signed in": "engagement"})  # is mapped already
    with pytest.raises(Unmappable):
        mappings.add_mappings(connection, sent, {"Signed In": "log in"}, force=True)


def test_names_of_another_account_were_not_sent(connection: Connection, sent: int) -> None:
    with pytest.raises(NeverSent):
        mappings.add_mappings(connection, account(connection, "other"), {"Signed In": "login"})


def test_a_change_scores_customers_anew_and_no_change_does_not(
    process: Process, connection: Connection, sent: int
) -> None:
    for forced, expected in (("login", True), ("login", False), ("feature_used", True)):
        mappings.add_mappings(connection, sent, {"Signed In": forced})
        assert renewals.is_pending(connection) == expected
        rescore.drain(process)
        assert not renewals.is_pending(connection)


def test_the_past_holds_under_other_names_too(process: Process, connection: Connection) -> None:
    """Two years of logins and overdue invoices: renamed and mapped, every risk is what it was."""
    account_id = fill(connection, world(40, 720))
    connection.execute("""
        INSERT INTO customer_days (customer_id, day, event, detail, n, value, last_at)
        SELECT customer_id, day, 'invoice_overdue', '', 1, 0, last_at FROM customer_days
        WHERE event = 'login' AND customer_id < '80000000-0000-0000-0000-000000000000' AND extract(day FROM day) = 1
    """)
    before = rescored(process, connection)
    connection.execute("UPDATE customer_days SET event = 'Signed In' WHERE event = 'login'")
    connection.execute("UPDATE customer_days SET event = 'Bill Due' WHERE event = 'invoice_overdue'")
    assert rescored(process, connection) != before
    mappings.add_mappings(connection, account_id, {"Signed In": "login", "Bill Due": "invoice_overdue"}, force=True)
    after = rescored(process, connection)
    assert [row[2:] for row in after] == [row[2:] for row in before]
    assert [row[1] for row in after] == pytest.approx([row[1] for row in before], abs=1e-3)
