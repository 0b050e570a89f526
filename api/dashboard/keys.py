"""The page of API keys: list, create and revoke them."""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from redis import Redis
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from api.auth import find_last_used
from api.dashboard import forms
from api.dashboard.filters import first_event
from api.dashboard.page import address, page, redirect, render
from api.dashboard.session import Session
from api.database import refusing
from api.errors import Refused
from api.reading.common import fetch
from api.words import read_whole
from workers.accounts import keys
from workers.accounts.keys import LONGEST_NAME, PUBLISHABLE_RATE_LIMIT, NewKey, NoSuchKey
from workers.redis import PREFIX, REDIS_AWAY, command_client
from workers.store import Connection, connect, sql

HIGHEST_RATE_LIMIT = 1_000_000
ONCE_SECONDS = 24 * 3600
BAD_LIMIT = f"The limit must be a whole number from 1 to {HIGHEST_RATE_LIMIT:,}. Leave it empty for the default."

T = TypeVar("T")


class KeyInList(NamedTuple):
    """A key as the page shows it. `rate_limit` is in events a second; None: no limit."""

    key_id: int
    hint: str
    publishable: bool
    rate_limit: int | None
    created_at: datetime
    revoked_at: datetime | None
    used_at: datetime | None
    name: str | None


@page
async def list_keys(request: Request, session: Session) -> Response:
    """`GET /keys`: the keys and a form for a new one. `POST`: creates a key and shows it this once."""
    if request.method != "POST":
        return await _show(request, session)
    fields = await forms.read(request, session.token)
    limit = fields.get("rate_limit", "").strip()
    rate_limit = read_whole(limit, 1, HIGHEST_RATE_LIMIT)
    if limit and rate_limit is None:
        return await _show(request, session, status=422, fault=BAD_LIMIT, fields=fields)
    if not await _is_first(request, fields.get("once", "")):
        return redirect("/keys")  # the form was sent twice or reloaded
    publishable = fields.get("kind") == "publishable"
    name = fields.get("name", "").strip()[:LONGEST_NAME]

    def create(connection: Connection, redis: Redis) -> NewKey:
        return keys.create(
            connection, redis, session.account, publishable=publishable, rate_limit=rate_limit, name=name
        )

    created = await _run_with_servers(request, create)
    command = first_event(address(request), created.secret)
    return await _show(request, session, created=created, command=command)


@page
async def revoke_key(request: Request, session: Session) -> Response:
    """`GET /keys/{key_id}/revoke`: asks for confirmation. `POST`: revokes the key."""
    working = [key for key in await _list_keys(request, session) if key.revoked_at is None]
    chosen = next((key for key in working if key.key_id == request.path_params["key_id"]), None)
    if chosen is None:
        raise Refused("not_found", "This key doesn't exist, or it is already revoked.")
    if request.method != "POST":
        last = not chosen.publishable and sum(not key.publishable for key in working) == 1
        return render(request, "revoke.html", session, key=chosen, own=chosen.key_id == session.key_id, last=last)
    await forms.read(request, session.token)

    def revoke(connection: Connection, redis: Redis) -> None:
        keys.revoke(connection, redis, chosen.key_id, session.account_id)

    await _run_with_servers(request, revoke)
    return redirect("/sign-in" if chosen.key_id == session.key_id else f"/keys?revoked={chosen.key_id}")


async def _show(request: Request, session: Session, status: int = 200, **context: Any) -> Response:
    listed = await _list_keys(request, session)
    just_revoked = request.query_params.get("revoked", "")
    shown: Mapping[str, Any] = {
        "keys": [key for key in listed if key.revoked_at is None],
        "revoked": [key for key in listed if key.revoked_at is not None],
        "just_revoked": next((key for key in listed if key.revoked_at and str(key.key_id) == just_revoked), None),
        "once": secrets.token_urlsafe(16),
        "default_limit": PUBLISHABLE_RATE_LIMIT,
        "highest_limit": HIGHEST_RATE_LIMIT,
        "longest_name": LONGEST_NAME,
        "address": address(request),
        "created": None,
        "command": None,
        "fault": None,
        "fields": {},
    }
    return render(request, "keys.html", session, status, **{**shown, **context})


async def _list_keys(request: Request, session: Session) -> list[KeyInList]:
    rows = await fetch(request, sql("account_keys"), {"account_id": session.account_id})
    try:
        used = await find_last_used(request.app.state.door.redis, [row["key_id"] for row in rows])
    except REDIS_AWAY:
        used = {}
    return [
        KeyInList(
            **{**row, "rate_limit": row["rate_limit"] or (PUBLISHABLE_RATE_LIMIT if row["publishable"] else None)},
            used_at=used.get(row["key_id"]),
        )
        for row in rows
    ]


async def _is_first(request: Request, once: str) -> bool:
    """True the first time this form is sent. Raises Refused, buffer_unavailable."""
    try:
        return bool(await request.app.state.door.redis.set(f"{PREFIX}:form:{once[:64]}", 1, nx=True, ex=ONCE_SECONDS))
    except REDIS_AWAY:
        raise _buffer_unavailable() from None


async def _run_with_servers(request: Request, work: Callable[[Connection, Redis], T]) -> T:
    """Runs `work` with both servers, in a thread. Raises Refused: store_unavailable, buffer_unavailable."""
    settings = request.app.state.settings

    def run() -> T:
        with connect(settings.database_url) as connection, command_client(settings.redis_url) as redis:
            return work(connection, redis)

    try:
        with refusing():
            return await run_in_threadpool(run)
    except (RedisError, OSError):
        raise _buffer_unavailable() from None
    except NoSuchKey:
        raise Refused("not_found") from None


def _buffer_unavailable() -> Refused:
    return Refused("buffer_unavailable", "Redis is not available, and keys are copied there. Try again in a moment.")
