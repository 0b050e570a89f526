"""A disk of a few megabytes."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """A file system in memory, at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def leave(self, megabytes: int) -> None:
        """Leave about so much free beside what is in use; a little more if others write meanwhile."""
        for more in range(100):
            size = max(1, (shutil.disk_usage(self.path).used >> 20) + megabytes + more)  # 0 would be no limit
            if self._remount(size) == 0:
                return
        raise AssertionError("others write faster than the disk can be made smaller")

    def resize(self, megabytes: int) -> None:
        """Make it larger, or smaller."""
        assert self._remount(megabytes) == 0

    def _remount(self, megabytes: int) -> int:
        mount = ["mount", "-o", f"remount,size={megabytes}m", str(self.path)]
        return subprocess.run(mount, check=False, capture_output=True).returncode


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Disk]:
    """Yields a disk of this size. Skips the test where none can be mounted."""
    with mounted(path, megabytes) as disk:
        if disk is None:
            pytest.skip("this machine lets nobody mount a small disk")
        yield disk


@contextmanager
def mounted(path: Path, megabytes: int) -> Iterator[Disk | None]:
    """Yields a disk of this size; None where none can be mounted."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
