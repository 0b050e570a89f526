"""`windback up` as people run it: a process, its output, its signals, and the processes of its data folder."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api.up import packaged_servers
from tests import prepared
from tests.ports import free_port
from tests.waiting import SOON, wait_until

WINDBACK = [sys.executable, "-c", "from api.cli import main; main()"]
UNSET = ("DATABASE_URL", "REDIS_URL", "PORT", "WINDBACK_HOST", "WINDBACK_DATA_DIR")


class Up:
    """A `windback up` in a folder: its process, its port, and what it has said so far. With
    `prepared_folder`, whose database is set up, it begins with a copy of that."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        program: Sequence[str] = WINDBACK,
        prepared_folder: Path | None = None,
    ) -> None:
        self.folder = folder
        self.data_dir = folder / ".windback"
        self.port = port or free_port()
        if prepared_folder and not self.data_dir.exists():
            prepared.copy(prepared_folder, self.data_dir)
        environment = {name: value for name, value in os.environ.items() if name not in UNSET}
        with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
            self.process = subprocess.Popen(
                [*program, "up", "--port", str(self.port), *options],
                cwd=folder,
                env=environment
                | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
                | dict(settings or {}),
                stdout=out,
                stderr=err,
            )

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def ready(self) -> str:
        """Wait until it says that it runs; the key that it prints."""
        wait_until(lambda: "API key" in self.out or self.process.poll() is not None, timeout=90)
        assert f"http://127.0.0.1:{self.port}" in self.out, self.err
        key = re.search(r"sk_live_\S+", self.out)
        assert key
        return key[0]

    def stop(self, signum: signal.Signals = signal.SIGINT) -> None:
        self.process.send_signal(signum)
        assert self.process.wait(60) == 0, self.err
        wait_until(lambda: not family(self.data_dir), SOON)  # what was killed goes when it next has a processor

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(method, path, json.dumps(body), {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or "null")
        finally:
            connection.close()

    def is_ready(self) -> bool:
        try:
            return self.ask("GET", "/readyz")[0] == 200
        except OSError:
            return False


def family(data_dir: Path, word: str = "") -> list[Any]:
    """The processes of this data folder, those with this word in their command line: by their settings, or by their
    working folder (the servers')."""
    psutil = packaged_servers.load("psutil")
    members = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get("WINDBACK_DATA_DIR") == str(data_dir) or str(data_dir) in process.cwd()
            if ours and process.status() != psutil.STATUS_ZOMBIE and word in " ".join(process.cmdline()):
                members.append(process)
        except (psutil.Error, OSError):
            continue
    return members


@contextmanager
def cleaned(up: Up) -> Iterator[Up]:
    """Stops this `up` with all of its processes at the end, whatever happens in the test."""
    try:
        yield up
    finally:
        up.kill()
        for process in family(up.data_dir):
            process.kill()


def check_works(up: Up, email: str) -> None:
    """The whole line works: an event of this customer is taken, stored and scored."""
    key = (up.data_dir / "api-key").read_text().strip()
    event = {"event": "login", "customer_email": email}
    wait_until(lambda: up.ask("POST", "/api/v1/track", event, X_API_Key=key) == (200, {"status": "ok"}))
    wait_until(lambda: up.ask("GET", f"/api/v1/customers/{email}", X_API_Key=key)[1].get("risk"), timeout=90)
