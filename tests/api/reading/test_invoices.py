"""A payment settles the right overdue invoice, from the request to the customer's page."""

import itertools
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from tests.sending import ago, track
from workers.settings import Settings

JANE, OLD = "jane@example.com", "jane@old.example"
Work = Callable[[], None]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A customer is scored again at once."""
    return msgspec.structs.replace(settings, rescore_seconds=0)


def bill(event: str, days_ago: float, invoice_id: object = None, email: str = JANE) -> dict[str, Any]:
    properties = {} if invoice_id is None else {"invoice_id": invoice_id}
    return {"event": event, "customer_email": email, "timestamp": ago(days=days_ago), "properties": properties}


def overdue(days_ago: float, invoice_id: object = None, email: str = JANE) -> dict[str, Any]:
    return bill("invoice_overdue", days_ago, invoice_id, email)


def paid(days_ago: float, invoice_id: object = None, email: str = JANE) -> dict[str, Any]:
    return bill("invoice_paid", days_ago, invoice_id, email)


def overdue_days(client: TestClient, email: str = JANE) -> int | None:
    """For how many days an invoice has been overdue, by the API."""
    since = client.get(f"/api/v1/customers/{email}").json()["overdue_since"]
    return since and round((datetime.fromisoformat(ago()) - datetime.fromisoformat(since)) / timedelta(days=1))


def test_a_payment_settles_the_invoice_with_its_id(acme: TestClient, work: Work) -> None:
    track(acme, overdue(30, "in_1"), overdue(20, "in_2"))
    work()
    assert overdue_days(acme) == 30
    track(acme, paid(10, "in_7"))  # another invoice's
    work()
    assert overdue_days(acme) == 30
    track(acme, paid(5, "in_1"))
    work()
    assert overdue_days(acme) == 20
    assert acme.get(f"/api/v1/customers/{JANE}").json()["advice"]["strategy"] == "payment_recovery"
    track(acme, paid(4, "in_2"))
    work()
    assert overdue_days(acme) is None


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_any_order_of_arrival_is_the_same(acme: TestClient, work: Work, order: tuple[int, ...]) -> None:
    """So is any of them that comes twice."""
    sent = [overdue(30, "in_1"), overdue(20, "in_2"), paid(10, "in_1")]
    for place in order:
        for _ in range(2):
            track(acme, sent[place])
            work()
    assert overdue_days(acme) == 20


def test_a_payment_that_arrives_before_its_notice_settles_it(acme: TestClient, work: Work) -> None:
    """Also where neither has a timestamp, so that the notice seems to be the later one."""
    for event in ("invoice_paid", "invoice_overdue"):
        track(acme, {"event": event, "customer_email": JANE, "properties": {"invoice_id": "in_1"}})
        work()
    assert overdue_days(acme) is None


@pytest.mark.parametrize("ids", list(itertools.permutations([1042, "1042", 1042.0], 2)))
def test_an_id_is_the_same_as_a_number_and_as_text(acme: TestClient, work: Work, ids: tuple[object, object]) -> None:
    track(acme, overdue(20, ids[0]), overdue(30, 7), paid(10, ids[1]))
    work()
    assert overdue_days(acme) == 30


def test_without_an_id_it_is_the_latest(acme: TestClient, work: Work) -> None:
    track(acme, overdue(30, "in_1"), overdue(20), paid(10))
    work()
    assert overdue_days(acme) == 30


def test_names_of_ones_own_have_ids_too(acme: TestClient, work: Work) -> None:
    names = {"Charge Failed": "invoice_overdue", "Charge Made": "invoice_paid"}
    track(acme, bill("Charge Failed", 30, 1), bill("Charge Failed", 20, 2), bill("Charge Made", 10, 1))
    work()
    assert acme.put("/api/v1/mappings", json={"mappings": names}).status_code == 200
    work()
    assert overdue_days(acme) == 20


def test_a_customer_with_another_address_keeps_the_invoices(acme: TestClient, work: Work) -> None:
    acme.post("/api/v1/identify", json={"user_id": "u1", "customer_email": OLD})
    track(acme, overdue(30, "in_1", OLD), overdue(20, "in_2", OLD))
    work()
    acme.post("/api/v1/identify", json={"user_id": "u1", "customer_email": JANE})
    work()
    assert overdue_days(acme) == 30
    track(acme, paid(10, "in_1"))
    work()
    assert overdue_days(acme) == 20


def test_of_customers_that_are_merged_one_may_pay_for_the_other(acme: TestClient, work: Work) -> None:
    track(acme, overdue(30, "in_1"), overdue(20, "in_2"), paid(10, "in_1", OLD))
    work()
    assert (overdue_days(acme), overdue_days(acme, OLD)) == (30, None)
    assert acme.post(f"/api/v1/customers/{OLD}/merge", json={"into": JANE}).status_code == 200
    work()
    assert overdue_days(acme) == 20


def test_of_an_erased_customer_no_invoice_stays(acme: TestClient, work: Work) -> None:
    track(acme, overdue(30, "in_1"))
    work()
    assert acme.delete(f"/api/v1/customers/{JANE}").status_code == 202
    track(acme, overdue(20, "in_2"), paid(10, "in_2"))
    work()
    assert overdue_days(acme) is None
