"""Alerts: `GET /api/v1/alerts` lists them, `POST /api/v1/alerts/{alert_id}/redeliver` sends one again."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from api.alerts.webhooks import id_of
from api.errors import Refused
from api.reading import query
from api.reading.common import (
    Count,
    Level,
    MoneyAtRisk,
    Score,
    Time,
    account_of,
    answer,
    describe_profile,
    fetch,
    fetch_all,
    fetch_merged,
    score_of,
)
from api.reading.merging import first_found
from api.reading.statements import Order
from workers.store import sql


class ListedDelivery(Struct):
    """An alert on its way to a webhook. `last_status` is null before an answer came; `error` says why none did."""

    webhook_id: str
    state: Literal["delivered", "waiting", "failed"]
    attempts: Count
    last_status: int | None
    next_attempt_at: Time | None
    error: str | None


class ListedAlert(Struct):
    """An alert: the level of a customer's risk rose. A held-out alert goes to no webhook. Facts of the customer are as
    of now; `mrr_at_risk` is by the risk of the alert."""

    id: str
    email: str
    at: Time
    level_before: Level
    level: Level
    score: Score
    reason: str | None
    strategy: str | None
    plan: str | None
    name: str | None
    company: str | None
    mrr: Count | None
    currency: str | None
    mrr_at_risk: MoneyAtRisk | None
    held_out: bool
    deliveries: list[ListedDelivery]


class Alerts(Struct):
    """A page of alerts, newest first. `next_cursor` is null on the last one."""

    alerts: list[ListedAlert]
    next_cursor: str | None


class Redelivered(Struct):
    """The alert is sent again to every webhook that it had gone to, in a moment."""

    status: Literal["ok"]


@query.accepts("limit", "cursor")
async def list_alerts(request: Request) -> Response:
    """`GET /api/v1/alerts`: the alerts, newest first."""
    return answer(await read_alerts(request, await account_of(request), query.limit(request)))


async def redeliver(request: Request) -> Response:
    """`POST /api/v1/alerts/{alert_id}/redeliver`: sends an alert again."""
    account_id, alert_id = await account_of(request), id_of(request, "alert_id", "alert_not_found")
    await send_again(request, account_id, alert_id)
    return Response(msgspec.json.encode(Redelivered("ok")), 202, media_type="application/json")


async def read_alerts(request: Request, account_id: int, size: int) -> Alerts:
    """A page of an account's alerts, from the request's cursor on. Raises Refused."""
    after = query.position(request, tuple[datetime, UUID])
    parameters = {
        "account_id": account_id,
        "first": after is None,
        "after_at": after[0] if after else None,
        "after_id": after[1] if after else None,
        "limit": size + 1,
    }
    rows = await fetch_merged(request, sql("list_alerts"), parameters, Order(("at", "alert_id"), descending=True))
    page = rows[:size]
    cursor = query.encode_cursor(page[-1]["at"], page[-1]["alert_id"]) if len(rows) > size else None
    return Alerts([_describe_alert(row) for row in page], cursor)


async def send_again(request: Request, account_id: int, alert_id: str) -> None:
    """Make the deliveries of an alert wait anew. Raises Refused, alert_not_found."""
    alerts = first_found(await fetch_all(request, sql("find_alert"), {"account_id": account_id, "alert_id": alert_id}))
    if not alerts:
        raise Refused("alert_not_found")
    await fetch(request, sql("redeliver"), {"customer_id": alerts[0]["customer_id"], "alert_id": alert_id})


def _describe_alert(row: dict[str, Any]) -> ListedAlert:
    return ListedAlert(
        id=row["alert_id"],
        email=row["email"],
        at=row["at"],
        level_before=row["level_before"],
        level=row["level"],
        score=score_of(row["probability"]),
        reason=row["reason"],
        strategy=row["strategy"],
        plan=row["plan"],
        held_out=row["held_out"],
        deliveries=msgspec.json.decode(row["deliveries"], type=list[ListedDelivery]),
        **describe_profile(row),
    )
