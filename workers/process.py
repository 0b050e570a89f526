"""Shared by the jobs of a worker process: settings, connections, models and rules, the request to stop."""

import logging
import os
import random
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from redis import Redis

from workers import installation, placement, tickets
from workers.accounts.mirror import HomeMirror
from workers.accounts.serving import Serving
from workers.buffer.lanes import Lane, lanes_of
from workers.buffer.lint import SeenNames
from workers.cells import Cell
from workers.heartbeat import Heartbeat
from workers.pace import Pace
from workers.persistence import AppendOnlyFile
from workers.redis import PREFIX, redis_client
from workers.settings import Settings
from workers.store import Connection, connect, presence
from workers.warnings import Warnings

log = logging.getLogger(__name__)

FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0
SCORED_AT_ONCE = 500  # customers in a transaction that nothing is known of
MOST_SCORED_AT_ONCE = 1_000  # where their histories are short
AWAY_MILLISECONDS = 3_000  # after which the clock has a cell tried again whose Postgres was away
MOST_CONNECTED = 8  # cells with which a process keeps a connection


class NoSuchCell(Exception):
    """A job names a cell that WINDBACK_CELLS does not have: it comes from a process with other settings."""


class Process:
    """A worker process, as it works at home or on a cell. `redis` holds the buffer, `home_redis` all that is no cell's:
    jobs, heartbeats, warnings, counters. `stopping` is set when it was asked to end."""

    def __init__(self, settings: Settings, redis: Redis, number: int | None = None) -> None:
        self.settings = settings
        self.home_redis = redis
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.stopping = threading.Event()
        self.warnings = Warnings()
        self.names = SeenNames()
        self.heartbeat = Heartbeat()
        self._work_at(number)

    def _work_at(self, number: int | None) -> None:
        self._number = number
        self._at: dict[int | None, Process] = {number: self}
        self._connection: Connection | None = None
        self._installation_id: str | None = None
        is_apart = self.cell.buffer_url not in ("", self.settings.redis_url)
        self.redis: Redis = redis_client(self.cell.buffer_url) if is_apart else self.home_redis
        self.serving = Serving(self.settings.horizon_days, self.settings.levels)
        self.scoring_pace = Pace(MOST_SCORED_AT_ONCE, SCORED_AT_ONCE)
        self.scored_account = -1  # whose customers had the last turn to be scored
        self.append_only_file = AppendOnlyFile()
        self.mirror = HomeMirror()

    def at(self, number: int | None) -> "Process":
        """Returns this process as it works on another cell, or at home (None). Raises NoSuchCell."""
        if number not in self._at:
            if number is not None and not (isinstance(number, int) and 0 <= number < self.settings.cells > 1):
                raise NoSuchCell(f"there is no cell {number}; all processes need the same WINDBACK_CELLS")
            there = self._at[number] = Process.__new__(Process)
            there.__dict__.update(self.__dict__)
            there._work_at(number)
            there._at = self._at
        there = self._at[number] = self._at.pop(number)  # the last of them
        return there

    def follow(self) -> bool:
        """Take over the number of cells if they have been divided. Returns True if they have. Raises RedisError."""
        after = self.find_divided()
        if after == self.settings:
            return False
        log.warning("there are %d cells by now; set WINDBACK_CELLS and the lists of their places", after.cells)
        self.disconnect_all()
        self.settings = after
        self._work_at(self._number)
        return True

    def find_divided(self) -> Settings:
        """Returns the settings of all cells that there are by now. Raises RedisError."""
        after = placement.follow(self.settings, placement.read_announced(self.home_redis))
        if self.settings.cells == 1 < after.cells and not placement.has_buffer(after.all_cells[0]):
            return self.settings  # the cells were set up with buffers of their own, which these settings don't name
        return after

    @property
    def cell(self) -> Cell:
        """The cell that it works on."""
        return self.settings.home if self._number is None else self.settings.all_cells[self._number]

    @property
    def log_fields(self) -> Mapping[str, object]:
        """The fields by which log records name the cell; none where there is a single one, and at home."""
        return {} if self.cell.number is None else {"cell": self.cell.name}

    @property
    def lanes(self) -> Mapping[str, Lane]:
        """The cell's lanes, by name."""
        return lanes_of(self.cell)

    def key(self, name: str) -> str:
        """Returns a key of the cell in Redis."""
        return f"{self.cell.prefix}:{name}"

    def connection(self) -> Connection:
        """Returns the process's connection; opens it if there is none. Raises psycopg.OperationalError."""
        if self._connection is None or self._connection.closed:
            assert self.cell.database_url
            self._connection = presence.enter(self.cell)
        return self._connection

    @contextmanager
    def home_connection(self) -> Iterator[Connection]:
        """Yields a connection to home: the process's own where there is a single cell, else one for the block, since
        another thread may work at home."""
        if self.settings.cells == 1:
            yield self.connection()
        else:
            with connect(self.settings.home) as connection:
                yield connection

    @contextmanager
    def cell_connections(self) -> Iterator[list[Connection]]:
        """Yields a connection to each cell: the process's own where there is a single one, else some for the block."""
        with placement.connect_cells(self.settings) as cells:
            yield cells or [self.connection()]

    def list_copies(self) -> list[tuple[Redis, str]]:
        """Returns a client of each Redis that doors read keys and cells from, and how these begin there: home's first,
        then the copies."""
        copies = placement.list_copies(self.settings)
        return [(self.home_redis, PREFIX), *((self.at(cell.number).redis, cell.copy_prefix) for cell in copies)]

    def ask(self, queue: str) -> None:
        """Issue a ticket of the cell unless one waits already."""
        tickets.ask(self.home_redis, queue, self.cell, self.redis)

    def issue(self, queue: str) -> None:
        """Issue a ticket of the cell, whose mark is already set."""
        tickets.issue(self.home_redis, queue, self.cell.number)

    def ask_later(self, queue: str) -> None:
        """As `ask`, where the cell's Postgres is away: of several cells, the others go first for a moment."""
        if self.settings.cells == 1:
            self.ask(queue)
        else:
            self.redis.set(tickets.mark_key(queue, self.cell.prefix), tickets.LATER, px=AWAY_MILLISECONDS)

    def check_installation(self) -> None:
        """Raises ForeignRedis unless Redis and Postgres belong together; psycopg.Error, RedisError."""
        if self._installation_id is None:
            self._installation_id = self._find_installation()
        placement.tie_buffer(self.redis, self.settings, self.cell, self._installation_id)

    def _find_installation(self) -> str:
        """Returns the id of these tables' installation. Raises Misplaced if they are not where the cells are."""
        with connect(self.settings.home) as home:
            placement.check_count(home, self.settings.cells)
            noted = placement.list_noted(home).get(self._number) if self._number is not None else None
        installation_id = installation.find_id(self.connection())
        if self._number is not None:
            placement.check_tables(self.cell, noted, installation_id)
        return installation_id

    def disconnect(self) -> None:
        """Close the connection; the next use opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def disconnect_all(self, kept: int = 0) -> None:
        """Close the connections with all cells but those that were last worked on."""
        connected = [there for there in self._at.values() if there._connection is not None]
        for there in connected[: len(connected) - kept]:
            there.disconnect()

    def pause(self, attempt: int) -> None:
        """Wait before trying again: longer with each attempt (from 0), with jitter, and not when asked to stop."""
        longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**attempt)
        self.stopping.wait(longest * random.uniform(0.5, 1.0))  # noqa: S311
