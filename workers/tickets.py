"""Tickets: RQ jobs that say "there is something to do" and carry nothing.

Whoever sets a queue's mark issues its ticket; the job removes the mark before it looks for work, so whatever comes
later finds no mark and asks for the next ticket. A ticket that is lost with its process is issued again by the clock.
"""

from redis import Redis
from rq import Queue

from workers.buffer.stream import MARK_SECONDS

JOBS = {
    "ingest": "workers.jobs.ingest_live",
    "import": "workers.jobs.ingest_history",
    "score": "workers.jobs.score",
}
JOB_TIMEOUT_SECONDS = 60
FAILURE_TTL_SECONDS = 7 * 24 * 3600


def mark(queue: str) -> str:
    """The key that is set while a ticket waits in a queue."""
    return f"windback:ticket:{queue}"


def ask(redis: Redis, queue: str) -> bool:
    """Issue a ticket unless one waits already. Returns whether it was issued."""
    if not redis.set(mark(queue), 1, nx=True, ex=MARK_SECONDS):
        return False
    issue(redis, queue)
    return True


def reissue(redis: Redis, queue: str) -> None:
    """Issue a ticket whatever the mark says: nobody waits in the queue, though there is work."""
    redis.set(mark(queue), 1, ex=MARK_SECONDS)
    issue(redis, queue)


def issue(redis: Redis, queue: str) -> None:
    """Put a job into a queue; its mark is already set."""
    Queue(queue, connection=redis, serializer="json", default_timeout=JOB_TIMEOUT_SECONDS).enqueue(
        JOBS[queue],
        description=f"{queue} ticket",
        result_ttl=0,
        failure_ttl=FAILURE_TTL_SECONDS,
    )


def taken(redis: Redis, queue: str) -> None:
    """Remove the mark: a job calls this before it looks for work."""
    redis.delete(mark(queue))


def waiting(redis: Redis, queue: str) -> int:
    """How many tickets wait in a queue."""
    return redis.llen(f"{Queue.redis_queue_namespace_prefix}{queue}")
