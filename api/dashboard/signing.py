"""Signing in, with a secret key, and out."""

import re

from starlette.requests import Request
from starlette.responses import Response

from api.dashboard import forms, session
from api.dashboard.page import page, redirect, render
from api.dashboard.session import Session
from workers.accounts.keys import PUBLISHABLE_PREFIX
from workers.redis import REDIS_AWAY

ATTEMPTS = 10  # that fail, of an address, within
WINDOW_SECONDS = 60
LOCAL_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")

EMPTY = "Paste a secret key of your account: it begins with sk_live_."
PUBLISHABLE = (
    "This is a publishable key: it may only track events, since everybody who opens your site can read it. Sign in "
    "with a secret key, which begins with sk_live_."
)
UNKNOWN = "This key is unknown or revoked."
TOO_MANY = "That were too many keys that don't work. Wait a minute, then try again."


async def sign_in(request: Request) -> Response:
    """`GET /sign-in`: the form. `POST`: a session, if the key is good."""
    if request.method != "POST":
        if await session.current(request):
            return redirect(_local(request.query_params.get("next")))
        return _form(request, request.query_params.get("next"))
    fields = await forms.read(request, None)
    wanted, secret = fields.get("next"), fields.get("key", "").strip()
    if await _failures(request) >= ATTEMPTS:
        made = _form(request, wanted, TOO_MANY, 429)
        made.headers["Retry-After"] = str(WINDOW_SECONDS)
        return made
    if not secret:
        return _form(request, wanted, EMPTY, 422)
    if secret.startswith(PUBLISHABLE_PREFIX):
        return _form(request, wanted, PUBLISHABLE, 403)
    key_id = await session.key_id_of(request, secret)
    if key_id is None:
        await _note_failure(request)
        return _form(request, wanted, UNKNOWN, 401)
    request.app.state.door.keys.note_use(key_id)
    answer = redirect(_local(wanted))
    await session.begin(request, answer, key_id)
    return answer


@page
async def sign_out(request: Request, found: Session) -> Response:
    """`POST /sign-out`: the session is over."""
    await forms.read(request, found.token)
    answer = redirect("/sign-in")
    await session.end(request, answer, found)
    return answer


def _form(request: Request, wanted: str | None, fault: str | None = None, status: int = 200) -> Response:
    return render(request, "sign_in.html", status=status, fault=fault, wanted=_local(wanted))


def _local(wanted: str | None) -> str:
    """Where to go after signing in: an address of this site, or else the overview."""
    return wanted if wanted and LOCAL_PATH.fullmatch(wanted) else "/"


def _counter(request: Request) -> str:
    return f"windback:sign-in:{request.client.host if request.client else ''}"


async def _failures(request: Request) -> int:
    """How many keys an address tried in vain. Without Redis nobody counts: a key can't be guessed anyway."""
    try:
        return int(await request.app.state.door.redis.get(_counter(request)) or 0)
    except REDIS_AWAY:
        return 0


async def _note_failure(request: Request) -> None:
    try:
        async with request.app.state.door.redis.pipeline() as pipeline:
            pipeline.incr(_counter(request))
            pipeline.expire(_counter(request), WINDOW_SECONDS, nx=True)
            await pipeline.execute()
    except REDIS_AWAY:
        return
