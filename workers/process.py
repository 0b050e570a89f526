"""What the jobs of a worker process share: settings, connections, how accounts are scored, the request to stop."""

import os
import random
import secrets
import socket
import threading

from redis import Redis

from workers import installation
from workers.accounts.serving import Serving
from workers.buffer.lint import SeenNames
from workers.heartbeat import Heartbeat
from workers.pace import Pace
from workers.persistence import AppendOnlyFile
from workers.settings import Settings
from workers.store import Connection, connect
from workers.warnings import Warnings

FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0
SCORED_AT_ONCE = 500  # customers in a transaction


class Process:
    """A worker process. `stopping` is set when it was asked to end."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self.settings = settings
        self.redis = redis
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.stopping = threading.Event()
        self.warnings = Warnings()
        self.names = SeenNames()
        self.serving = Serving(settings.horizon_days, settings.levels)
        self.scoring_pace = Pace(SCORED_AT_ONCE)
        self.scored_account = -1  # whose customers had the last turn to be scored
        self.heartbeat = Heartbeat()
        self.append_only_file = AppendOnlyFile()
        self._connection: Connection | None = None
        self._installation_id: str | None = None

    def connection(self) -> Connection:
        """Returns the process's connection; opens it if there is none. Raises psycopg.OperationalError."""
        if self._connection is None or self._connection.closed:
            assert self.settings.database_url
            self._connection = connect(self.settings.database_url)
        return self._connection

    def check_installation(self) -> None:
        """Raises ForeignRedis unless Redis and Postgres belong together; psycopg.Error, RedisError."""
        if self._installation_id is None:
            self._installation_id = installation.find_id(self.connection())
        installation.tie(self.redis, self._installation_id)

    def disconnect(self) -> None:
        """Close the connection; the next use opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def pause(self, attempt: int) -> None:
        """Wait before trying again: longer with each attempt (from 0), with jitter, and not when asked to stop."""
        longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**attempt)
        self.stopping.wait(longest * random.uniform(0.5, 1.0))  # noqa: S311
