"""What an operator does to cells while a storm goes on: divides them, moves one to the other Postgres and back. Most of
the commands are killed at any moment, or begun while a server is away, and run again, as the README says."""

import logging
import random
import shlex
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg
from psycopg import sql

from tests.acceptance.chaos.plant import Plant
from tests.waiting import wait_until
from workers.cells import Cell
from workers.store import connect

log = logging.getLogger(__name__)

MOST_CELLS = 8  # of a storm
KILLED, BEGUN_WITHOUT = 0.4, 0.4  # the shares of commands that are killed, or begun while a server is away
SERVERS = ("postgres", "redis", "buffer", "node")
RESTARTED_WITHIN_SECONDS = 3.0  # a process, after another: meanwhile both old and new settings are at work
KILLED_WITHIN_SECONDS = 6.0  # with a busy machine, of which the start takes half
PATIENCE_SECONDS = 300.0
ENTERED = ("WINDBACK_CELLS", "WINDBACK_CELL_DATABASE_URLS", "WINDBACK_CELL_BUFFER_URLS")


class CellCommands:
    """`windback cells`, on the cells of a plant."""

    def __init__(self, plant: Plant, chance: random.Random) -> None:
        self._plant, self._chance = plant, chance

    def split(self) -> bool:
        """Divide all cells, unless there are many. Processes follow by themselves. Returns whether it was done."""
        if self._plant.settings.cells >= MOST_CELLS:
            return False
        self._run("cells", "split")
        return True

    def move(self) -> None:
        """Move a cell to the other Postgres; then start all processes again, in turn."""
        settings = self._plant.settings
        cell = self._chance.choice(settings.all_cells)
        others = sorted({other.database_url for other in settings.all_cells} - {cell.database_url})
        target = others[0] if others else settings.database_url
        self._run("cells", "move", str(cell.number), "--to", str(target))
        processes = self._plant.processes()
        for child in self._chance.sample(processes, len(processes)):
            child.kill()
            time.sleep(self._chance.uniform(0, RESTARTED_WITHIN_SECONDS))
        wait_until(lambda: self._drop_moved(cell), timeout=PATIENCE_SECONDS)

    def _run(self, *words: str) -> None:
        what = self._chance.random()
        if what < KILLED:
            self._launch(words)
        elif what < KILLED + BEGUN_WITHOUT:
            server = self._chance.choice(self._plant.kinds(*SERVERS))
            log.info("%s without %s", " ".join(words[:2]), server.name)
            with server.down():
                self._launch(words)
        self._plant.enter(_parse(wait_until(self._attempt(words), timeout=PATIENCE_SECONDS, interval=1.0)))

    def _launch(self, words: tuple[str, ...]) -> None:
        """Have the command begin, and kill it."""
        command = self._plant.launch(*words)
        with suppress(subprocess.TimeoutExpired):
            command.wait(self._chance.uniform(0, KILLED_WITHIN_SECONDS))
        command.kill()
        command.wait()

    def _attempt(self, words: tuple[str, ...]) -> Callable[[], str]:
        def attempt() -> str:
            command = self._plant.launch(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            printed, fault = command.communicate()
            if command.returncode:
                log.info("%s failed: %s", " ".join(words[:2]), fault.decode().strip()[-300:])
            return "" if command.returncode else printed.decode()

        return attempt

    def _drop_moved(self, cell: Cell) -> bool:
        """The old tables, as an operator who has seen that all is well."""
        drop = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(f"{cell.schema}_moved"))
        try:
            with connect(cell.database_url) as connection:
                connection.execute(drop)
        except psycopg.Error:
            return False
        return True


def _parse(printed: str) -> dict[str, str]:
    """The settings that a command has printed."""
    pairs = (word.partition("=") for line in printed.splitlines() if "=" in line for word in shlex.split(line))
    return {name: value for name, _, value in pairs if name in ENTERED}
