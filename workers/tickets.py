"""Tickets: RQ jobs that say "there is something to do", and carry nothing but the number of a cell.

The process that sets a queue's mark issues its ticket. The job removes the mark before it looks for work, so that later
work finds no mark and asks for the next ticket. The clock issues a ticket again if it was lost with its process.
"""

from typing import Any

from redis import Redis
from rq import Queue
from rq.job import Job
from rq.utils import import_attribute

from workers.cells import Cell
from workers.redis import PREFIX

JOBS = {
    "ingest": "workers.jobs.ingest_live",
    "import": "workers.jobs.ingest_history",
    "score": "workers.jobs.score",
    "deliver": "workers.jobs.deliver",
}
REBUILD = "workers.jobs.rebuild"
NIGHTLY = "workers.jobs.nightly"
RESOLVE = "workers.jobs.resolve"
OURS = frozenset({*JOBS.values(), REBUILD, NIGHTLY, RESOLVE})
AT_HOME = Cell("", "")  # where there is a single cell
MARK_SECONDS = 60  # how long a ticket may be under way before another is asked for
LATER = b"later"  # a mark without a ticket: the clock issues one when it has expired
JOB_TIMEOUT_SECONDS = 60
FAILURE_TTL_SECONDS = 7 * 24 * 3600


class UnknownJob(Exception):
    """One of our queues held a job that is not in OURS: another program that writes to Redis put it there. It isn't
    run."""


class Ticket(Job):
    """A job of ours: a function of the list, with the number of a cell or nothing, and nothing before or after it. RQ
    itself runs whatever a job's record names."""

    success_callback = failure_callback = stopped_callback = None

    @property
    def func(self) -> Any:
        """The function to run. Raises UnknownJob."""
        if self.func_name not in OURS:
            raise UnknownJob(self.func_name)
        return import_attribute(self.func_name)

    def send_webhooks(self, status: Any, *, exc_string: str | None = None) -> None:
        """Does nothing by itself."""


def mark_key(queue: str, prefix: str = PREFIX) -> str:
    """The key that is set while a ticket waits in a queue; `prefix` is that of a cell's keys."""
    return f"{prefix}:ticket:{queue}"


def ask(redis: Redis, queue: str, cell: Cell = AT_HOME, buffer: Redis | None = None) -> bool:
    """Issue a ticket of a cell unless one waits already. Returns whether it was issued. `redis` holds the queue,
    `buffer` the cell's mark."""
    if not (buffer or redis).set(mark_key(queue, cell.prefix), 1, nx=True, ex=MARK_SECONDS):
        return False
    issue(redis, queue, cell.number)
    return True


def reissue(redis: Redis, queue: str, cell: Cell = AT_HOME, buffer: Redis | None = None) -> None:
    """Issue a ticket whatever the mark says: there is work, and no ticket waits in the queue."""
    (buffer or redis).set(mark_key(queue, cell.prefix), 1, ex=MARK_SECONDS)
    issue(redis, queue, cell.number)


def issue(redis: Redis, queue: str, number: int | None = None) -> None:
    """Put a ticket into its queue, for the cell of this number; its mark is already set."""
    enqueue(redis, queue, JOBS[queue], f"{queue} ticket", number)


def enqueue(redis: Redis, queue: str, job: str, description: str, number: int | None = None) -> None:
    """Put a job into a queue, as all of ours are: JSON, a time-out, nothing left behind."""
    queue_of_ours = Queue(
        queue, connection=redis, serializer="json", default_timeout=JOB_TIMEOUT_SECONDS, job_class=Ticket
    )
    arguments = () if number is None else (number,)
    queue_of_ours.enqueue(job, *arguments, description=description, result_ttl=0, failure_ttl=FAILURE_TTL_SECONDS)


def clear_mark(redis: Redis, queue: str, prefix: str = PREFIX) -> None:
    """Remove the mark: a job calls this before it looks for work."""
    redis.delete(mark_key(queue, prefix))


def count_waiting(redis: Redis, queue: str) -> int:
    """Returns how many tickets wait in a queue."""
    return redis.llen(f"{Queue.redis_queue_namespace_prefix}{queue}")
