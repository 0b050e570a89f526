"""The CPU time that a benchmark's processes take: on a busy machine it says more than a clock on the wall."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from redis import Redis

from workers.process import Process

TICKS = os.sysconf("SC_CLK_TCK")


class CpuMeter:
    """Processes by what they are, and the CPU seconds that they take from now on."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._began = self._read()

    def seconds(self) -> list[float]:
        """Returns the CPU seconds of each process since the meter was made, in their order."""
        return [now - began for now, began in zip(self._read(), self._began, strict=True)]

    def _read(self) -> list[float]:
        return [_read_seconds(pid) for pid in self._pids.values()]


def meter_of(process: Process) -> CpuMeter:
    """Returns a meter of this process as a worker, of its Postgres backend and of Valkey."""
    pids = {
        "worker": os.getpid(),
        "Postgres": process.connection().info.backend_pid,
        "Valkey": find_redis_pid(process.redis),
    }
    return CpuMeter(pids)


def find_postgres_pids(backend: int) -> list[int]:
    """Returns the process ids of the server of this backend, and of all its backends."""
    server = psutil.Process(backend).parent()
    assert server
    return [server.pid, *(child.pid for child in server.children())]


def find_redis_pid(redis: Redis) -> int:
    """Returns the process id of the server behind this client."""
    info: Any = redis.info("server")
    return int(info["process_id"])


def _read_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = fields[11:13]
    return (int(user) + int(system)) / TICKS
