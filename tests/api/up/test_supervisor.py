"""Children are kept running, are stopped in time with all that they started, and speak in whole lines."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from api.up import packaged_servers, procfile, supervisor
from api.up.supervisor import Child, Lines, stop_all
from tests.waiting import wait_until
from workers import parent_watch

FOREVER = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + FOREVER


def python(name: str, code: str, **how: Any) -> Child:
    return Child(name, [sys.executable, "-c", code], lambda: nullcontext(how))


def alive(pid: int) -> bool:
    psutil = packaged_servers.load("psutil")
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class Ear:
    """Hears what children say, and lets a test wait for it."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.heard = ""

    @property
    def lines(self) -> list[str]:
        self.heard += self.capsys.readouterr().err
        return self.heard.splitlines()

    async def hears(self, words: str) -> str:
        return await asyncio.to_thread(wait_until, lambda: next((line for line in self.lines if words in line), ""))


@pytest.fixture
def ear(capsys: pytest.CaptureFixture[str]) -> Ear:
    return Ear(capsys)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.01)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


def test_a_child_that_ends_is_started_again_after_growing_pauses(ear: Ear, quick: None) -> None:
    async def test() -> None:
        child = python("worker", "import sys; sys.exit(3)")
        child.start()
        await ear.hears("again in 0.04 s")
        await stop_all([child], 5, asyncio.Event())

    run(test())
    assert [line for line in ear.lines if "0.01" in line or "0.02" in line] == [
        "worker   | ended with exit code 3; starting it again in 0.01 s",
        "worker   | ended with exit code 3; starting it again in 0.02 s",
    ]


def test_the_pause_has_a_longest_and_is_short_again_after_a_healthy_life(
    ear: Ear, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE_SECONDS", 0.02)

    async def test(words: str) -> None:
        child = python("worker", "")
        child.start()
        await asyncio.to_thread(wait_until, lambda: sum(words in line for line in ear.lines) >= 3)
        await stop_all([child], 5, asyncio.Event())

    run(test("again in 0.02 s"))
    assert not any("0.04" in line for line in ear.lines)
    ear.heard = ""
    monkeypatch.setattr(supervisor, "HEALTHY_SECONDS", 0.0)
    run(test("again in 0.01 s"))


def test_who_was_killed_is_named_by_its_signal(ear: Ear, quick: None) -> None:
    async def test() -> None:
        child = python("worker", FOREVER)
        child.start()
        await ear.hears("up")
        assert child.pid
        os.kill(child.pid, signal.SIGKILL)
        assert "ended by SIGKILL" in await ear.hears("again")
        await stop_all([child], 5, asyncio.Event())

    run(test())


def test_a_command_that_does_not_exist_is_said(ear: Ear) -> None:
    async def test() -> None:
        child = Child("worker", ["/does/not/exist"], lambda: nullcontext({}))
        child.start()
        assert "can't be started" in await ear.hears("/does/not/exist")
        await stop_all([child], 5, asyncio.Event())

    run(test())


def test_a_child_is_asked_to_stop_and_its_last_words_are_heard(ear: Ear) -> None:
    async def test() -> None:
        code = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('bye', end=''))); "
        child = python("worker", code + FOREVER)
        child.start()
        await ear.hears("up")
        await stop_all([child], 10, asyncio.Event())
        assert child.pid is None

    run(test())
    assert ear.lines == ["worker   | up", "worker   | bye"]


def test_a_laggard_is_killed_at_the_deadline(ear: Ear) -> None:
    async def test() -> None:
        child = python("worker", STUBBORN)
        child.start()
        await ear.hears("up")
        began = time.monotonic()
        await stop_all([child], 0.3, asyncio.Event())
        assert 0.3 <= time.monotonic() - began < 5

    run(test())


def test_hurrying_does_not_wait_for_the_deadline(ear: Ear) -> None:
    async def test() -> None:
        child, hurry = python("worker", STUBBORN), asyncio.Event()
        child.start()
        await ear.hears("up")
        hurry.set()
        await stop_all([child], 60, hurry)

    run(test())


def test_what_a_child_has_started_goes_with_it(ear: Ear, quick: None) -> None:
    code = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {FOREVER!r}]).pid, flush=True); "

    async def test() -> None:
        child = python("worker", code + "input()")  # which fails: there is nobody to ask
        child.start()
        await ear.hears("EOFError")
        await stop_all([child], 5, asyncio.Event())

    run(test())
    pids = [int(line.split()[-1]) for line in ear.lines if line.split()[-1].isdigit()]
    assert pids
    wait_until(lambda: not any(alive(pid) for pid in pids))


def test_stopping_a_child_that_was_never_started() -> None:
    run(stop_all([python("worker", FOREVER)], 5, asyncio.Event()))


def test_lines_of_several_children_do_not_mix(ear: Ear) -> None:
    code = (
        "import sys, time\nfor _ in range(200): [print(c, end='', flush=True) for c in '{0}{0}{0}']; print()\n"
        + FOREVER
    )

    async def test() -> None:
        children = [python(name, code.format(name)) for name in ("a", "b")]
        for child in children:
            child.start()
        await asyncio.to_thread(wait_until, lambda: sum("up" in line for line in ear.lines) == 2)
        await stop_all(children, 5, asyncio.Event())

    run(test())
    assert set(ear.lines) == {"a        | aaa", "b        | bbb", "a        | up", "b        | up"}
    assert len(ear.lines) == 402


def test_lines_are_whole_however_they_arrive() -> None:
    whole_lines: list[str] = []
    lines = Lines(whole_lines.append)
    for part in (b"on", b"e\r\ntw", b"o\n\n\xff\nrest"):
        lines.data_received(part)
    assert whole_lines == ["one", "two", "", "\ufffd"]
    lines.data_received(b"x" * supervisor.LINE_BYTES)
    assert whole_lines[-1] == "rest" + "x" * supervisor.LINE_BYTES
    lines.data_received(b"end")
    lines.connection_lost(None)
    assert whole_lines[-1] == "end"
    assert lines.ended.is_set()


def test_the_procfile_gives_one_process_a_line_and_several_workers() -> None:
    names = [child.name for child in procfile.children({}, 2, 9)]
    workers = ["ingest", "import", "score", "deliver"]
    assert names == ["web", *(f"{kind}.{number}" for kind in workers for number in (1, 2)), "clock"]
    assert [child.name for child in procfile.children({}, 1, 9)] == ["web", *workers, "clock"]
    assert procfile.procfile()["clock"] == ["python", "-m", "workers", "clock"]


def test_children_get_our_settings_interpreter_and_modules() -> None:
    inherited = {
        "PATH": "/bin",
        "PORT": "1",
        "PORT_FILE": "/elsewhere",
        "DATABASE_URL_FILE": "/kept",
        "HOME": "/home/me",
    }
    environment = procfile.environment(inherited, PORT=8000, WINDBACK_DATA_DIR=Path("/data"))
    assert environment["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}/bin"
    assert environment["PORT"] == "8000"
    assert environment["WINDBACK_DATA_DIR"] == "/data"
    assert "PORT_FILE" not in environment
    assert environment["DATABASE_URL_FILE"] == "/kept"
    assert environment["HOME"] == "/home/me"


def start_with_lifeline(code: str, fd: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"from workers import parent_watch; parent_watch.GRACE_SECONDS = 0.2; parent_watch.watch(); {code}",
        ],
        env={**os.environ, parent_watch.VARIABLE: str(fd), "PYTHONPATH": os.pathsep.join(sys.path)},
        pass_fds=(fd,),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.mark.parametrize(("code", "ending"), [(FOREVER, signal.SIGTERM), (STUBBORN, signal.SIGKILL)])
def test_without_its_supervisor_a_child_asks_itself_to_stop_and_then_insists(code: str, ending: signal.Signals) -> None:
    with procfile.lifeline_pipe() as fd:
        child = start_with_lifeline(code, fd)
        assert child.stdout
        assert child.stdout.readline() == b"up\n"
        assert child.poll() is None
    with child:
        assert child.wait(10) == -ending


def test_without_a_supervisor_there_is_no_lifeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(parent_watch.VARIABLE, raising=False)
    parent_watch.watch()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit('no luck')", "ended with exit code 1: no luck"),
        ("import os; os.kill(os.getpid(), 9)", None),  # others do this: it may be well next time
        ("import time; raise SystemExit(f'{time.time_ns()}')", None),  # not in the same way
    ],
)
def test_a_child_that_ends_three_times_in_the_same_way_is_hopeless(ear: Ear, code: str, reason: str | None) -> None:
    async def run() -> str | None:
        child = python("child", code)
        child.start()
        await asyncio.to_thread(wait_until, lambda: sum("starting it again" in line for line in ear.lines) >= 3)
        hopeless = child.hopeless
        await stop_all([child], 5, asyncio.Event())
        return hopeless

    assert asyncio.run(run()) == reason
