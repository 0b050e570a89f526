"""A process that keeps the totals, and does nothing else: `python -m tests.bench.totals DATABASE_URL REDIS_URL`."""

import sys

from workers.process import Process
from workers.redis import redis_client
from workers.risk.rescore import LINGER_SECONDS
from workers.settings import Settings
from workers.upkeep import totals

if __name__ == "__main__":
    process = Process(Settings(database_url=sys.argv[1], redis_url=sys.argv[2]), redis_client(sys.argv[2]))
    while not process.stopping.wait(LINGER_SECONDS):
        totals.drain(process)
