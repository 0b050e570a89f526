"""The start of the web process: settings become uvicorn's."""

import pytest
import uvicorn
from click.testing import CliRunner

from api import web
from api.web import web as web_command
from tests.ports import free_port

SERVERS = {"DATABASE_URL": "postgresql://h/x", "REDIS_URL": "redis://h"}


def start(monkeypatch: pytest.MonkeyPatch, **environment: str) -> uvicorn.Config:
    """The configuration with which this environment starts it."""
    started: list[uvicorn.Config] = []

    def serve(config: uvicorn.Config, grace_seconds: float) -> bool:
        started.append(config)
        return True

    monkeypatch.setattr(web, "serve", serve)
    result = CliRunner().invoke(web_command, env=SERVERS | environment)
    assert result.exit_code == 0, result.output
    return started[0]


def test_idle_connections_outlive_those_of_load_balancers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert start(monkeypatch).timeout_keep_alive == 75
    assert start(monkeypatch, WINDBACK_KEEP_ALIVE_SECONDS="5").timeout_keep_alive == 5


def test_proxies_that_are_trusted_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert start(monkeypatch).forwarded_allow_ips == "127.0.0.1,::1"
    assert (
        start(monkeypatch, WINDBACK_FORWARDED_ALLOW_IPS="10.0.0.1,10.0.0.2").forwarded_allow_ips == "10.0.0.1,10.0.0.2"
    )
    assert start(monkeypatch, FORWARDED_ALLOW_IPS="10.0.0.3").forwarded_allow_ips == "10.0.0.3"


def test_an_address_that_cannot_be_had_is_one_line() -> None:
    environment = SERVERS | {"WINDBACK_HOST": "192.0.2.1", "PORT": str(free_port())}
    result = CliRunner().invoke(web_command, env=environment)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: Can't listen on 192.0.2.1 port ")
    assert len(result.stderr.splitlines()) == 1
