"""Importing history on a page: upload, preview, mapping, progress. A process of its own reads and sends the file."""

import platform
import secrets
import time
from collections.abc import Mapping
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from api.dashboard import forms
from api.dashboard.forms import FOREIGN, FormRefused, is_ours
from api.dashboard.page import page, redirect, render
from api.dashboard.session import Session
from api.errors import Refused
from api.history.presets import PRESETS
from api.history.times import ORDERS
from api.imports import folder
from api.imports import state as states
from api.imports.launch import Task
from api.imports.state import FileImport
from api.imports.upload import NO_ROOM, Upload, UploadRefused, too_large
from api.origins import is_same_origin
from api.server.patience import be_patient
from api.track.rules import FIELDS
from scoring.events import RECOGNISED
from workers.redis import REDIS_AWAY

FORM_BYTES: Final = 128 * 1024  # 40 names of events, each of 200 characters
LONGEST_NAME: Final = 100  # of a file, on the page
COLUMN, NAME = "column:", "name:"
PRODUCTS: Final = {
    "": "My own file (CSV or JSON lines)",
    "mixpanel": "Mixpanel",
    "amplitude": "Amplitude",
    "posthog": "PostHog",
    "segment": "Segment",
    "stripe": "Stripe",
}
FIELD_WORDS: Final = {
    "event": "Name of the event",
    "customer_email": "E-mail address",
    "user_id": "User id",
    "timestamp": "Time",
    "event_id": "Event id",
    "properties": "Properties (JSON)",
}
EMPTY: Final = "Choose a file; the one that arrived is empty."
GONE: Final = "The file is gone: it is kept for a day, on one machine. Upload it again; nothing is stored twice."
BUSY: Final = "An import is at work already. Wait until it is done, or stop it."

assert {*FIELD_WORDS} == {*FIELDS}
assert {*PRODUCTS} == {"", *PRESETS}


@page
async def list_or_upload(request: Request, session: Session) -> Response:
    """`GET /import`: shows a form and the latest imports. `POST`: takes a file and shows a preview."""
    if request.method != "POST":
        return await _list(request, session)
    try:
        state = await _receive(request, session)
    except UploadRefused as refused:
        return await _list(request, session, str(refused), refused.status)
    await _begin(request, state, "preview")
    return redirect(f"/import/{state.import_id}")


@page
async def show_or_change(request: Request, session: Session) -> Response:
    """`GET /import/{id}`: shows the preview or the progress. `POST`: carries out the form's `action`."""
    state = await _find(request, session)
    if request.method != "POST":
        return _show(request, session, state)
    fields = await forms.read(request, session.token, FORM_BYTES, most_fields=200)
    fault = await _act(request, session, state, fields)
    if fault:
        return _show(request, session, state, fault)
    return redirect("/import" if fields.get("action") == "remove" else f"/import/{state.import_id}")


async def _act(request: Request, session: Session, state: FileImport, fields: Mapping[str, str]) -> str | None:
    """Returns the fault of the form in words, or None."""
    settings, redis, action = request.app.state.settings, request.app.state.door.redis, fields.get("action", "")
    working = state.is_working(time.time())
    if action in ("remove", "stop"):
        if working:
            await redis.set(states.stop_key(state.import_id), 1, ex=60)
        if action == "remove":
            await run_in_threadpool(folder.remove, settings, state.import_id)
            await states.forget(redis, session.account_id, state.import_id)
        return None
    if action not in ("preview", "send"):
        raise Refused("not_found")
    if working:
        return BUSY
    if not await run_in_threadpool(folder.path_of(settings, state.import_id).exists):
        return GONE
    if COLUMN + "event" in fields or "preset" in fields:  # a form with the mapping; *Run again* has none
        _read_mapping(state, fields)
    if action == "send" and await _is_another_working(request, session):
        return BUSY
    await _begin(request, state, "preview" if action == "preview" else "send")
    return None


async def _is_another_working(request: Request, session: Session) -> bool:
    now = time.time()
    imports = await states.list_imports(request.app.state.door.redis, session.account_id)
    return any(state.is_working(now) and state.stage != "reading" for state in imports)


def _read_mapping(state: FileImport, fields: Mapping[str, str]) -> None:
    preset = fields.get("preset", "")
    state.preset = preset if preset in PRESETS else None
    state.now = "now" in fields
    state.dates = next((order for order in ORDERS if fields.get("dates") == order), None)
    chosen = {
        name.removeprefix(COLUMN): theirs for name, theirs in fields.items() if name.startswith(COLUMN) and theirs
    }
    state.columns = {ours: theirs for ours, theirs in chosen.items() if ours in FIELDS and ours != theirs}
    renamed = {name.removeprefix(NAME): ours for name, ours in fields.items() if name.startswith(NAME)}
    state.renames = {theirs: ours for theirs, ours in renamed.items() if ours in RECOGNISED}


async def _receive(request: Request, session: Session) -> FileImport:
    """Returns a new import, whose file is on the disk. Raises UploadRefused, FormRefused."""
    settings = request.app.state.settings
    import_id = secrets.token_hex(8)
    await run_in_threadpool(folder.remove_old, settings)

    def check(fields: Mapping[str, str]) -> None:
        if not is_same_origin(request) or not is_ours(fields, session.token):
            raise FormRefused(FOREIGN)

    limit = settings.upload_bytes
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced[:18]) > limit + FORM_BYTES:
        raise too_large(limit)
    be_patient(request)
    try:
        paths = {kind: folder.path_of(settings, import_id, kind) for kind in (folder.FILE, folder.PEOPLE)}
        upload = Upload(
            request.headers.get("content-type", ""), paths, check, limit, lambda: folder.find_free_bytes(settings)
        )
        await upload.receive(request.stream())
        check(upload.fields)
        if not upload.sizes.get(folder.FILE):
            raise UploadRefused(EMPTY)
        if not upload.sizes.get(folder.PEOPLE):
            paths[folder.PEOPLE].unlink(missing_ok=True)
    except (OSError, ClientDisconnect, UploadRefused, FormRefused) as error:
        await run_in_threadpool(folder.remove, settings, import_id)
        if isinstance(error, OSError):
            raise UploadRefused(NO_ROOM) from None
        raise
    name = upload.names[folder.FILE].replace("\\", "/").rpartition("/")[2][:LONGEST_NAME] or "file"
    size = upload.sizes[folder.FILE]
    return FileImport(import_id, session.account_id, name, size, time.time(), platform.node())


async def _begin(request: Request, state: FileImport, task: Task) -> None:
    """Start a process, and write down that it works. Raises Refused: buffer_unavailable."""
    state.begin("reading" if task == "preview" else "sending")
    await _save(request, state)
    await request.app.state.launcher.launch(state, task)


async def _save(request: Request, state: FileImport) -> None:
    redis = request.app.state.door.redis
    try:
        imports = await states.list_imports(redis, state.account_id)
        await states.forget(redis, state.account_id, *(old.import_id for old in imports[states.MOST_IMPORTS :]))
        await states.save(redis, state)
    except REDIS_AWAY:
        raise Refused("buffer_unavailable") from None


async def _find(request: Request, session: Session) -> FileImport:
    try:
        state = await states.find(request.app.state.door.redis, session.account_id, request.path_params["import_id"])
    except REDIS_AWAY:
        raise Refused("buffer_unavailable") from None
    if state is None:
        raise Refused("not_found")
    return state


async def _list(request: Request, session: Session, fault: str | None = None, status: int = 200) -> Response:
    try:
        imports = await states.list_imports(request.app.state.door.redis, session.account_id)
    except REDIS_AWAY:
        raise Refused("buffer_unavailable") from None
    return render(
        request,
        "imports.html",
        session,
        status=status,
        fault=fault,
        imports=imports,
        now=time.time(),
        limit=request.app.state.settings.upload_bytes,
    )


def _show(request: Request, session: Session, state: FileImport, fault: str | None = None) -> Response:
    now = time.time()
    return render(
        request,
        "import.html",
        session,
        status=422 if fault else 200,
        fault=fault,
        state=state,
        working=state.is_working(now),
        interrupted=state.was_interrupted(now),
        products=PRODUCTS,
        fields=FIELD_WORDS,
        recognised=RECOGNISED,
        chosen={field: state.columns.get(field, field) for field in FIELDS},
    )
