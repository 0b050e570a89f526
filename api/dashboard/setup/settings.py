"""Settings: an account's own choices in one place; training by hand, and Stripe's webhooks."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from redis import Redis
from redis.exceptions import RedisError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard import forms
from api.dashboard.page import address, page, redirect, render
from api.dashboard.session import Session
from api.database import in_database
from api.doors import stripe
from api.errors import Refused
from api.reading.common import fetch
from api.reading.model import read_model
from api.words import read_whole
from workers.accounts import registry, renewals, stripe_sources
from workers.accounts.models import NoEarlierModel
from workers.accounts.time_zones import explain_bad_time_zone, list_time_zones
from workers.learning import nightly
from workers.redis import command_client
from workers.store import Connection, sql

T = TypeVar("T")

LONGEST_HORIZON: Final = 365
BAD_HORIZON: Final = f"Days must be a whole number from 1 to {LONGEST_HORIZON}, or empty: Windback then learns it."
MOST_HELD_OUT: Final = 90  # percent
BAD_HOLDOUT: Final = f"Percent must be a whole number from 0 to {MOST_HELD_OUT}."
SAVED: Final = {
    "horizon": "Saved. All risks are computed anew within a minute.",
    "holdout": "Saved. It applies to the alerts from now on.",
    "time_zone": "Saved. Pages show times in this zone.",
    "train": "The training starts within seconds. The page Model shows its result.",
    "roll_back": "The previous model is coming back. Every customer has a new score within a minute.",
    "stripe": "Enter the new address in Stripe's dashboard, as a webhook endpoint.",
    "unstripe": "The address no longer works.",
}


@page
async def show_or_save(request: Request, session: Session) -> Response:
    """`GET /settings`; `POST`: does what the form's `action` says."""
    if request.method != "POST":
        return await _show(request, session)
    fields = await forms.read(request, session.token)
    action = ACTIONS.get(fields.get("action", ""))
    if action is None:
        raise Refused("not_found")
    fault = await action(request, session, fields)
    return await _show(request, session, fault) if fault else redirect(f"/settings?done={fields['action']}")


async def _show(request: Request, session: Session, fault: str | None = None) -> Response:
    model = await read_model(request, session.account_id)
    accounts = await fetch(request, sql("list_account_rules"), {"name": None, "account_id": session.account_id})
    sources = await fetch(request, sql("list_stripe_sources"), {"account_id": session.account_id})
    settings = request.app.state.settings
    return render(
        request,
        "settings.html",
        session,
        status=422 if fault else 200,
        fault=fault,
        done=SAVED.get(request.query_params.get("done", "")),
        model=model,
        chosen=accounts[0]["horizon_chosen"] if accounts else None,
        held_out=accounts[0]["holdout_percent"] if accounts else 0,
        most_held_out=MOST_HELD_OUT,
        fixed=settings.horizon_days,
        levels=settings.levels,
        sources=sources,
        address=address(request),
        longest_horizon=LONGEST_HORIZON,
        time_zones=list_time_zones(),
    )


async def _set_horizon(request: Request, session: Session, fields: Mapping[str, str]) -> str | None:
    days = fields.get("horizon", "").strip()
    horizon_days = read_whole(days, 1, LONGEST_HORIZON)
    if days and horizon_days is None:
        return BAD_HORIZON

    def choose(connection: Connection) -> None:
        (account,) = registry.list_accounts(connection, session.account)
        registry.choose_rules(connection, session.account, account.mappings, horizon_days)

    await in_database(request, choose)
    return None


async def _set_holdout(request: Request, session: Session, fields: Mapping[str, str]) -> str | None:
    percent = read_whole(fields.get("percent", "").strip(), 0, MOST_HELD_OUT)
    if percent is None:
        return BAD_HOLDOUT
    await in_database(request, lambda connection: registry.choose_acting(connection, session.account, float(percent)))
    return None


async def _set_time_zone(request: Request, session: Session, fields: Mapping[str, str]) -> str | None:
    name = fields.get("time_zone", "").strip()
    if fault := explain_bad_time_zone(name):
        return f"{fault}."
    await in_database(request, lambda connection: registry.choose_time_zone(connection, session.account_id, name))
    return None


async def _train(request: Request, session: Session, fields: Mapping[str, str]) -> str | None:
    await _with_redis(request, lambda redis: nightly.ask_for_training(redis, session.account_id))
    return None


async def _roll_back(request: Request, session: Session, fields: Mapping[str, str]) -> str | None:
    try:
        await in_database(request, lambda connection: renewals.request_roll_back(connection, session.account_id))
    except NoEarlierModel as error:
        return str(error)[:1].upper() + str(error)[1:] + "."
    return None


async def _add_stripe(request: Request, session: Session, fields: Mapping[str, str]) -> str | None:
    try:
        await stripe.add(request, session.account_id, fields.get("secret", ""))
    except Refused as refused:
        if refused.code != "invalid_webhook":
            raise
        return refused.message
    return None


async def _remove_stripe(request: Request, session: Session, fields: Mapping[str, str]) -> str | None:
    token = fields.get("token_of", "")
    await in_database(request, lambda connection: stripe_sources.remove_source(connection, session.account_id, token))
    return None


ACTIONS: Final[Mapping[str, Callable[[Request, Session, Mapping[str, str]], Any]]] = {
    "horizon": _set_horizon,
    "holdout": _set_holdout,
    "time_zone": _set_time_zone,
    "train": _train,
    "roll_back": _roll_back,
    "stripe": _add_stripe,
    "unstripe": _remove_stripe,
}


async def _with_redis(request: Request, work: Callable[[Redis], T]) -> T:
    def run() -> T:
        with command_client(request.app.state.settings.redis_url) as redis:
            return work(redis)

    try:
        return await run_in_threadpool(run)
    except (RedisError, OSError):
        raise Refused("buffer_unavailable", "Redis is not available; try again.") from None
