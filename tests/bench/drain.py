"""A worker that drains a cell's live lane: `python -m tests.bench.drain DATABASE_URL REDIS_URL CELLS NUMBER`.

It says `ready`, waits for a line, and ends when the lane is empty, with the CPU seconds that it took.
"""

import sys
import time

from tests.bench.ingest import tune_interpreter
from workers.buffer.lanes import LIVE
from workers.ingest import ingest
from workers.process import Process
from workers.redis import redis_client
from workers.settings import Settings


def main(database_url: str, redis_url: str, cells: int, number: int) -> None:
    """Drain the lane."""
    ingest.LINGER_SECONDS = 0.001  # waiting for more is no work
    settings = Settings(database_url=database_url, redis_url=redis_url, cells=cells)
    with redis_client(redis_url) as redis:
        process = Process(settings, redis)
        place = process.at(number if cells > 1 else None)
        place.connection()
        tune_interpreter()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        began = time.process_time()
        while sum(ingest.drain(place, LIVE)):
            pass
        sys.stdout.write(f"{time.process_time() - began}\n")
        sys.stdout.flush()
        process.disconnect_all()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
