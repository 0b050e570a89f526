"""Child processes that are kept running. Their output is passed on line by line; none outlives the supervisor."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from typing import Any

import click

Say = Callable[[str], None]
Launching = Callable[[], AbstractContextManager[dict[str, Any]]]

NAME_WIDTH = 8
SIGNALLED = "ended by "
LINE_BYTES = 65_536
COLOURS = itertools.cycle(["cyan", "yellow", "green", "magenta", "blue", "bright_cyan", "bright_yellow"])

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
HOPELESS_ENDINGS = 3  # of a child that ends by itself, each time soon and in the same way
HEALTHY_SECONDS = 30.0  # a child that ran this long resets the back-off
LAST_LINES_SECONDS = 1.0


def voice(name: str) -> Say:
    """Writes lines to stderr under this name, coloured on a terminal."""
    prefix = click.style(f"{name:<{NAME_WIDTH}} |", fg=next(COLOURS))

    def say(line: str) -> None:
        with suppress(OSError):  # standard error is closed: the work goes on
            click.echo(f"{prefix} {line}", err=True)

    return say


class Lines(asyncio.Protocol):
    """Passes output on in whole lines."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.rest = b""
        self.last = ""
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        if len(self.rest) > LINE_BYTES:
            lines, self.rest = [*lines, self.rest], b""
        for line in lines:
            self.last = line.decode(errors="replace").rstrip("\r")
            self.say(self.last)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.rest:
            self.data_received(b"\n")
        self.ended.set()


class Child:
    """A process that is started again whenever it ends, after growing pauses, until it is stopped.

    `launching` yields keyword arguments for Popen, for each start anew; `last_words` is asked when it died.
    """

    def __init__(
        self,
        name: str,
        argv: list[str],
        launching: Launching,
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        last_words: Callable[[], str] = str,
    ) -> None:
        self.name = name
        self.say = voice(name)
        self.pid: int | None = None
        self.hopeless: str | None = None  # why, where it keeps ending in the same way
        self._argv = argv
        self._launching = launching
        self._stop_signal = stop_signal
        self._last_words = last_words
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep(), name=self.name)

    async def stop(self, deadline: float, hurry: asyncio.Event) -> None:
        """Ask it to end. Kill it, and its own children, at the deadline (time.monotonic) or once `hurry` is set."""
        if self._task is None:
            return
        self._stopping.set()
        self._signal(self._stop_signal)
        hurried = asyncio.create_task(hurry.wait())
        left = max(0.0, deadline - time.monotonic())
        await asyncio.wait({self._task, hurried}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        self._kill()
        await self._task

    async def _keep(self) -> None:
        pause, endings = FIRST_PAUSE_SECONDS, 0
        before = ""
        while not self._stopping.is_set():
            began = time.monotonic()
            ending, last_line = await self._once()
            if self._stopping.is_set():
                return
            if time.monotonic() - began > HEALTHY_SECONDS:
                pause, endings = FIRST_PAUSE_SECONDS, 0
            way = f"{ending}: {last_line}"
            endings, before = (endings + 1 if way == before else 1), way
            self.hopeless = way if endings >= HOPELESS_ENDINGS and SIGNALLED not in ending else None
            self.say(f"{ending}; starting it again in {pause:g} s {self._last_words()}".rstrip())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _once(self) -> tuple[str, str]:
        """Runs the process to its end. Returns how it ended, and its last line."""
        read, write = os.pipe()
        loop = asyncio.get_running_loop()
        transport, lines = await loop.connect_read_pipe(lambda: Lines(self.say), os.fdopen(read, "rb", 0))
        try:
            process = await self._spawn(write)
            self.pid = process.pid
            if self._stopping.is_set():
                self._signal(self._stop_signal)
            code = await process.wait()
        except OSError as error:
            return f"can't be started: {error}", ""
        finally:
            self._kill()  # the processes that it has started itself
            self.pid = None
            with suppress(TimeoutError):
                await asyncio.wait_for(lines.ended.wait(), LAST_LINES_SECONDS)
            transport.close()
        ending = f"{SIGNALLED}{signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return ending, lines.last

    async def _spawn(self, output: int) -> asyncio.subprocess.Process:
        try:
            with self._launching() as how:
                own: dict[str, Any] = {"stdin": asyncio.subprocess.DEVNULL, "stdout": output, "stderr": output}
                return await asyncio.create_subprocess_exec(*self._argv, **own | how, start_new_session=True)
        finally:
            os.close(output)

    def _signal(self, signum: signal.Signals) -> None:
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def _kill(self) -> None:
        if self.pid:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)


async def stop_all(children: Iterable[Child], seconds: float, hurry: asyncio.Event) -> None:
    """Stop these side by side, with this much time for all of them."""
    deadline = time.monotonic() + seconds
    await asyncio.gather(*(child.stop(deadline, hurry) for child in children))
