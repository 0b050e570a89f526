"""A data folder whose Postgres is set up, migrated and stopped. It is made once for all processes of a test run, and
copied: initdb and the migrations take seconds."""

import fcntl
import shutil
from pathlib import Path

import pytest

from api.up import packaged_servers
from api.up.embedded import servers
from workers.store.migrate import migrate


def find_or_make(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder. Its Postgres never runs: others copy it."""
    folder = _find_shared(tmp_path_factory) / "prepared"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            making = folder.with_suffix(".making")
            with servers(making, redis_url="redis://none", durable=False) as made:
                migrate(made.database_url)
            making.rename(folder)
    return folder


def copy(prepared: Path, data_dir: Path) -> None:
    """Make a data folder with a copy of the prepared Postgres."""
    packaged_servers.prepare(data_dir)
    shutil.copytree(prepared / "postgres", data_dir / "postgres", symlinks=True)


def _find_shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder that the processes of pytest-xdist have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if own.name.startswith("popen-") else own
