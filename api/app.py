"""Everything the service is: its routes, and what they share while it runs."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from api.alerts.routes import OF_A_CUSTOMER
from api.alerts.routes import ROUTES as ACTING
from api.dashboard.forms import FormRefused
from api.dashboard.page import on_form_refused, or_page
from api.dashboard.routes import ROUTES as PAGES
from api.docs import page
from api.doors.segment import ROUTES as SEGMENT
from api.doors.stripe import ROUTES as STRIPE
from api.errors import Refused, on_error, on_http_exception, on_refused
from api.headers import SecurityHeaders
from api.health import health, metrics
from api.identities.identify import identify
from api.identities.merging import merge_customer
from api.imports.launch import Launcher
from api.pool import make_pools
from api.reading import analytics, customer, customers, erasing, levels, mappings, model, series, track_record, warnings
from api.reading.erasing import Erasures
from api.reading.etags import validated
from api.reading.sources import Sources
from api.request_id import identified
from api.track.door import Door
from api.track.endpoint import Track
from workers import counters, logs
from workers import settings as configuration
from workers.settings import Settings

TRACK = "/api/v1/track"
ROUTES: Sequence[BaseRoute] = (
    Route("/api/v1/customers", validated(customers.list_customers), methods=["GET"]),
    Route("/api/v1/customers/{email:path}/events", validated(customer.list_events), methods=["GET"]),
    Route("/api/v1/customers/{email:path}/risk", validated(customer.list_risk), methods=["GET"]),
    *OF_A_CUSTOMER,
    Route("/api/v1/customers/{email:path}/merge", merge_customer, methods=["POST"]),
    Route("/api/v1/customers/{email:path}", validated(erasing.show_or_erase), methods=["GET", "DELETE"]),
    Route("/api/v1/analytics/events", validated(analytics.count_events), methods=["GET"]),
    Route("/api/v1/analytics/events/{name:path}", validated(series.show_event), methods=["GET"]),
    Route("/api/v1/analytics/risk", validated(levels.show_levels), methods=["GET"]),
    Route("/api/v1/model", validated(model.show_model), methods=["GET"]),
    Route("/api/v1/model/track-record", validated(track_record.show_track_record), methods=["GET"]),
    Route("/api/v1/identify", identify, methods=["POST"]),
    Route("/api/v1/mappings", validated(mappings.show_or_put_mappings), methods=["GET", "PUT"]),
    *STRIPE,
    *ACTING,
    *SEGMENT,
    Route("/api/v1/warnings", validated(warnings.list_warnings), methods=["GET"]),
    Route("/healthz", health.healthz, methods=["GET"]),
    Route("/readyz", health.readyz, methods=["GET"]),
    Route("/metrics", metrics.metrics, methods=["GET"]),
    *page.ROUTES,
    *PAGES,
)
HANDLERS: Mapping[Any, Any] = {
    Refused: or_page(on_refused),
    HTTPException: or_page(on_http_exception),
    FormRefused: on_form_refused,
    Exception: or_page(on_error),
}


def create_configured_app() -> Starlette:
    """The service of one web process, as the environment says."""
    configured = configuration.load()
    logs.configure(configured)
    app = create_app(configured)
    gc.collect()
    gc.freeze()  # all objects of now stay: the collector need not look at them again
    gc.set_threshold(20_000, 50, 100)  # a request leaves few cycles behind, and each look costs those that wait
    return app


def create_app(settings: Settings) -> Starlette:
    """The service. It opens nothing before its lifespan starts."""
    settings.needs("database_url", "redis_url")
    door = Door(settings)
    track = Track(door.keys, door.buffers, door.warnings)
    return Service(
        track,
        routes=[Route(TRACK, track), *ROUTES],
        middleware=[Middleware(SecurityHeaders)],
        exception_handlers=HANDLERS,
        lifespan=partial(_run, door, settings),
    )


@asynccontextmanager
async def _run(door: Door, settings: Settings, app: Starlette) -> AsyncIterator[None]:
    """Open what the routes share, and close it in the end."""
    await door.open()
    settings = door.buffers.settings  # with as many cells as there are by now
    pool, pools = make_pools(settings)
    sources = Sources(pool, pools)
    closing: set[asyncio.Task[None]] = set()

    async def grow(after: Settings) -> Callable[[], None]:
        home, cells = make_pools(after)
        more = Sources(home, cells)
        await more.open()

        def take_over() -> None:
            closing.add(asyncio.create_task(app.state.sources.close()))
            pools[:] = more.apart
            app.state.pool, app.state.sources, app.state.settings = home, more, after
            launcher.settings = after

        return take_over

    await sources.open()  # does not wait: Postgres may be away
    app.state.pool, app.state.pools, app.state.sources = pool, pools, sources
    app.state.door, app.state.settings = door, settings
    app.state.erasures = Erasures(lambda: app.state.settings)
    launcher = app.state.launcher = Launcher(settings)
    door.buffers.grow = grow
    async with counters.flush_regularly(door.redis):
        yield
    await asyncio.to_thread(launcher.close)
    await door.close()
    await asyncio.gather(*closing, app.state.sources.close())


class Service(Starlette):
    """Starlette, with a short way to the hot route, which needs no middleware: it answers its own errors."""

    def __init__(self, track: Track, **options: Any) -> None:
        super().__init__(**options)
        self.router.redirect_slashes = False  # a redirected POST is a lost event
        self._track = track

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == TRACK:
            await self._track(scope, receive, send)
        elif scope["type"] == "http":
            await identified(super().__call__, scope, receive, send)
        else:
            await super().__call__(scope, receive, send)
