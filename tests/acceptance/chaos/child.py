"""A process that can be killed, frozen and started again, with all that it has started itself."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

from tests.nursery import Launched

Launch = Callable[[], Launched]


class Child:
    """One process. A supervisor's eye (see Plant) starts it again when it ends, unless it is held down."""

    def __init__(self, name: str, launch: Launch) -> None:
        self.name = name
        self.held = False
        self.starts = 0
        self._launch = launch
        self._process: Launched | None = None
        self._lock = threading.RLock()

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process
        return self._process.pid

    def ensure(self) -> None:
        """Start it where it doesn't run and isn't held down."""
        with self._lock:
            if not self.held and (self._process is None or self._process.poll() is not None):
                self._process = self._launch()
                self.starts += 1

    def kill(self) -> None:
        """`kill -9` it and all of its own."""
        with self._lock:
            if self._process is None:
                return
            self._signal("kill")
            self._process.kill()
            self._process.wait()

    def end(self, seconds: float = 20) -> None:
        """Ask it to end, and wait for that; it stays down."""
        with self._lock:
            self.held = True
        if self._process and self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        self.kill()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Killed, and not started again until the end of the block."""
        self.held = True
        self.kill()
        try:
            yield
        finally:
            self.held = False

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP at the beginning of the block and SIGCONT at its end, all of its own included."""
        self._signal("suspend")
        try:
            yield
        finally:
            self._signal("resume")

    def _signal(self, do: str) -> None:
        """To its own first, while it is stopped and can't start others."""
        assert self._process
        with suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            process.suspend()
            for one in [*process.children(recursive=True), process]:
                with suppress(psutil.Error):
                    getattr(one, do)()
