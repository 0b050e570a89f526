"""Everything the service is: its routes, and what they share while it runs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

from psycopg_pool import AsyncConnectionPool
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from api import customers, operate
from api.auth import Keys
from api.errors import Refused, on_error, on_http_exception, on_refused
from api.track import Track
from workers import tickets
from workers.lanes import LANES
from workers.process import redis_client
from workers.settings import Settings
from workers.store import CONNECT
from workers.writer import WRITE_SECONDS, Writer

log = logging.getLogger(__name__)

POOL_SIZE = 8
POOL_WAIT_SECONDS = 2.0


def create_app(settings: Settings) -> Starlette:
    """The service. It opens nothing before its lifespan starts."""
    settings.needs("database_url", "redis_url")
    assert settings.redis_url
    assert settings.database_url
    redis = door_redis(settings.redis_url)
    tickets_redis = redis_client(settings.redis_url)
    issue = _ticket_issuer(tickets_redis)
    writers = {name: Writer(redis, lane, issue) for name, lane in LANES.items()}
    keys = Keys(redis)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        pool = AsyncConnectionPool(
            settings.database_url or "",
            min_size=1,
            max_size=POOL_SIZE,
            timeout=POOL_WAIT_SECONDS,
            kwargs=CONNECT,
            open=False,
        )
        await pool.open()  # does not wait: Postgres may be away
        app.state.pool, app.state.keys, app.state.redis, app.state.settings = pool, keys, redis, settings
        yield
        for writer in writers.values():
            await writer.finish()
        await pool.close(timeout=2)
        await redis.aclose()
        tickets_redis.close()

    return Starlette(
        routes=[
            Route("/api/v1/track", Track(keys, writers)),
            Route("/api/v1/customers", customers.list_customers, methods=["GET"]),
            Route("/api/v1/customers/{email:path}/events", customers.list_events, methods=["GET"]),
            Route("/api/v1/customers/{email:path}/risk", customers.list_risk, methods=["GET"]),
            Route("/api/v1/customers/{email:path}", customers.show_customer, methods=["GET"]),
            Route("/healthz", operate.healthz, methods=["GET"]),
            Route("/readyz", operate.readyz, methods=["GET"]),
        ],
        exception_handlers={Refused: on_refused, HTTPException: on_http_exception, Exception: on_error},
        lifespan=lifespan,
    )


def door_redis(url: str) -> Redis:
    """A client that says within a second that it can't: no waiting, no second try behind our back."""
    return Redis.from_url(
        url,
        socket_timeout=WRITE_SECONDS,
        socket_connect_timeout=WRITE_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def _ticket_issuer(redis: SyncRedis) -> Callable[[str], Coroutine[None, None, None]]:
    """RQ knows no asyncio: a ticket is issued in a thread. One that fails is issued later by the clock."""

    async def issue(queue: str) -> None:
        try:
            await asyncio.to_thread(tickets.issue, redis, queue)
        except (RedisError, OSError) as error:
            log.warning("a ticket for %s was not issued: %s", queue, error)

    return issue
