"""Stripe's webhooks: signed, understood, stored once."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from api.doors.stripe import sign
from api.doors.stripe_events import read_stripe_event
from workers.accounts import keys
from workers.store import Connection

Json = dict[str, Any]
SECRET = "whsec_0123456789abcdef"
CUSTOMER = {"id": "cus_1", "object": "customer", "email": "jane@example.com", "name": "Jane"}
INVOICE = {"id": "in_1", "object": "invoice", "customer": "cus_1", "amount_paid": 4900, "currency": "eur"}
SUBSCRIPTION = {
    "id": "sub_1", "object": "subscription", "customer": "cus_1", "currency": "eur", "status": "active",
    "items": {"data": [{"quantity": 2, "price": {"id": "price_1", "nickname": "team", "unit_amount": 12000,
                                                 "recurring": {"interval": "year", "interval_count": 1}}}]},
}  # fmt: skip

ITEM = SUBSCRIPTION["items"]["data"][0]  # type: ignore[index]
SUBSCRIPTION["items"] = {"data": [{**ITEM, "current_period_end": 1764583200}]}  # as from the API of 2025-03-31 on
RENEWED = {**SUBSCRIPTION, "items": {"data": [{**ITEM, "current_period_end": 1767261600}]}}


@pytest.fixture
def path(acme: TestClient) -> str:
    """The address of Acme's webhooks."""
    answer = acme.post("/api/v1/webhooks/stripe", json={"secret": SECRET})
    assert answer.status_code == 201
    return str(answer.json()["path"])


def make(kind: str, thing: Json, event_id: str = "evt_1", previous: Json | None = None) -> Json:
    data = {"object": thing} | ({"previous_attributes": previous} if previous else {})
    return {"id": event_id, "object": "event", "type": kind, "created": int(time.time()) - 60, "data": data}


def send(client: TestClient, path: str, event: Json, *, secret: str = SECRET, age: int = 0, more: str = "") -> int:
    body, at = json.dumps(event).encode(), int(time.time()) - age
    header = f"t={at},v1={sign(secret, body, at)}{more}"
    return client.post(path, content=body, headers={"Stripe-Signature": header, "X-API-Key": ""}).status_code


def test_events_are_stored_once_under_the_customer_of_whom_stripe_spoke(
    acme: TestClient, path: str, work: Callable[[], None]
) -> None:
    for _ in range(2):
        assert send(acme, path, make("invoice.paid", INVOICE)) == 200
    assert send(acme, path, make("customer.created", CUSTOMER, "evt_2")) == 200
    assert send(acme, path, make("customer.subscription.updated", SUBSCRIPTION, "evt_3")) == 200
    assert send(acme, path, make("payout.paid", {"object": "payout"}, "evt_4")) == 200
    work()
    shown = acme.get("/api/v1/customers/jane@example.com").json()
    assert shown["events"] == {"invoice_paid": 1}
    assert (shown["name"], shown["mrr"], shown["currency"]) == ("Jane", 2000, "EUR")
    (source,) = acme.get("/api/v1/webhooks/stripe").json()["sources"]
    assert source["last_event_at"] is not None


@pytest.mark.parametrize(
    "options",
    [{"secret": "whsec_another_one"}, {"age": 400}, {"age": -400}],
)
def test_a_signature_that_is_wrong_or_old_is_refused(acme: TestClient, path: str, options: Json) -> None:
    assert send(acme, path, make("invoice.paid", INVOICE), **options) == 400


@pytest.mark.parametrize("header", ["", "t=1", "v1=ab", "t=x,v1=ab", "t=1,v1=", "t=\u0661,v1=a", "nonsense"])
def test_a_header_that_is_none_is_refused(acme: TestClient, path: str, header: str) -> None:
    answer = acme.post(path, content=b"{}", headers=[(b"Stripe-Signature", header.encode())])
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_signature")


def test_one_of_several_signatures_is_enough(acme: TestClient, path: str) -> None:
    assert send(acme, path, make("invoice.paid", INVOICE), more=",v1=00ff,v0=1") == 200


def test_a_signed_body_that_is_no_json_is_said_to_be(acme: TestClient, path: str) -> None:
    at = int(time.time())
    headers = {"Stripe-Signature": f"t={at},v1={sign(SECRET, b'[', at)}"}
    assert acme.post(path, content=b"[", headers=headers).json()["code"] == "malformed_json"


def test_a_text_cut_through_an_emoji_does_not_stop_an_event(
    acme: TestClient, path: str, work: Callable[[], None]
) -> None:
    assert send(acme, path, make("customer.created", {**CUSTOMER, "name": "Jane \ud83d"})) == 200
    assert send(acme, path, make("invoice.paid", INVOICE, "evt_2")) == 200
    work()
    assert acme.get("/api/v1/customers/jane@example.com").json()["name"] == "Jane \ufffd"


def test_an_address_that_is_not_there_is_not_found(acme: TestClient, path: str) -> None:
    assert send(acme, path + "x", make("invoice.paid", INVOICE)) == 404
    assert acme.delete(path).status_code == 204
    assert acme.delete(path).status_code == 404
    assert send(acme, path, make("invoice.paid", INVOICE)) == 404


def test_addresses_are_an_accounts_own(acme: TestClient, path: str, connection: Connection, redis: Redis) -> None:
    acme.headers["X-API-Key"] = keys.create(connection, redis, "other").secret
    assert acme.get("/api/v1/webhooks/stripe").json() == {"sources": []}
    assert acme.delete(path).status_code == 404


@pytest.mark.parametrize("secret", ["", "sk_live_x", "whsec_", 5])
def test_a_secret_that_is_none_is_refused(acme: TestClient, secret: Any) -> None:
    answer = acme.post("/api/v1/webhooks/stripe", json={"secret": secret})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_webhook")


@pytest.mark.parametrize(
    ("kind", "thing", "previous", "name"),
    [
        ("invoice.paid", INVOICE, None, "invoice_paid"),
        ("invoice.payment_failed", INVOICE, None, "invoice_overdue"),
        ("charge.refunded", {**INVOICE, "amount_refunded": 100}, None, "refund_requested"),
        ("customer.subscription.created", {**SUBSCRIPTION, "status": "trialing"}, None, "trial_started"),
        ("customer.subscription.created", SUBSCRIPTION, None, "subscription_started"),
        ("customer.subscription.updated", SUBSCRIPTION, {"status": "trialing"}, "trial_ended"),
        ("customer.subscription.updated", SUBSCRIPTION, {"current_period_end": 1}, "subscription_renewed"),
        ("customer.subscription.updated", RENEWED, {"items": SUBSCRIPTION["items"]}, "subscription_renewed"),
        ("customer.subscription.deleted", SUBSCRIPTION, None, "subscription_cancelled"),
        ("customer.subscription.updated", SUBSCRIPTION, {"metadata": {}}, None),
        ("invoice.created", INVOICE, None, None),
        ("invoice.paid", {**INVOICE, "customer": None}, None, None),
    ],
)
def test_events_of_stripes_have_names_of_ours(kind: str, thing: Json, previous: Json | None, name: str | None) -> None:
    event = read_stripe_event(make(kind, thing, previous=previous)).event
    assert (event and event["event"]) == name


def test_an_invoice_that_fails_and_is_paid_is_settled_and_no_other(
    acme: TestClient, path: str, work: Callable[[], None], connection: Connection
) -> None:
    """By its id, as Stripe's two events for one payment show: neither pays for another invoice."""
    send(acme, path, make("customer.created", CUSTOMER, "evt_0"))
    for number, invoice in enumerate(("in_1", "in_2")):
        send(acme, path, make("invoice.payment_failed", {**INVOICE, "id": invoice}, f"evt_failed_{number}"))
    for kind in ("invoice.paid", "invoice.payment_succeeded"):
        send(acme, path, make(kind, INVOICE, f"evt_{kind}"))
    work()
    shown = acme.get("/api/v1/customers/jane@example.com").json()
    assert shown["overdue_since"] is not None
    connection.execute("UPDATE customers SET scored_at = scored_at - interval '1 hour'")
    send(acme, path, make("invoice.paid", {**INVOICE, "id": "in_2"}, "evt_last"))
    work()
    assert acme.get("/api/v1/customers/jane@example.com").json()["overdue_since"] is None


@pytest.mark.parametrize(("amount", "name"), [(6000, "subscription_upgraded"), (24000, "subscription_downgraded")])
def test_another_price_is_an_upgrade_or_a_downgrade(amount: int, name: str) -> None:
    before = json.loads(json.dumps(SUBSCRIPTION["items"]))
    before["data"][0]["price"]["unit_amount"] = amount
    event = read_stripe_event(make("customer.subscription.updated", SUBSCRIPTION, previous={"items": before})).event
    assert event is not None
    assert event["event"] == name


@pytest.mark.parametrize("sent", [{}, {"type": 5}, {"type": "invoice.paid", "data": {"object": []}}, {"data": None}])
def test_what_is_no_event_says_nothing(sent: Json) -> None:
    assert read_stripe_event(sent) == (None, None)
