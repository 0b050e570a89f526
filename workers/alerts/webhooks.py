"""Webhooks: where an account's alerts go."""

from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from workers.alerts.signing import new_secret
from workers.store import Connection, sql

FORMATS: Final = ("json", "slack")
MIN_LEVELS: Final = ("medium", "high", "critical")
DEFAULT_LEVEL: Final = "high"
LONGEST_URL: Final = 2000
LONGEST_DESCRIPTION: Final = 500
MOST: Final = 50  # of an account

Format = Literal["json", "slack"]
MinLevel = Literal["medium", "high", "critical"]


class Webhook(NamedTuple):
    """A receiver of alerts, as it may be shown: without its secret."""

    webhook_id: str
    url: str
    format: Format
    min_level: MinLevel
    description: str | None
    enabled: bool
    created_at: datetime
    last_at: datetime | None
    last_status: int | None


class NewWebhook(NamedTuple):
    """A webhook just made. Its secret is shown once."""

    webhook: Webhook
    secret: str


class Receiver(NamedTuple):
    """A webhook as deliveries need it."""

    webhook_id: str
    account_id: int
    url: str
    format: Format
    secret: str


class BadWebhook(ValueError):
    """A webhook can't be as it was asked for. The message names the field and the rule."""


class NoSuchWebhook(Exception):
    """No webhook of the account has this id. `windback webhooks list` shows them all."""


def check_url(url: str) -> str:
    """The URL without blanks around it, if messages can go to it. Raises BadWebhook."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or len(url) > LONGEST_URL or not url.isprintable() or any(char.isspace() for char in url):
        raise BadWebhook(f"`url` must be an address like https://example.com/hook, at most {LONGEST_URL} characters.")
    if parts.username is not None or parts.password is not None:
        raise BadWebhook("`url` must not hold a user or a password; check the signature of the messages instead.")
    return parts.scheme + url[len(parts.scheme) :]  # in small letters


def creation(account_id: int, url: str, format: str, min_level: str, description: str | None) -> dict[str, Any]:
    """The parameters of the query create_webhook, with a fresh secret. Raises BadWebhook."""
    if format not in FORMATS:
        raise BadWebhook(f"`format` must be one of {', '.join(FORMATS)}.")
    if min_level not in MIN_LEVELS:
        raise BadWebhook(f"`min_level` must be one of {', '.join(MIN_LEVELS)}.")
    if description is not None and (len(description) > LONGEST_DESCRIPTION or "\0" in description):
        raise BadWebhook(f"`description` must have at most {LONGEST_DESCRIPTION} characters.")
    return {
        "account_id": account_id,
        "url": check_url(url),
        "format": format,
        "min_level": min_level,
        "description": description,
        "secret": new_secret(),
        "most": MOST,
    }


def create(
    connection: Connection, account_id: int, url: str, format: str = "json", min_level: str = DEFAULT_LEVEL,
    description: str | None = None,
) -> NewWebhook:  # fmt: skip
    """Make a webhook. Raises BadWebhook."""
    parameters = creation(account_id, url, format, min_level, description)
    row = connection.execute(sql("create_webhook"), parameters).fetchone()
    if row is None:
        raise BadWebhook(f"An account has at most {MOST} webhooks; remove one first.")
    return NewWebhook(Webhook(*row), parameters["secret"])


def list_webhooks(connection: Connection, account_id: int) -> list[Webhook]:
    """The webhooks of an account, oldest first."""
    return [Webhook(*row) for row in connection.execute(sql("list_webhooks"), {"account_id": account_id})]


def remove(connection: Connection, account_id: int, webhook_id: str) -> None:
    """Remove a webhook, and the deliveries that wait for it. Raises NoSuchWebhook."""
    parameters = {"account_id": account_id, "webhook_id": webhook_id}
    with connection.transaction():
        if connection.execute(sql("remove_webhook"), parameters).fetchone() is None:
            raise NoSuchWebhook(f"there is no webhook {webhook_id}; `windback webhooks list` shows them all")
        connection.execute(sql("remove_deliveries"), parameters)
        connection.execute(sql("remove_summaries"), parameters)


def find_receiver(connection: Connection, account_id: int, webhook_id: str) -> Receiver:
    """The webhook as deliveries need it. Raises NoSuchWebhook."""
    row = connection.execute(sql("find_receiver"), {"account_id": account_id, "webhook_id": webhook_id}).fetchone()
    if row is None:
        raise NoSuchWebhook(f"there is no webhook {webhook_id}; `windback webhooks list` shows them all")
    return Receiver(*row)


def list_receivers(connection: Connection) -> list[Receiver]:
    """All webhooks that are enabled, of all accounts."""
    return [Receiver(*row) for row in connection.execute(sql("list_receivers"))]
