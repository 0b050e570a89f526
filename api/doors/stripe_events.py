"""Reads Stripe's events about a customer. Pure functions: https://docs.stripe.com/api/events/types.

Stripe's customer id stands for the customer; `customer.*` events (and the address on an invoice) say whose it is.
"""

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from api.track.rules import valid_email
from scoring.currencies import digits_of

Json = dict[str, Any]

NAMES: Final = {
    "invoice.paid": "invoice_paid",
    "invoice.payment_succeeded": "invoice_paid",
    "invoice.payment_failed": "invoice_overdue",
    "invoice.overdue": "invoice_overdue",
    "charge.refunded": "refund_requested",
    "customer.subscription.trial_will_end": "trial_ending",
    "customer.subscription.paused": "subscription_paused",
    "customer.subscription.resumed": "subscription_resumed",
    "customer.subscription.deleted": "subscription_cancelled",
}
PERSONS: Final = ("customer.created", "customer.updated")
MONTHS: Final = {"day": 365 / 12, "week": 365 / 7 / 12, "month": 1.0, "year": 1 / 12}


class StripeReading(NamedTuple):
    """An event, an identity, both or nothing."""

    event: Json | None = None
    identity: Json | None = None


def read_stripe_event(sent: Json) -> StripeReading:
    """Returns the event and the identity in one of Stripe's events."""
    kind, subject = sent.get("type"), _as_object(_as_object(sent.get("data")).get("object"))
    at = _read_time(sent.get("created"))
    if kind in PERSONS:
        return StripeReading(identity=_read_person(subject, at))
    customer = subject.get("customer")
    customer_id = customer.get("id") if isinstance(customer, dict) else customer
    if not isinstance(customer_id, str) or not isinstance(kind, str):
        return StripeReading()
    name = NAMES.get(kind) or _read_subscription_change(kind, subject, _as_object(sent.get("data")))
    identity = _read_address(subject, customer_id, at)
    if kind.startswith("customer.subscription."):
        identity = {"user_id": customer_id, "traits": _read_price(subject, kind), "timestamp": at}
    if name is None:
        return StripeReading(identity=identity)
    event = {"event": name, "user_id": customer_id, "timestamp": at, "event_id": sent.get("id")}
    invoice = {"invoice_id": subject["id"]} if kind.startswith("invoice.") and subject.get("id") else {}
    return StripeReading({**event, "properties": {**invoice, **_read_properties(subject)}}, identity)


def _read_person(customer: Json, at: str | None) -> Json | None:
    email = customer.get("email")
    if not (isinstance(email, str) and valid_email(email)) or not customer.get("id"):
        return None
    traits = {"name": customer["name"]} if isinstance(customer.get("name"), str) and customer["name"] else {}
    return {"user_id": customer["id"], "customer_email": email, "traits": traits, "timestamp": at}


def _read_address(payment: Json, customer_id: str, at: str | None) -> Json | None:
    """An invoice or a charge names the address as well."""
    email = payment.get("customer_email") or _as_object(payment.get("billing_details")).get("email")
    if not (isinstance(email, str) and valid_email(email)):
        return None
    return {"user_id": customer_id, "customer_email": email, "timestamp": at}


def _read_subscription_change(kind: str, subscription: Json, data: Json) -> str | None:
    """A subscription that begins, ends a trial, or changes to another price."""
    if kind == "customer.subscription.created":
        return "trial_started" if subscription.get("status") == "trialing" else "subscription_started"
    if kind != "customer.subscription.updated":
        return None
    before = _as_object(data.get("previous_attributes"))
    if before.get("status") == "trialing" and subscription.get("status") != "trialing":
        return "trial_ended"
    was, now = _sum_prices({**subscription, **before}), _sum_prices(subscription)
    if was is not None and now is not None and now != was and ("items" in before or "plan" in before):
        return "subscription_upgraded" if now > was else "subscription_downgraded"
    is_next = _find_period_end(before) not in (None, _find_period_end(subscription))
    return "subscription_renewed" if is_next and subscription.get("status") == "active" else None


def _find_period_end(subscription: Json) -> object:
    """Stripe's API has it at the subscription; from its version 2025-03-31 on, at its items."""
    ends = [item.get("current_period_end") for item in _list_items(subscription)]
    return subscription.get("current_period_end") or next(filter(None, ends), None)


def _list_items(subscription: Json) -> list[Json]:
    items = _as_object(subscription.get("items")).get("data")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _sum_prices(subscription: Json) -> int | None:
    """Returns the monthly price of a subscription, in minor units; None if no item has a price."""
    total, has_price = 0.0, False
    for item in _list_items(subscription):
        price = _as_object(item.get("price")) or _as_object(item.get("plan"))
        interval = _as_object(price.get("recurring")) or price
        amount, per_month = price.get("unit_amount", price.get("amount")), MONTHS.get(str(interval.get("interval")))
        if isinstance(amount, int) and per_month:
            count = interval.get("interval_count") or 1
            total += amount * per_month / count * (item.get("quantity") or 1)
            has_price = True
    return round(total) if has_price else None


def _read_price(subscription: Json, kind: str) -> Json:
    ended = kind == "customer.subscription.deleted"
    mrr = 0 if ended else _sum_prices(subscription)
    currency = str(subscription.get("currency") or "").upper() or None
    traits = {"mrr": mrr, "currency": currency, "plan": _find_plan(subscription)}
    return {name: value for name, value in traits.items() if value is not None}


def _find_plan(subscription: Json) -> str | None:
    for item in _list_items(subscription):
        price = _as_object(item.get("price")) or _as_object(item.get("plan"))
        for name in (price.get("nickname"), price.get("lookup_key"), price.get("id")):
            if isinstance(name, str) and name:
                return name
    return None


def _read_properties(subject: Json) -> Json:
    amount = subject.get("amount_paid") or subject.get("amount_refunded") or subject.get("amount_due")
    currency = str(subject.get("currency") or "").upper()
    properties = {
        "amount": amount / 10 ** digits_of(currency) if isinstance(amount, int) else None,
        "currency": currency or None,
        "plan": _find_plan(subject),
        "reason": _as_object(subject.get("cancellation_details")).get("reason"),
        "comment": _as_object(subject.get("cancellation_details")).get("comment"),
    }
    return {name: value for name, value in properties.items() if value is not None}


def _read_time(seconds: object) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat() if isinstance(seconds, int) else None


def _as_object(value: object) -> Json:
    return value if isinstance(value, dict) else {}
