"""PgBouncer between Windback and Postgres."""

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from tests.ports import free_port

CONFIGURATION = """
[databases]
{database} = host={host} port={port} user=postgres dbname={database}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
{more}
"""
BINARY = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
START_SECONDS = 20


@contextmanager
def pooler(database_url: str, mode: str, more: str = "") -> Iterator[str]:
    """Yields a URL that leads to the database through PgBouncer in this mode."""
    if not Path(BINARY).exists():
        pytest.skip("there is no PgBouncer: apt-get install pgbouncer")
    parts, port = urlsplit(database_url), free_port()
    server = parse_qs(parts.query)
    host = server["host"][0]
    names = {"database": parts.path[1:], "host": host, "port": server["port"][0], "listen_port": port}
    configuration = Path(host) / f"pgbouncer-{port}.ini"  # the folder that its user may read for certain
    configuration.write_text(CONFIGURATION.format(**names, mode=mode, more=more))
    log_path = configuration.with_suffix(".log")
    with log_path.open("wb") as log:
        process = subprocess.Popen([BINARY, str(configuration)], stdout=log, stderr=log, **_owner(host))
    url = f"postgresql://postgres@127.0.0.1:{port}{parts.path}"
    try:
        _wait(url, log_path)
        yield url
    finally:
        process.terminate()
        process.wait()


def _owner(sockets: str) -> dict[str, Any]:
    """PgBouncer doesn't run as root, and only the owner of Postgres's socket may use it."""
    if os.geteuid():
        return {}
    owner = pwd.getpwuid(Path(sockets).stat().st_uid)
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def _wait(url: str, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(url, connect_timeout=3).close()
        except psycopg.OperationalError:
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        else:
            return
