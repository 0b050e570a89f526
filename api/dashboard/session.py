"""Who is signed in: a signed cookie that names a key, good while the key is.

The cookie holds no secret. What it is signed with is made once and kept in Postgres, for all web processes alike.
"""

import hashlib
import secrets
from datetime import timedelta
from typing import NamedTuple

import msgspec
from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from api.reading.common import fetch
from workers.accounts.keys import SECRET_PREFIX, digest
from workers.store import sql

COOKIE = "windback_session"
LASTS = timedelta(days=7)
SALT = "windback.dashboard.session"
LONGEST_COOKIE = 1000


class Signed(msgspec.Struct, array_like=True):
    """What the cookie says. `token` is what the session's forms carry."""

    session_id: str
    token: str
    key_id: int


class Session(NamedTuple):
    """Somebody who is signed in, by which key (`hint` is what may be shown of it), to which account."""

    session_id: str
    token: str
    key_id: int
    account_id: int
    account: str
    hint: str


async def current(request: Request) -> Session | None:
    """The request's session. Raises Refused, store_unavailable."""
    cookie = request.cookies.get(COOKIE, "")
    said = _read(await _signer(request), cookie) if 0 < len(cookie) <= LONGEST_COOKIE else None
    if said is None:
        return None
    found = await fetch(request, sql("find_session"), {"key_id": said.key_id, "session_id": said.session_id})
    return Session(said.session_id, said.token, said.key_id, **found[0]) if found else None


async def key_id_of(request: Request, secret: str) -> int | None:
    """The secret key that this is, if it works. Raises Refused, store_unavailable."""
    if not secret.startswith(SECRET_PREFIX):
        return None
    found = await fetch(request, sql("find_secret_key"), {"hash": digest(secret.encode())})
    return int(found[0]["key_id"]) if found else None


async def begin(request: Request, response: Response, key_id: int) -> None:
    """Sign in: the answer carries the cookie."""
    said = Signed(secrets.token_urlsafe(16), secrets.token_urlsafe(16), key_id)
    signer = await _signer(request)
    response.set_cookie(
        COOKIE,
        signer.dumps(msgspec.to_builtins(said)),
        max_age=int(LASTS.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=over_https(request),
    )


async def end(request: Request, response: Response, session: Session) -> None:
    """Sign out: the cookie goes, and is worth nothing where a copy of it is left."""
    parameters = {"session_id": session.session_id, "seconds": LASTS.total_seconds()}
    await fetch(request, sql("end_session"), parameters)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=over_https(request))


def over_https(request: Request) -> bool:
    """Whether the browser spoke TLS, to us or to a proxy before us."""
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))


async def _signer(request: Request) -> URLSafeTimedSerializer:
    state = request.app.state
    if not hasattr(state, "signer"):
        made = {"name": "session", "secret": secrets.token_bytes(32)}
        ((row),) = await fetch(request, sql("signing_secret"), made)
        how = {"digest_method": hashlib.sha256}
        state.signer = URLSafeTimedSerializer(bytes(row["secret"]), salt=SALT, signer_kwargs=how)
    signer: URLSafeTimedSerializer = state.signer
    return signer


def _read(signer: URLSafeTimedSerializer, cookie: str) -> Signed | None:
    try:
        return msgspec.convert(signer.loads(cookie, max_age=int(LASTS.total_seconds())), Signed)
    except (BadData, msgspec.ValidationError):
        return None
