"""The order of tests, and those that a process takes together: so that all processors are busy until the end.

Long tests begin first, each by itself. Then come the modules; those that share a running service are taken together.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath as Path

import pytest
from xdist.scheduler import LoadScopeScheduling

# Modules whose tests take many seconds, and need nothing that another test has made.
LONG = (
    "acceptance/chaos/test_storm.py",
    "acceptance/test_cells.py",
    "acceptance/up/test_start_and_end.py",
    "acceptance/up/test_backup.py",
    "acceptance/up/test_full_disk.py",
    "acceptance/test_upgrade.py",
    "acceptance/test_failover.py",
    "acceptance/test_demo.py",
    "acceptance/test_floods.py",
    "acceptance/test_alerts.py",
    "acceptance/test_line.py",
    "acceptance/test_redelivery.py",
    "api/test_event_loop.py",
)
FIRST = ("acceptance", "browser", "api", "cells")  # of the others


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each process the next group as soon as it has nothing else to do."""

    def _split_scope(self, nodeid: str) -> str:
        return name_group(nodeid)


def arrange(items: list[pytest.Item]) -> None:
    """Put tests into order."""
    items.sort(key=lambda item: _rank(item.nodeid))


def name_group(nodeid: str) -> str:
    """Returns the tests that a test is taken with: itself, its module, or a folder whose tests share a service."""
    module = _module(nodeid)
    if module in LONG:
        return nodeid
    return "/".join(_parts(module)[:-1]) if module.startswith("acceptance/") else module


def _rank(nodeid: str) -> tuple[int, int]:
    module = _module(nodeid)
    folder = _parts(module)[0]
    return _place(module, LONG), _place(folder, FIRST)


def _place(word: str, words: Sequence[str]) -> int:
    return words.index(word) if word in words else len(words)


def _module(nodeid: str) -> str:
    return nodeid.partition("::")[0].removeprefix("tests/")


def _parts(module: str) -> Sequence[str]:
    return Path(module).parts
