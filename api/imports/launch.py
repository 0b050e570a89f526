"""Starts the process that reads and sends an uploaded file, so that the web process goes on with its requests.

Such a process ends with the web process, however that ends: it watches a pipe that nobody writes to.
"""

import os
import subprocess
import sys
import threading
from typing import Literal

from starlette.concurrency import run_in_threadpool

from api.imports.folder import find_folder
from api.imports.state import FileImport
from api.up.procfile import environment
from workers import parent_watch
from workers.settings import Settings

Task = Literal["preview", "send"]


class Launcher:
    """The processes that one web process has started."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._read, self._write = os.pipe()
        self._running: set[subprocess.Popen[bytes]] = set()

    async def launch(self, state: FileImport, task: Task) -> None:
        """Start a process. Raises OSError."""
        await run_in_threadpool(self._launch, state, task)

    def close(self) -> None:
        """End all processes."""
        os.close(self._write)
        os.close(self._read)
        for process in [*self._running]:
            process.wait(timeout=parent_watch.GRACE_SECONDS + 2)

    def _launch(self, state: FileImport, task: Task) -> None:
        settings = {
            "DATABASE_URL": self.settings.database_url,
            "REDIS_URL": self.settings.redis_url,
            "WINDBACK_CELLS": self.settings.cells,
            "WINDBACK_DATA_DIR": self.settings.data_dir.absolute(),
            "WINDBACK_UPLOAD_DIR": find_folder(self.settings).absolute(),
            parent_watch.VARIABLE: self._read,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "api.imports", task, str(state.account_id), state.import_id],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=environment(os.environ, **settings),
            pass_fds=[self._read],
            process_group=0,
        )
        self._running.add(process)
        threading.Thread(target=self._reap, args=[process], daemon=True, name="import").start()

    def _reap(self, process: "subprocess.Popen[bytes]") -> None:
        process.wait()
        self._running.discard(process)
