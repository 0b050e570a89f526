"""The folder of uploaded files: on this machine, until they are imported, for a day at most."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from workers.settings import Settings

KEPT_SECONDS = 86400.0
FILE, PEOPLE = "file", "people"


def find_folder(settings: Settings) -> Path:
    """Returns the folder, which is made where it isn't there. Raises OSError."""
    folder = settings.upload_dir or _default(settings)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _default(settings: Settings) -> Path:
    """The data folder of `windback up`, else the system's folder for temporary files."""
    if settings.data_dir.is_dir():
        return settings.data_dir / "uploads"
    return Path(tempfile.gettempdir()) / f"windback-uploads-{os.getuid()}"


def path_of(settings: Settings, import_id: str, kind: str = FILE) -> Path:
    """Returns where a file of an import lies. Raises OSError."""
    return find_folder(settings) / f"{import_id}.{kind}"


def remove(settings: Settings, import_id: str) -> None:
    """Remove the files of an import."""
    for kind in (FILE, PEOPLE):
        with suppress(OSError):
            path_of(settings, import_id, kind).unlink(missing_ok=True)


def remove_old(settings: Settings) -> None:
    """Remove files that were not touched for a day."""
    with suppress(OSError):
        for path in _list_old(find_folder(settings), time.time() - KEPT_SECONDS):
            path.unlink(missing_ok=True)


def _list_old(folder: Path, before: float) -> Iterator[Path]:
    return (path for path in folder.glob("*.*") if path.is_file() and path.stat().st_mtime < before)


def find_free_bytes(settings: Settings) -> int:
    """Returns how much room the disk has beyond what must stay free. Raises OSError."""
    return shutil.disk_usage(find_folder(settings)).free - settings.disk_free_bytes
