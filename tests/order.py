"""The order of tests, and those that a process takes together: so that all processors are busy until the end.

Long tests begin first, each by itself. Then come the modules; those that share a running service are taken together.
"""

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter
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
    """Put tests into order. Of long modules come the first tests, then the second ones, and so on: those of one module
    are alike, and side by side they would all want the same at once."""
    turns = Counter[str]()
    ranked = []
    for item in items:
        module = _module(item.nodeid)
        turns[module] += 1
        ranked.append((_rank(module, turns[module]), item))
    items[:] = [item for _, item in sorted(ranked, key=itemgetter(0))]


def name_group(nodeid: str) -> str:
    """Returns the tests that a test is taken with: itself, its module, or a folder whose tests share a service."""
    module = _module(nodeid)
    if module in LONG:
        return nodeid
    return "/".join(_parts(module)[:-1]) if module.startswith("acceptance/") else module


def _rank(module: str, turn: int) -> tuple[bool, int, int]:
    is_long = module in LONG
    return not is_long, turn if is_long else _place(_parts(module)[0], FIRST), _place(module, LONG)


def _place(word: str, words: Sequence[str]) -> int:
    return words.index(word) if word in words else len(words)


def _module(nodeid: str) -> str:
    return nodeid.partition("::")[0].removeprefix("tests/")


def _parts(module: str) -> Sequence[str]:
    return Path(module).parts
