"""Keys: see them, make one, end one."""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import psycopg
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
from api.errors import Refused
from api.reading.common import fetch
from workers.accounts import keys
from workers.accounts.keys import PUBLISHABLE_RATE_LIMIT, NewKey, NoSuchKey
from workers.redis import REDIS_AWAY, command_client
from workers.store import Connection, connect, sql

HIGHEST_RATE_LIMIT = 1_000_000
ONCE_SECONDS = 24 * 3600
BAD_LIMIT = f"The limit must be a whole number from 1 to {HIGHEST_RATE_LIMIT:,}, or nothing."

T = TypeVar("T")


class KeyInList(NamedTuple):
    """A key as the page shows it. `rate_limit` is what holds, in events a second; None: no limit."""

    key_id: int
    hint: str
    publishable: bool
    rate_limit: int | None
    created_at: datetime
    revoked_at: datetime | None
    used_at: datetime | None


@page
async def list_keys(request: Request, session: Session) -> Response:
    """`GET /keys`: the keys and a form for another. `POST`: makes one, and shows it this once."""
    if request.method != "POST":
        return await _show(request, session)
    fields = await forms.read(request, session.token)
    limit = fields.get("rate_limit", "").strip()
    if limit and not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:8]) <= HIGHEST_RATE_LIMIT):
        return await _show(request, session, status=422, fault=BAD_LIMIT, given=fields)
    if not await _is_first(request, fields.get("once", "")):
        return redirect("/keys")  # sent twice, or loaded anew: one key is enough
    publishable = fields.get("kind") == "publishable"
    rate_limit = int(limit) if limit else None

    def make(connection: Connection, redis: Redis) -> NewKey:
        return keys.create(connection, redis, session.account, publishable=publishable, rate_limit=rate_limit)

    made = await _with_servers(request, make)
    return await _show(request, session, made=made, command=first_event(address(request), made.secret))


@page
async def revoke_key(request: Request, session: Session) -> Response:
    """`GET /keys/{key_id}/revoke`: are you sure? `POST`: the key is revoked."""
    listed = [one for one in await _listed(request, session) if one.revoked_at is None]
    found = next((one for one in listed if one.key_id == request.path_params["key_id"]), None)
    if found is None:
        raise Refused("not_found", "There is no such key, or it is revoked already.")
    if request.method != "POST":
        last = not found.publishable and sum(not one.publishable for one in listed) == 1
        return render(request, "revoke.html", session, key=found, own=found.key_id == session.key_id, last=last)
    await forms.read(request, session.token)

    def revoke(connection: Connection, redis: Redis) -> None:
        keys.revoke(connection, redis, found.key_id, session.account_id)

    await _with_servers(request, revoke)
    return redirect("/sign-in" if found.key_id == session.key_id else f"/keys?revoked={found.key_id}")


async def _show(request: Request, session: Session, status: int = 200, **context: Any) -> Response:
    listed = await _listed(request, session)
    gone = request.query_params.get("revoked", "")
    shown: Mapping[str, Any] = {
        "keys": [one for one in listed if one.revoked_at is None],
        "revoked": [one for one in listed if one.revoked_at is not None],
        "just_revoked": next((one for one in listed if one.revoked_at and str(one.key_id) == gone), None),
        "once": secrets.token_urlsafe(16),
        "default_limit": PUBLISHABLE_RATE_LIMIT,
        "highest_limit": HIGHEST_RATE_LIMIT,
        "address": address(request),
        "made": None,
        "command": None,
        "fault": None,
        "given": {},
    }
    return render(request, "keys.html", session, status, **{**shown, **context})


async def _listed(request: Request, session: Session) -> list[KeyInList]:
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
    """Whether this form is sent for the first time. Raises Refused, buffer_unavailable."""
    try:
        return bool(await request.app.state.door.redis.set(f"windback:form:{once[:64]}", 1, nx=True, ex=ONCE_SECONDS))
    except REDIS_AWAY:
        raise _redis_is_away() from None


async def _with_servers(request: Request, work: Callable[[Connection, Redis], T]) -> T:
    """What `work` does with both servers, in a thread. Raises Refused: store_unavailable, buffer_unavailable."""
    settings = request.app.state.settings

    def run() -> T:
        with connect(settings.database_url) as connection, command_client(settings.redis_url) as redis:
            return work(connection, redis)

    try:
        return await run_in_threadpool(run)
    except psycopg.OperationalError:
        raise Refused("store_unavailable") from None
    except (RedisError, OSError):
        raise _redis_is_away() from None
    except NoSuchKey:
        raise Refused("not_found") from None


def _redis_is_away() -> Refused:
    return Refused("buffer_unavailable", "Redis is not available, and keys are mirrored there; try again.")
