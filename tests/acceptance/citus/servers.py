"""The server of a node, which is stopped as by a crash, and started again as it was: if it runs on this machine."""

import os
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest

from tests.waiting import wait_until

WAIT_SECONDS = 120.0
_started: list[subprocess.Popen[bytes]] = []  # which outlive the tests


class NodeServer:
    """The Postgres of a node, by a URL of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
        self._folder = Path(str(row[0]) if row else "")
        if not (self._folder / "postmaster.pid").exists():
            pytest.skip("the node is on another machine")
        process = self._process()
        self._argv = (process / "cmdline").read_bytes().decode().rstrip("\0").split("\0")
        variables = (process / "environ").read_bytes().decode().rstrip("\0").split("\0")
        self._environment = dict(variable.split("=", 1) for variable in variables)
        self._log = (process / "fd/2").resolve()
        self._owner = process.stat()

    def stop(self) -> None:
        """Stop it at once, as `pg_ctl stop -m immediate` does."""
        process = self._process()
        assert str(self._folder).encode() in (process / "cmdline").read_bytes()
        os.kill(int(process.name), signal.SIGQUIT)
        wait_until(lambda: _has_ended(process), timeout=WAIT_SECONDS)

    def start(self) -> None:
        """Start it again, and wait until it answers."""
        with self._log.open("ab") as log:
            started = subprocess.Popen(
                self._argv,
                env=self._environment,
                cwd=self._folder,
                user=self._owner.st_uid,
                group=self._owner.st_gid,
                extra_groups=[],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _started.append(started)
        wait_until(self._answers, timeout=WAIT_SECONDS)

    def _process(self) -> Path:
        return Path("/proc") / (self._folder / "postmaster.pid").read_text().split("\n", 1)[0]

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._url).close()
        except psycopg.OperationalError:
            return False
        return True


def _has_ended(process: Path) -> bool:
    """Returns whether a process is gone, or waits to be collected."""
    try:
        return (process / "stat").read_text().rsplit(") ", 1)[1].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True
