"""The web process: uvicorn with our settings and our way to end."""

import sys

import click
import uvicorn
from uvicorn.config import STARTUP_FAILURE

from api.server.graceful import serve
from api.server.protocol import Protocol
from workers import parent_watch, settings

FINISH_SECONDS = 2  # for requests under way when the grace is over


@click.command("web")
def web() -> None:
    """Serve the API and the dashboard. PORT and WINDBACK_HOST say where."""
    try:
        configured = settings.load()
        configured.needs("database_url", "redis_url")
    except settings.SettingsError as error:
        raise click.ClickException(str(error)) from None
    parent_watch.watch()
    config = uvicorn.Config(
        "api.app:create_configured_app",
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
        timeout_keep_alive=configured.keep_alive_seconds,
        forwarded_allow_ips=configured.forwarded_allow_ips,
    )
    try:
        if not serve(config, configured.grace_seconds):
            sys.exit(STARTUP_FAILURE)
    except OSError as error:
        raise click.ClickException(f"Can't listen on {config.host} port {config.port}: {error.strerror}") from None
