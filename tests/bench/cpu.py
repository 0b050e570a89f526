"""The CPU time that a benchmark's processes take: on a busy machine it says more than a clock on the wall."""

import os
from collections.abc import Mapping
from contextlib import suppress
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


def read_server_seconds(backend: int) -> float:
    """Returns the CPU seconds of the Postgres of this backend: of all its processes, those that have ended too."""
    server = psutil.Process(backend).parent()
    assert server
    times = server.cpu_times()
    running = 0.0
    for child in server.children():
        with suppress(psutil.NoSuchProcess):
            spent = child.cpu_times()
            running += spent.user + spent.system
    return float(times.user + times.system + times.children_user + times.children_system + running)


def find_redis_pid(redis: Redis) -> int:
    """Returns the process id of the server behind this client."""
    info: Any = redis.info("server")
    return int(info["process_id"])


def _read_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = fields[11:13]
    return (int(user) + int(system)) / TICKS
