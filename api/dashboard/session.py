"""Sessions: a signed cookie names a key, and is valid while the key is.

The cookie holds no secret. The signing secret is made once and kept in Postgres, shared by all web processes.
"""

import hashlib
import secrets
from datetime import timedelta
from typing import NamedTuple

import msgspec
from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard import zones
from api.origins import is_https
from api.reading.common import fetch
from workers.accounts.keys import SECRET_PREFIX, digest
from workers.store import sql

COOKIE = "windback_session"
LASTS = timedelta(days=7)
SALT = "windback.dashboard.session"
LONGEST_COOKIE = 1000


class SessionCookie(msgspec.Struct, array_like=True):
    """The cookie's content. The session's forms carry `token`."""

    session_id: str
    token: str
    key_id: int


class Session(NamedTuple):
    """A signed-in user: the key, the part of it that may be shown (`hint`), its account and that one's time zone."""

    session_id: str
    token: str
    key_id: int
    account_id: int
    account: str
    hint: str
    time_zone: str


async def current(request: Request) -> Session | None:
    """The request's session. Raises Refused, store_unavailable."""
    cookie = request.cookies.get(COOKIE, "")
    content = _read(await _signer(request), cookie) if 0 < len(cookie) <= LONGEST_COOKIE else None
    if content is None:
        return None
    rows = await fetch(request, sql("find_session"), {"key_id": content.key_id, "session_id": content.session_id})
    if not rows:
        return None
    session = Session(content.session_id, content.token, content.key_id, **rows[0])
    zones.use(session.time_zone)
    return session


async def find_key_id(request: Request, secret: str) -> int | None:
    """Returns the id of a secret key that works, else None. Raises Refused, store_unavailable."""
    if not secret.startswith(SECRET_PREFIX):
        return None
    rows = await fetch(request, sql("find_secret_key"), {"hash": digest(secret.encode())})
    return int(rows[0]["key_id"]) if rows else None


async def begin(request: Request, response: Response, key_id: int) -> None:
    """Sign in: sets the cookie on the answer."""
    content = SessionCookie(secrets.token_urlsafe(16), secrets.token_urlsafe(16), key_id)
    signer = await _signer(request)
    response.set_cookie(
        COOKIE,
        signer.dumps(msgspec.to_builtins(content)),
        max_age=int(LASTS.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=is_https(request),
    )


async def end(request: Request, response: Response, session: Session) -> None:
    """Sign out: deletes the cookie, and ends the session for any copy of it."""
    parameters = {"session_id": session.session_id, "seconds": LASTS.total_seconds()}
    await fetch(request, sql("end_session"), parameters)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=is_https(request))


async def _signer(request: Request) -> URLSafeTimedSerializer:
    state = request.app.state
    if not hasattr(state, "signer"):
        parameters = {"name": "session", "secret": secrets.token_bytes(32)}
        rows = await fetch(request, sql("find_signing_secret"), parameters)  # first: a Postgres that only reads has it
        ((row),) = rows or await fetch(request, sql("make_signing_secret"), parameters)
        options = {"digest_method": hashlib.sha256}
        state.signer = URLSafeTimedSerializer(bytes(row["secret"]), salt=SALT, signer_kwargs=options)
    signer: URLSafeTimedSerializer = state.signer
    return signer


def _read(signer: URLSafeTimedSerializer, cookie: str) -> SessionCookie | None:
    try:
        return msgspec.convert(signer.loads(cookie, max_age=int(LASTS.total_seconds())), SessionCookie)
    except (BadData, msgspec.ValidationError):
        return None
