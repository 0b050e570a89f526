"""The whole line as processes: the Procfile's own commands, over servers of the tests."""

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests import nursery
from tests.nursery import ROOT, Launched
from tests.ports import free_port
from tests.waiting import wait_until
from workers.settings import Settings


class Line:
    """The processes of a running service, by their names in the Procfile."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log.open("ab")
        self.environment = {
            "WINDBACK_GRACE_SECONDS": "0",
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DATABASE_URL": settings.database_url or "",
            "REDIS_URL": settings.redis_url or "",
            "PORT": str(self.port),
            "WINDBACK_HOST": "127.0.0.1",
            "WINDBACK_CLAIM_SECONDS": "1",
            "WINDBACK_BATCH_EVENTS": "500",
        }
        self._commands = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
        self.processes: dict[str, Launched] = {}

    def start(self, *names: str) -> None:
        """Start processes of the Procfile, all of them unless told which, and wait until the web process answers."""
        for name in names or self._commands:
            self.launch(name)
        if "web" in self.processes:
            wait_until(self._is_up, timeout=90)

    def launch(self, name: str) -> Launched:
        """Start a process of the Procfile; another one of a kind under a name like `ingest.2`."""
        argv = shlex.split(self._commands[name.partition(".")[0]])
        process = self.processes[name] = nursery.start(argv, self.environment, self._log)
        return process

    def terminate(self, name: str) -> None:
        """Ask a process to end, and wait until it has."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)

    def kill(self, name: str) -> None:
        """`kill -9` a process."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Ask all to end, and wait until they have."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(timeout=20)

    def close(self) -> None:
        """Leave nothing behind."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        self._log.close()

    def _is_up(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/healthz").status_code == 200
        except httpx2.TransportError:
            return False


class PatientLine(Line):
    """A line whose web process refuses nothing because the machine is busy."""

    def __init__(self, settings: Settings, log: Path) -> None:
        super().__init__(settings, log)
        self._commands["web"] = f"{sys.executable} -m tests.acceptance.patient_web"


@contextmanager
def line(settings: Settings, log: Path, kind: type[Line] = Line) -> Iterator[Line]:
    """A line that is not started yet, and that leaves no process behind."""
    made = kind(settings, log)
    try:
        yield made
    finally:
        made.close()
