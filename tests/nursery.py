"""Processes of the Procfile that begin at once: forks of a process that has imported what they need.

The tests start hundreds of them, and each would spend half a second of processor time on imports. `python -m workers`
itself, as its own program, is started by the tests of `windback up`.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

ROOT = Path(__file__).parents[1]
MOST_BYTES = 200_000  # of an environment
IMPORTED = (
    *("api.web", "api.app", "rq", "workers.jobs", "workers.logs", "workers.parent_watch", "workers.clock"),
    *("workers.ingest.ingest", "workers.risk.rescore", "workers.alerts.deliver"),
)
READ_AT_THE_START = ("PYTHON", "LD_", "WINDBACK_REDIS_PREFIX", "WINDBACK_WEB_PROCESSES")  # by a program or its imports


class Program(NamedTuple):
    """What a fork becomes: `python -m module arguments`."""

    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]


class Fork:
    """A process that was forked, with what tests use of subprocess.Popen."""

    def __init__(self, nursery: "Nursery", pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        """Returns the exit code, None while it runs."""
        if self.returncode is None:
            self.returncode = self._nursery.ask({"pid": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired."""
        deadline, pause = time.monotonic() + (timeout or float("inf")), 0.002
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """`kill -9` it."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)


Launched: TypeAlias = subprocess.Popen[bytes] | Fork


class Nursery:
    """The process that forks others, for as long as the tests run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [sys.executable, "-m", "tests.nursery", str(theirs.fileno())]
            self._process = subprocess.Popen(
                argv, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
            )

    def fork(self, program: Program, output: IO[bytes]) -> Fork:
        """Start a program."""
        return Fork(self, self.ask(program._asdict(), output.fileno()))

    def ask(self, question: dict[str, Any], *fds: int) -> Any:
        """Returns the answer of the process."""
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(question).encode()], fds)
            return json.loads(self._socket.recv(MOST_BYTES))

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.wait()


_nursery: Nursery | None = None


def start(argv: Sequence[str], environment: Mapping[str, str], output: IO[bytes]) -> Launched:
    """Start a command of the Procfile in a session of its own: as a fork, where that is no different."""
    global _nursery
    python, flag, *program = argv
    if flag != "-m" or any(
        name.startswith(READ_AT_THE_START) and os.environ.get(name) != value for name, value in environment.items()
    ):
        return subprocess.Popen(
            [sys.executable if python == "python" else python, flag, *program],
            env=environment,
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    if not _nursery:
        _nursery = Nursery()
        atexit.register(close)
    return _nursery.fork(Program(program[0], program[1:], environment), output)


def close() -> None:
    """End the process that forks, if there is one."""
    global _nursery
    if _nursery:
        _nursery.close()
        _nursery = None


def _serve(connection: socket.socket) -> Program | None:
    """Fork when asked to. Returns the program in the fork, None in the process itself when the tests end."""
    while True:
        message, fds, _, _ = socket.recv_fds(connection, MOST_BYTES, 1)
        if not message:
            return None
        question = json.loads(message)
        if "pid" in question:
            connection.send(json.dumps(_find_exit_code(question["pid"])).encode())
        elif pid := os.fork():
            os.close(fds[0])
            connection.send(json.dumps(pid).encode())
        else:
            connection.close()
            _enter_session(fds[0])
            return Program(**question)


def _find_exit_code(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _enter_session(output: int) -> None:
    os.setsid()
    for fd in (1, 2):
        os.dup2(output, fd)
    os.close(output)


def _main() -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that forks share it
    if program := _serve(socket.socket(fileno=int(sys.argv[1]))):
        os.environ.clear()
        os.environ.update(program.environment)
        sys.argv[1:] = program.arguments
        _run(program.module)


def _run(module: str) -> None:
    """Run it as a program. When all is done that belongs to its end, nothing is taken apart: that would copy every page
    that forks share."""
    codes = [1]  # of an exception, which the interpreter shows

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(codes[-1])

    atexit.register(leave)  # as the first, it is called last
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        codes.append(0)
    except SystemExit as ending:
        codes.append(ending.code if isinstance(ending.code, int) else int(ending.code is not None))
        raise


if __name__ == "__main__":
    _main()
