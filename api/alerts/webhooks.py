"""Webhooks: `GET` and `POST /api/v1/webhooks`, `PATCH` and `DELETE /api/v1/webhooks/{webhook_id}`, and trying one."""

import time
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import read_json
from api.database import in_database
from api.errors import Refused
from api.reading.common import Time, account_of, answer, fetch
from api.reading.query import accepts
from workers.alerts import webhooks
from workers.alerts.client import PostResult, open_client, post
from workers.alerts.messages import EXAMPLE_DRAFT, encode_alert, example
from workers.alerts.signing import sign
from workers.alerts.webhooks import (
    DEFAULT_LEVEL,
    LONGEST_DESCRIPTION,
    LONGEST_URL,
    BadWebhook,
    Format,
    MinLevel,
    NoSuchWebhook,
    Receiver,
)
from workers.settings import Settings
from workers.store import sql

INVALID = "invalid_webhook"

Url = Annotated[
    str,
    Meta(
        max_length=LONGEST_URL,
        pattern=r"^\s*[hH][tT][tT][pP][sS]?://[^\s]+\s*$",
        description="Where messages go.",
        examples=["https://example.com/hook"],
    ),
]
Description = Annotated[str, Meta(max_length=LONGEST_DESCRIPTION, pattern="^[^\0]*$")]


class NewWebhookBody(Struct, forbid_unknown_fields=True):
    """A webhook to make. `min_level` is the level of risk from which on a rise is an alert."""

    url: Url
    format: Format = "json"
    min_level: MinLevel = DEFAULT_LEVEL
    description: Description | None = None


class WebhookChange(Struct, forbid_unknown_fields=True):
    """The fields to change; the others stay."""

    url: Url | UnsetType = UNSET
    min_level: MinLevel | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET


class LastDelivery(Struct):
    """The latest attempt. `status` is null where there was no answer."""

    at: Time
    status: int | None


class ListedWebhook(Struct):
    """A webhook. One that answered 410 is no longer enabled."""

    id: str
    url: str
    format: Format
    min_level: MinLevel
    description: str | None
    enabled: bool
    created_at: Time
    last_delivery: LastDelivery | None


class Webhooks(Struct):
    """The webhooks of the account, oldest first."""

    webhooks: list[ListedWebhook]


class CreatedWebhook(Struct):
    """A webhook just made. Its secret, which signs the messages, is shown this once."""

    id: str
    url: str
    format: Format
    min_level: MinLevel
    description: str | None
    enabled: bool
    secret: str
    created_at: Time


class Tried(Struct, omit_defaults=True):
    """The result of sending an example: the status of the answer, or the reason why there was none."""

    delivered: bool
    status: int | UnsetType = UNSET
    error: str | UnsetType = UNSET


@accepts()
async def list_or_create(request: Request) -> Response:
    """`GET /api/v1/webhooks`: the account's webhooks. `POST`: makes one."""
    account_id = await account_of(request)
    if request.method != "POST":
        return answer(Webhooks(await read_webhooks(request, account_id)))
    body = await read_json(request, NewWebhookBody, INVALID)
    created = await create_webhook(request, account_id, body)
    return Response(msgspec.json.encode(created), 201, media_type="application/json")


async def change_or_remove(request: Request) -> Response:
    """`PATCH` and `DELETE /api/v1/webhooks/{webhook_id}`."""
    account_id, webhook_id = await account_of(request), id_of(request, "webhook_id", "webhook_not_found")
    if request.method == "PATCH":
        await change_webhook(request, account_id, webhook_id, await read_json(request, WebhookChange, INVALID))
    else:
        await remove_webhook(request, account_id, webhook_id)
    return Response(status_code=204)


async def try_webhook(request: Request) -> Response:
    """`POST /api/v1/webhooks/{webhook_id}/test`: delivers an example now."""
    account_id, webhook_id = await account_of(request), id_of(request, "webhook_id", "webhook_not_found")
    return answer(tried(await send_example(request, account_id, webhook_id)))


async def read_webhooks(request: Request, account_id: int) -> list[ListedWebhook]:
    """The webhooks of an account, oldest first. Raises Refused."""
    return [_describe_webhook(row) for row in await fetch(request, sql("list_webhooks"), {"account_id": account_id})]


async def create_webhook(request: Request, account_id: int, wanted: NewWebhookBody) -> CreatedWebhook:
    """Make a webhook. Raises Refused, invalid_webhook."""

    def create(connection: Any) -> CreatedWebhook:
        webhook, secret = webhooks.create(
            connection, account_id, wanted.url, wanted.format, wanted.min_level, wanted.description or None
        )
        return CreatedWebhook(*webhook[:6], secret=secret, created_at=webhook.created_at)

    try:
        return await in_database(request, create)
    except BadWebhook as error:
        raise Refused(INVALID, str(error)) from None


async def change_webhook(request: Request, account_id: int, webhook_id: str, change: WebhookChange) -> None:
    """Change a webhook. Raises Refused: invalid_webhook, webhook_not_found."""
    wanted = {
        name: None if value is UNSET else value
        for name, value in ((field, getattr(change, field)) for field in WebhookChange.__struct_fields__)
    }
    if change.description is None:
        wanted["description"] = ""
    try:
        if change.url is not UNSET:
            wanted["url"] = webhooks.check_url(change.url)
    except BadWebhook as error:
        raise Refused(INVALID, str(error)) from None
    parameters = {**wanted, "account_id": account_id, "webhook_id": webhook_id}
    if not await fetch(request, sql("change_webhook"), parameters):
        raise Refused("webhook_not_found")


async def remove_webhook(request: Request, account_id: int, webhook_id: str) -> None:
    """Remove a webhook. Raises Refused, webhook_not_found."""
    try:
        await in_database(request, lambda connection: webhooks.remove(connection, account_id, webhook_id))
    except NoSuchWebhook:
        raise Refused("webhook_not_found") from None


async def send_example(request: Request, account_id: int, webhook_id: str) -> PostResult:
    """Deliver an example to a webhook, enabled or not. Raises Refused, webhook_not_found."""
    parameters = {"account_id": account_id, "webhook_id": webhook_id}
    rows = await fetch(request, sql("find_receiver"), parameters)
    if not rows:
        raise Refused("webhook_not_found")
    outcome = await post_example(request.app.state.settings, Receiver(**rows[0]))
    noted = {"webhook_id": [webhook_id], "status": [outcome.status], "gone": [False]}
    await fetch(request, sql("note_attempts"), noted)
    return outcome


async def post_example(settings: Settings, receiver: Receiver) -> PostResult:
    """Send an example to a receiver, once."""
    message_id, now = str(uuid4()), time.time()
    alert = example(datetime.fromtimestamp(now, UTC))
    body = encode_alert(receiver.format, message_id, alert, EXAMPLE_DRAFT, settings.address, test=True)
    async with open_client(settings.webhook_private_addresses) as client:
        return await post(client, receiver.url, body, sign(receiver.secret, message_id, int(now), body))


def tried(outcome: PostResult) -> Tried:
    """Returns the result of sending an example, as the API shows it."""
    status = UNSET if outcome.status is None else outcome.status
    return Tried(outcome.delivered, status, outcome.error or UNSET)


def id_of(request: Request, name: str, code: str) -> str:
    """The id in the path. Raises Refused with this code where it can't be one."""
    try:
        return str(UUID(request.path_params[name]))
    except ValueError:
        raise Refused(code) from None


def _describe_webhook(row: dict[str, Any]) -> ListedWebhook:
    last = LastDelivery(row["last_at"], row["last_status"]) if row["last_at"] else None
    return ListedWebhook(
        row["webhook_id"],
        row["url"],
        row["format"],
        row["min_level"],
        row["description"],
        row["enabled"],
        row["created_at"],
        last,
    )
