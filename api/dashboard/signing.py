"""Signing in, with a secret key, and out."""

import re

from starlette.requests import Request
from starlette.responses import Response

from api.dashboard import forms, session
from api.dashboard.page import page, redirect, render
from api.dashboard.session import Session
from api.errors import Refused
from workers.accounts.keys import PUBLISHABLE_PREFIX
from workers.redis import PREFIX, REDIS_AWAY

ATTEMPTS = 10  # failed ones, of one address, within
WINDOW_SECONDS = 60
LOCAL_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")

EMPTY = "Paste a secret key of your account. It begins with sk_live_."
PUBLISHABLE = (
    "This is a publishable key. It may only track events, because every visitor of your site can read it. Sign in "
    "with a secret key, which begins with sk_live_."
)
UNKNOWN = "This key is unknown or revoked. Check that you copied all of it."
TOO_MANY = "Too many wrong keys. Wait a minute, then try again."


async def sign_in(request: Request) -> Response:
    """`GET /sign-in`: the form. `POST`: a session, if the key is good."""
    if request.method != "POST":
        if await session.current(request):
            return redirect(_local_path(request.query_params.get("next")))
        return _render_form(request, request.query_params.get("next"))
    fields = await forms.read(request, None)
    wanted, secret = fields.get("next"), fields.get("key", "").strip()
    if await _count_failures(request) >= ATTEMPTS and not await _is_known(request, secret):
        answer = _render_form(request, wanted, TOO_MANY, 429)
        answer.headers["Retry-After"] = str(WINDOW_SECONDS)
        return answer
    if not secret:
        return _render_form(request, wanted, EMPTY, 422)
    if secret.startswith(PUBLISHABLE_PREFIX):
        return _render_form(request, wanted, PUBLISHABLE, 403)
    key_id = await session.find_key_id(request, secret)
    if key_id is None:
        await _note_failure(request)
        return _render_form(request, wanted, UNKNOWN, 401)
    request.app.state.door.keys.note_use(key_id)
    answer = redirect(_local_path(wanted))
    await session.begin(request, answer, key_id)
    return answer


@page
async def sign_out(request: Request, current: Session) -> Response:
    """`POST /sign-out`: the session is over."""
    await forms.read(request, current.token)
    answer = redirect("/sign-in")
    await session.end(request, answer, current)
    return answer


def _render_form(request: Request, wanted: str | None, fault: str | None = None, status: int = 200) -> Response:
    return render(request, "sign_in.html", status=status, fault=fault, wanted=_local_path(wanted))


def _local_path(wanted: str | None) -> str:
    """Returns the page to show after signing in: one of this site, else the overview."""
    return wanted if wanted and LOCAL_PATH.fullmatch(wanted) else "/"


def _failures_key(request: Request) -> str:
    return f"{PREFIX}:sign-in:{request.client.host if request.client else ''}"


async def _is_known(request: Request, secret: str) -> bool:
    """Returns whether a key works, as the tracking route knows it: so a flood of wrong ones costs Postgres nothing, and
    the right one signs in whatever others at the same address typed."""
    try:
        await request.app.state.door.keys.authenticate({"headers": [(b"x-api-key", secret.encode())]})
    except Refused:
        return False
    return True


async def _count_failures(request: Request) -> int:
    """Wrong keys of this address within the window. 0 without Redis: keys can't be guessed anyway."""
    try:
        return int(await request.app.state.door.redis.get(_failures_key(request)) or 0)
    except REDIS_AWAY:
        return 0


async def _note_failure(request: Request) -> None:
    try:
        async with request.app.state.door.redis.pipeline() as pipeline:
            pipeline.incr(_failures_key(request))
            pipeline.expire(_failures_key(request), WINDOW_SECONDS, nx=True)
            await pipeline.execute()
    except REDIS_AWAY:
        return
