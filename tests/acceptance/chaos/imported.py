"""A file of history that `windback import` brings in during the storm: killed half way, run again, and again."""

import json
import random
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.acceptance.chaos.plant import Plant
from tests.acceptance.chaos.producer import NAMES, PLANS, Sent

EVENTS = 3_000
CUSTOMERS = 150
DAYS = 200
PAUSE_SECONDS = 15.0  # between two imports of the same file
PATIENCE_SECONDS = 600.0


class ImportedAccount:
    """Its file, and the command that imports it."""

    def __init__(self, plant: Plant, key: str, seed: int) -> None:
        self._plant = plant
        self._file = plant.folder / "history.ndjson"
        self._options = ("--url", f"http://127.0.0.1:{plant.port}", "--api-key", key)
        self._sent = _make_events(random.Random(f"{seed}/import"))
        _write(self._file, self._sent)
        self.done = self.killed = 0
        self._command: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="import")
        self._thread.start()

    def kill(self) -> bool:
        """`kill -9` the command, if it runs. Returns whether it did."""
        command = self._command
        if command is None or command.poll() is not None:
            return False
        command.kill()
        self.killed += 1
        return True

    def finish(self) -> dict[str, Sent]:
        """Stop when the file has been imported. Returns what was sent, by mark."""
        self._stopping.set()
        self._thread.join(PATIENCE_SECONDS)
        assert self.done, "the file could not be imported"
        for sent in self._sent.values():
            sent.acknowledged = True
        return self._sent

    def describe(self) -> str:
        """What was done, in words."""
        return f"a file of {EVENTS} events imported {self.done} times, killed {self.killed} times"

    def _run(self) -> None:
        while not (self.done and self._stopping.is_set()):
            self._command = self._plant.launch("import", str(self._file), *self._options)
            if self._command.wait() == 0:
                self.done += 1
                self._stopping.wait(PAUSE_SECONDS)


def _make_events(chance: random.Random) -> dict[str, Sent]:
    now, sent = datetime.now(UTC), {}
    for number in range(EVENTS):
        mark = f"import.{number}"
        sent[mark] = Sent(
            {
                "event": chance.choice(NAMES),
                "customer_email": f"import{chance.randrange(CUSTOMERS)}@example.com",
                "timestamp": (now - timedelta(days=chance.uniform(2, DAYS))).isoformat(),
                "properties": {"mark": mark, "plan": chance.choice(PLANS)},
            }
        )
    return sent


def _write(path: Path, sent: dict[str, Sent]) -> None:
    path.write_text("".join(f"{json.dumps(each.event)}\n" for each in sent.values()))
