"""The processes of the Procfile as children of a supervisor."""

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from api.up.supervisor import Child
from workers import parent_watch
from workers.settings import explain_unknown

SEVERAL = ("ingest", "import", "score", "deliver")  # any number of each may run


def children(environment: Mapping[str, str], workers: int, lifeline_fd: int) -> list[Child]:
    """One child for each line of the Procfile, and `workers` for each kind of worker."""
    how = {"env": {**environment, parent_watch.VARIABLE: str(lifeline_fd)}, "pass_fds": (lifeline_fd,)}
    return [Child(name, argv, lambda: nullcontext(how)) for name, argv in _commands(workers)]


@contextmanager
def lifeline_pipe() -> Iterator[int]:
    """Yields the reading end of a pipe that is never written to. It reaches its end when this process dies, however."""
    read, write = os.pipe()
    try:
        yield read
    finally:
        os.close(read)
        os.close(write)


def environment(inherited: Mapping[str, str], **settings: object) -> dict[str, str]:
    """This environment with these settings set, and with our interpreter and our modules, not those of whatever
    folder we were started in."""
    replaced = {*(f"{name}_FILE" for name in settings), *explain_unknown(inherited)}  # the latter are named once
    return {
        **{name: value for name, value in inherited.items() if name not in replaced},
        **{name: str(value) for name, value in settings.items()},
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }


def procfile() -> dict[str, list[str]]:
    """The commands by name. The file is in the wheel, or beside the packages in a checkout."""
    here = Path(__file__).parents[1]
    path = here / "Procfile" if (here / "Procfile").exists() else here.parent / "Procfile"
    lines = (line.partition(":") for line in path.read_text().splitlines() if line.strip())
    return {name: shlex.split(command) for name, _, command in lines if not name.startswith("#")}


def _commands(workers: int) -> Iterator[tuple[str, list[str]]]:
    for name, argv in procfile().items():
        ours = [sys.executable if argv[0] == "python" else argv[0], *argv[1:]]
        count = workers if name in SEVERAL else 1
        for number in range(1, count + 1):
            yield (name if count == 1 else f"{name}.{number}"), ours
