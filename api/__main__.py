"""`python -m api`: the web process, uvicorn with our settings and our way to end."""

import gc
import sys

import click
import uvicorn
from starlette.applications import Starlette
from uvicorn.config import STARTUP_FAILURE

from api.app import create_app
from api.server.graceful import serve
from api.server.protocol import Protocol
from workers import logs, parent_watch, settings

FINISH_SECONDS = 2  # for what is under way when the grace is over


def factory() -> Starlette:
    """The app of one web process, from the environment."""
    configured = settings.load()
    logs.configure(configured)
    app = create_app(configured)
    gc.collect()
    gc.freeze()  # what is there now stays: nothing of it has to be looked at again
    gc.set_threshold(20_000, 50, 100)  # a request leaves few cycles behind, and each look costs those that wait
    return app


@click.command()
def main() -> None:
    """Serve the API."""
    try:
        configured = settings.load()
        configured.needs("database_url", "redis_url")
    except settings.SettingsError as error:
        raise click.ClickException(str(error)) from None
    parent_watch.watch()
    config = uvicorn.Config(
        "api.__main__:factory",
        factory=True,
        http=Protocol,
        ws="none",
        host=configured.host,
        port=configured.port,
        workers=configured.web_processes,
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=FINISH_SECONDS,
    )
    if not serve(config, configured.grace_seconds):
        sys.exit(STARTUP_FAILURE)


if __name__ == "__main__":
    sys.exit(main())
