"""`windback up`: the servers, the processes of the Procfile, a first account and its key, on one machine."""

import asyncio
import http.client
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import click
import psycopg
import redis

from api.up import embedded, packaged_servers, preflight, procfile
from api.up.fsync import sync_every_second
from api.up.options import data_dir_option
from api.up.packaged_servers import EmbeddedError, Server
from api.up.preflight import Plan, UpError
from api.up.supervisor import Child, stop_all, voice
from workers import heartbeat, placement, settings, store
from workers.accounts import keys
from workers.cells import MOST_CELLS
from workers.heartbeat import Beats
from workers.logs import first_line
from workers.placement import Announced
from workers.redis import command_client
from workers.settings import SettingsError
from workers.store import migrate

ACCOUNT = "default"
LEFTOVERS_SECONDS = 12.0  # in which the processes of a killed supervisor have ended
READY_SECONDS = 60.0
SETTLED_SECONDS = 0.3
STOP_SECONDS = 3.0  # for the web process, then the workers and the clock, then the servers: ten seconds in all


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, envvar="WINDBACK_HOST", help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on.  [default: PORT, else 8000]")
@data_dir_option
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Workers of each kind.")
@click.option(
    "--cells",
    type=click.IntRange(1, MOST_CELLS),
    help="Cells.  [default: WINDBACK_CELLS, else those of the data folder, else 1]",
)
def up(host: str, port: int | None, data_dir: Path, workers: int, cells: int | None) -> None:
    """Run everything on this machine until Ctrl-C. That is PostgreSQL, Redis, the API, the workers and the clock.

    The servers come from the installed wheels, or from DATABASE_URL and REDIS_URL where these are set. The API key is
    printed, and kept in the data folder's file api-key.
    """
    try:
        configured = settings.load()
        where = data_dir.absolute()
        servers = configured.database_url, configured.redis_url
        chosen = cells or (configured.cells if settings.is_set("cells") else None)
        run(Plan(host, port or configured.port, where, workers, *servers, chosen))
    except (SettingsError, UpError, EmbeddedError) as error:
        raise click.ClickException(str(error)) from None


def run(plan: Plan) -> None:
    """Run it all until SIGINT, SIGTERM or SIGHUP. Raises UpError, EmbeddedError."""
    preflight.check_urls(plan)
    with preflight.alone(plan) as after_a_kill:
        preflight.check_port(plan, LEFTOVERS_SECONDS if after_a_kill else 0.0)
        with _servers(plan) as (servers, share):
            asyncio.run(_run(plan, servers, share))


@contextmanager
def _servers(plan: Plan) -> Iterator[tuple[list[Server], Callable[[], None]]]:
    """Yields the servers to start, after stopping leftovers, and a function that lets other commands use them."""
    makes = [
        make
        for make, url in ((packaged_servers.postgres, plan.database_url), (packaged_servers.valkey, plan.redis_url))
        if not url
    ]
    with ExitStack() as stack:
        share = stack.enter_context(embedded.owning(plan.data_dir, LEFTOVERS_SECONDS)) if makes else lambda: None
        servers = [make(plan.data_dir) for make in makes]
        for server in servers:
            embedded.stop(server)
            packaged_servers.mend(server)
        yield servers, share


async def _run(plan: Plan, servers: list[Server], share: Callable[[], None]) -> None:
    say, hurry = voice("windback"), asyncio.Event()
    _stop_on_signals(hurry)
    backing = [_server_child(server) for server in servers]
    with procfile.lifeline_pipe() as fd:
        children: list[Child] = []
        syncing = asyncio.create_task(sync_every_second(plan.data_dir / "redis"))
        try:
            await _start_servers(servers, backing)
            share()
            plan = await asyncio.to_thread(_count_cells, plan)
            children = procfile.children(_environment(plan), plan.workers, fd)
            secret = await asyncio.to_thread(_set_up, plan)
            await _start_processes(plan, children)
            with suppress(OSError):  # standard output is closed
                click.echo(_welcome(plan, secret))
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            say("stopping; Ctrl-C again to hurry")
        finally:
            web = [child for child in children if child.name == "web"]
            await stop_all(web, STOP_SECONDS, hurry)
            await stop_all((child for child in children if child not in web), STOP_SECONDS, hurry)
            await stop_all(backing, STOP_SECONDS, asyncio.Event())
            syncing.cancel()


def _stop_on_signals(hurry: asyncio.Event) -> None:
    """The first signal cancels the current task; any later one sets `hurry`."""
    task = asyncio.current_task()
    assert task

    def stop() -> None:
        if task.cancelling():
            hurry.set()
        else:
            task.cancel()

    hangup = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]  # as nohup sets it
    for signum in (signal.SIGINT, signal.SIGTERM, *hangup):
        asyncio.get_running_loop().add_signal_handler(signum, stop)


def _server_child(server: Server) -> Child:
    return Child(
        server.name,
        server.argv,
        partial(packaged_servers.launching, server),
        stop_signal=server.stop_signal,
        last_words=lambda: f"({embedded.last_words(server)})",
    )


async def _start_servers(servers: list[Server], backing: list[Child]) -> None:
    for server, child in zip(servers, backing, strict=True):
        child.say(f"logs to {server.log}")
        child.start()
    for server in servers:
        if reason := await _wait_while(partial(embedded.trouble, server.url), embedded.START_SECONDS):
            raise UpError(f"{server.name} does not start: {reason} (its log: {server.log})")


async def _start_processes(plan: Plan, children: list[Child]) -> None:
    """Start them, and wait until the API is ready and each of the others has beaten. Raises UpError."""
    for child in children:
        child.start()
    if reason := await _wait_while(lambda: None if _hopeless(children) else _unready(plan), READY_SECONDS):
        raise UpError(f"The API was not ready within {READY_SECONDS:g} seconds ({reason}); see the lines above")
    with command_client(_urls(plan)[1]) as client:
        for _ in range(2):  # the second look: none that beat ended at once
            reason = await _wait_while(
                lambda: None if _hopeless(children) else _list_silent(children, client), READY_SECONDS
            )
            if reason or (reason := _hopeless(children)):
                raise UpError(f"{reason}; see the lines above")
            await asyncio.sleep(SETTLED_SECONDS)


def _hopeless(children: list[Child]) -> str | None:
    """Why to give up: a process that ended several times in the same way."""
    child = next((child for child in children if child.hopeless), None)
    return f"{child.name} does not run: it {child.hopeless}" if child else None


def _list_silent(children: list[Child], client: redis.Redis) -> str | None:
    """The processes besides the API that have not beaten yet, or None."""
    pipeline = client.pipeline(transaction=False)
    heartbeat.queue_read(pipeline)
    try:
        beats = heartbeat.parse(pipeline.execute()[0])
    except redis.RedisError as error:
        return f"Redis doesn't answer: {first_line(error)}"
    silent = [child.name for child in children if child.name != "web" and not _has_beaten(child, beats)]
    return f"{', '.join(silent)} did not begin to work within {READY_SECONDS:g} seconds" if silent else None


def _has_beaten(child: Child, beats: Beats) -> bool:
    return any(name.startswith(f"{socket.gethostname()}-{child.pid}-") for name in beats)


async def _wait_while(reason: Callable[[], str | None], seconds: float) -> str | None:
    """Waits until `reason` returns None. Returns the last reason after that many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        why = await asyncio.to_thread(reason)
        if not why or time.monotonic() >= deadline:
            return why
        await asyncio.sleep(0.05)


def _unready(plan: Plan) -> str | None:
    connection = http.client.HTTPConnection(plan.reached, plan.port, timeout=3)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return None if answer.status == http.HTTPStatus.OK else answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    finally:
        connection.close()


def _urls(plan: Plan) -> tuple[str, str]:
    ours = packaged_servers.urls(plan.data_dir)
    return plan.database_url or ours[0], plan.redis_url or ours[1]


def _environment(plan: Plan) -> dict[str, str]:
    database_url, redis_url = _urls(plan)
    unless_set = {"WINDBACK_WEBHOOK_PRIVATE_ADDRESSES": "true", "WINDBACK_PUBLIC_URL": plan.url}
    if sys.stderr.isatty():
        unless_set["WINDBACK_LOG_FORMAT"] = "text"
    return procfile.environment(
        {**unless_set, **os.environ},
        DATABASE_URL=database_url,
        REDIS_URL=redis_url,
        PORT=plan.port,
        WINDBACK_HOST=plan.host,
        WINDBACK_DATA_DIR=plan.data_dir,
        WINDBACK_GRACE_SECONDS=0,
        WINDBACK_CELLS=plan.cells or 1,
    )


def _count_cells(plan: Plan) -> Plan:
    """Returns the plan with the cells that the data folder has: after a split, more than were asked for. Raises
    UpError."""
    if plan.database_url:
        return plan
    try:
        configured = settings.load(_environment(plan))
        noted = placement.count_cells(configured)
    except psycopg.Error as error:
        raise UpError(f"The database can't be set up: {first_line(error)}") from error
    are_listed = configured.cell_database_urls or configured.cell_buffer_urls  # one for each cell
    there = Announced(noted, was_single=True)  # whatever it began with, all cells are in the data folder
    if plan.cells is None or (placement.follow(configured, there).cells == noted and not are_listed):
        return plan._replace(cells=noted or None)
    return plan


def _set_up(plan: Plan) -> str:
    """Brings the database to the current schema. Returns the first account's key."""
    database_url, redis_url = _urls(plan)
    try:
        placement.migrate_all(settings.load(_environment(plan)))
        with store.connect(database_url) as connection, redis.Redis.from_url(redis_url) as client:
            return _first_key(plan.data_dir / "api-key", connection, client)
    except placement.Misplaced as error:
        raise UpError(str(error)) from None
    except (psycopg.Error, redis.RedisError, migrate.MigrationError) as error:
        raise UpError(f"The database can't be set up: {first_line(error)}") from error


def _first_key(path: Path, connection: store.Connection, client: redis.Redis) -> str:
    """Returns the key in the file if it still works, else a new one."""
    if path.exists() and keys.is_valid(connection, secret := path.read_text().strip()):
        return secret
    secret = keys.create(connection, client, ACCOUNT).secret
    fresh = path.with_name("api-key.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{secret}\n")
    fresh.replace(path)
    return secret


def _welcome(plan: Plan, secret: str) -> str:
    return f"""
  Windback   {plan.url}
  API key    {secret}
             (also in {plan.data_dir / "api-key"})
"""
