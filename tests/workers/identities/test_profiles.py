"""Traits of customers: the latest of each holds, from traits and from properties, in any order."""

import itertools
from typing import Any

import pytest

from tests.workers.events import event
from tests.workers.identities.test_resolving import JANE, NEW, named, of_user, send
from workers.buffer.lanes import LIVE
from workers.ingest.ingest import drain
from workers.process import Process
from workers.risk.rescore import rescore_due
from workers.store import Connection

COLUMNS = "SELECT email, name, company, mrr, currency, plan FROM customers ORDER BY email"


def scored(process: Process, connection: Connection) -> list[Any]:
    drain(process, LIVE)
    connection.execute("UPDATE customers SET rescore_at = now()")
    while rescore_due(process):
        pass
    return connection.execute(COLUMNS).fetchall()


def test_traits_are_read(process: Process, connection: Connection) -> None:
    traits = {"name": "Jane", "plan": "pro", "mrr": 4900, "currency": "eur", "company": "Example Ltd", "age": 40}
    send(process, of_user(), identities=[named(traits=traits)])
    assert scored(process, connection) == [(JANE, "Jane", "Example Ltd", 4900, "EUR", "pro")]
    assert connection.execute("SELECT mrr_at_risk = mrr * probability::float8 FROM customers").fetchall() == [(True,)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_latest_holds_in_any_order(process: Process, connection: Connection, order: tuple[int, ...]) -> None:
    statements = [
        {"identities": [named(traits={"mrr": 100, "company": "Old"}, timestamp="2026-01-01")]},
        {"events": [event(properties={"mrr": 200, "plan": "pro"}, timestamp="2026-01-02")]},
        {"identities": [named(traits={"mrr": 300, "plan": "team"}, timestamp="2026-01-03")]},
    ]
    for place in order:
        send(process, *statements[place].get("events", ()), identities=statements[place].get("identities", ()))
        drain(process, LIVE)
    assert scored(process, connection) == [(JANE, None, "Old", 300, None, "team")]


def test_a_plan_that_an_event_names_later_holds(process: Process, connection: Connection) -> None:
    send(process, event(properties={"plan": "pro"}, timestamp="2026-01-05"),
         identities=[named(traits={"plan": "team"}, timestamp="2026-01-03")])  # fmt: skip
    assert scored(process, connection)[0][-1] == "pro"


@pytest.mark.parametrize("mrr", ["4900", 49.5, -1, True, None, 10**16, {"a": 1}])
def test_a_price_that_is_none_counts_for_nothing(process: Process, connection: Connection, mrr: Any) -> None:
    send(process, event(), identities=[named(traits={"mrr": mrr, "currency": "EURO", "name": 7})])
    assert scored(process, connection) == [(JANE, None, None, None, None, None)]


def test_a_company_may_be_an_object_with_a_name(process: Process, connection: Connection) -> None:
    send(process, event(), identities=[named(traits={"company": {"id": 1, "name": "Example Ltd"}})])
    assert scored(process, connection)[0][2] == "Example Ltd"


def test_a_blank_name_or_company_is_none(process: Process, connection: Connection) -> None:
    send(process, event(), identities=[named(traits={"company": " \t", "name": "", "mrr": 100})])
    assert scored(process, connection) == [(JANE, None, None, 100, None, None)]


def test_traits_that_came_before_the_address_and_move_with_it(process: Process, connection: Connection) -> None:
    send(process, of_user(), identities=[named(None, traits={"mrr": 100})])
    drain(process, LIVE)
    send(process, identities=[named()])
    assert scored(process, connection)[0][3] == 100
    send(process, identities=[named(NEW)])
    assert [row[:4] for row in scored(process, connection)] == [(NEW, None, None, 100)]


def test_new_traits_make_a_customer_due(process: Process, connection: Connection) -> None:
    send(process, event())
    scored(process, connection)
    connection.execute(
        "UPDATE customers SET rescore_at = now() + interval '1 day', scored_at = now() - interval '1 hour'"
    )
    send(process, identities=[named(traits={"mrr": 100})])
    drain(process, LIVE)
    assert rescore_due(process) == 1
    assert connection.execute("SELECT mrr FROM customers").fetchall() == [(100,)]


def test_traits_that_grow_for_ever_are_bounded_and_the_oldest_goes(process: Process, connection: Connection) -> None:
    """The traits that the product uses stay, however old."""
    send(process, event(), identities=[named(traits={"mrr": 4900, "currency": "EUR", "first": 1})])
    for number in range(6):
        send(process, identities=[named(traits={f"long {number}": "x" * 20_000, f"n{number}": number})])
        drain(process, LIVE)
    send(process, identities=[named(traits={f"key {number}": number for number in range(250)}) for _ in range(2)])
    send(process, identities=[named(traits={f"other {number}": number for number in range(250)})])
    send(process, identities=[named(traits={f"third {number}": number for number in range(250)})])
    drain(process, LIVE)
    ((traits,),) = connection.execute("SELECT traits FROM profiles").fetchall()
    assert len(traits) <= 510
    assert {"mrr", "currency", "third 0", "third 249"} <= traits.keys()
    assert not {"first", "long 0", "n0"} & traits.keys()
