"""`python -m workers ingest|import|score|deliver|clock|train`: start one process of the line."""

import gc
import importlib
import logging
import os
import signal
import sys
from types import FrameType

import click
from redis import Redis
from redis.exceptions import RedisError
from rq import SimpleWorker

from workers import heartbeat, jobs, logs, parent_watch, settings
from workers.buffer.lanes import HISTORY
from workers.process import Process
from workers.redis import redis_client
from workers.tickets import JOB_TIMEOUT_SECONDS, JOBS, Ticket

log = logging.getLogger("workers")

USUAL_MODULES = {  # of most jobs of a kind: imported at the start, so that the first one needn't wait
    "ingest": "workers.ingest.ingest",
    "import": "workers.ingest.ingest",
    "score": "workers.risk.rescore",
    "deliver": "workers.alerts.deliver",
}
SWITCH_SECONDS = 0.0002
IMPORT_NICENESS = 5  # where all share a machine, live events come first


class Worker(SimpleWorker):
    """An RQ worker that tells its job when it is asked to stop, and that is soon back after an outage of Redis."""

    max_connection_wait_time = 2.0
    process: Process

    def _set_ip_address(self, connection: Redis) -> None:
        """RQ asks Redis for it, and fails on a socket whose path has a blank or a = in it."""
        self.ip_address = "unknown"

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()  # type: ignore[no-untyped-call]
        if self.process.stopping.is_set():  # asked before RQ listened
            self._stop_requested = True

    def handle_warm_shutdown_request(self) -> None:
        self.process.stopping.set()
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]


def work(process: Process, queue: str) -> None:
    """Run the jobs of one queue until asked to stop. One queue a process: so RQ takes jobs without losing any."""
    jobs.current = process
    attempt = 0
    while not process.stopping.is_set():
        try:
            if _worker(process, queue).work(logging_level="WARNING"):
                attempt = 0
        except RedisError as error:
            log.warning("Redis can't do it now: %s", error)
        process.pause(attempt)
        attempt += 1


def _worker(process: Process, queue: str) -> Worker:
    worker = Worker(
        [queue],
        connection=process.home_redis,
        serializer="json",
        job_class=Ticket,
        worker_ttl=JOB_TIMEOUT_SECONDS,
        maintenance_interval=60,
        log_job_description=False,
    )
    worker.process = process
    return worker


@click.command("worker")
@click.argument("kind", metavar="KIND", type=click.Choice([*JOBS, "clock", "train"]))
def worker(kind: str) -> None:
    """Start a process behind the API.

    KIND is ingest, import, score or deliver for a worker of that queue, clock, or train for one training.
    """
    start(kind)


@click.command("clock")
def clock_command() -> None:
    """Start a clock. Any number may run; one of them is active, in each cell one."""
    start("clock")


def start(kind: str) -> None:
    """Run a process of this kind, as the environment says, until it is asked to stop. Raises click.ClickException."""
    try:
        configured = settings.load()
        configured.needs("database_url", "redis_url")
    except settings.SettingsError as error:
        raise click.ClickException(str(error)) from None
    logs.configure(configured)
    parent_watch.watch()
    assert configured.redis_url
    process = Process(configured, redis_client(configured.redis_url))
    if kind in USUAL_MODULES:
        importlib.import_module(USUAL_MODULES[kind])
    tune_interpreter()
    log.info("%s started", kind)
    run(process, kind)
    process.disconnect_all()
    log.info("%s stopped", kind)


def run(process: Process, kind: str) -> None:
    """Do what such a process does until it is asked to stop."""
    if kind == "train":  # a signal ends it at once, which its transactions allow for
        os.nice(10)
        _train(process)
        return
    _stop_on_signals(process)
    if kind == HISTORY.queue:
        os.nice(IMPORT_NICENESS)
    own = redis_client(process.settings.redis_url or "")  # one that RQ's long wait for work doesn't share
    with own, heartbeat.keep_beating(process.heartbeat, own, process.name, kind):
        _tick(process) if kind == "clock" else work(process, kind)
        if kind == "deliver":
            _close_connections()


def _train(process: Process) -> None:
    from workers.learning import nightly

    nightly.run(process)


def _tick(process: Process) -> None:
    from workers import clock

    clock.run(process)


def _close_connections() -> None:
    from workers.alerts import deliver

    deliver.close_all()


def tune_interpreter() -> None:
    """Have the garbage collector look less often: a batch makes many objects and few cycles, and a look goes over all
    that is remembered. Have a thread that decodes give way sooner: each answer of Postgres waits for that."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def _stop_on_signals(process: Process) -> None:
    """Stop on signals until RQ installs its own handlers, and in processes without RQ."""

    def stop(signum: int, frame: FrameType | None) -> None:
        process.stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


if __name__ == "__main__":
    sys.exit(worker())
