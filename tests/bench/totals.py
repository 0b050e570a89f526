"""A process that keeps the totals, and does nothing else: `python -m tests.bench.totals DATABASE_URL REDIS_URL`."""

import sys

from workers import tally
from workers.process import Process, redis_client
from workers.rescore import LINGER_SECONDS
from workers.settings import Settings

if __name__ == "__main__":
    process = Process(Settings(database_url=sys.argv[1], redis_url=sys.argv[2]), redis_client(sys.argv[2]))
    while not process.stopping.wait(LINGER_SECONDS):
        tally.drain(process)
