"""Addresses for Stripe's webhooks: one of the account's own, with the secret that signs its requests."""

import secrets
from datetime import datetime
from typing import NamedTuple

from workers.store import Connection, sql

SECRET_PREFIX = "whsec_"  # noqa: S105


class StripeSource(NamedTuple):
    """An address for Stripe's webhooks, and when the last event came there."""

    token: str
    created_at: datetime
    last_event_at: datetime | None


class NoStripeSecret(ValueError):
    """This is not a signing secret of Stripe's: those begin with whsec_."""


def add_source(connection: Connection, account_id: int, secret: str) -> str:
    """Make an address for a webhook endpoint with this signing secret. Returns its token. Raises NoStripeSecret."""
    secret = secret.strip()
    if not secret.startswith(SECRET_PREFIX) or not secret.isprintable() or not 10 < len(secret) <= 200:
        raise NoStripeSecret("the signing secret of Stripe's endpoint begins with whsec_")
    token = secrets.token_urlsafe(24)
    connection.execute(sql("add_stripe_source"), {"token": token, "account_id": account_id, "secret": secret})
    return token


def list_sources(connection: Connection, account_id: int) -> list[StripeSource]:
    """Returns the account's addresses, oldest first."""
    return [StripeSource(*row) for row in connection.execute(sql("list_stripe_sources"), {"account_id": account_id})]


def remove_source(connection: Connection, account_id: int, token: str) -> bool:
    """End an address. Returns whether there was one."""
    parameters = {"token": token, "account_id": account_id}
    return connection.execute(sql("remove_stripe_source"), parameters).fetchone() is not None
