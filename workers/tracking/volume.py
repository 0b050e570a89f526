"""The number of live events received an hour, by account: kept in Redis, beside the transaction that stores them.

A hash holds an account's week, and goes 60 days after its last event. History isn't counted: an import says nothing of
whether tracking works. A batch that is delivered twice is counted twice, which does no harm here.
"""

import time
from collections import Counter
from contextlib import suppress

import numpy as np
from redis import Redis
from redis.exceptions import RedisError

from scoring.outages import WEEK_HOURS
from scoring.rollup import Floats
from workers.buffer.table import Table, mark_first
from workers.redis import PREFIX

HOUR_MICROSECONDS = 3_600_000_000
KEPT_SECONDS = 60 * 86400
HOURS = 8 * WEEK_HOURS  # as many as are read

Volumes = Counter[tuple[int, int]]  # by account and hour since 1970


def key(account_id: int, week: int) -> str:
    """The hash of an account's week, from the hour of the week to how many events."""
    return f"{PREFIX}:volume:{account_id}:{week}"


def volumes_of(table: Table) -> Volumes:
    """Returns how many of these events were received in which hour, by the clock of the web process that took them: ids
    of the buffer stay ahead for as long as Redis's clock once was."""
    now_us = int(time.time() * 1_000_000)
    accounts, hours = table.find_accounts(), np.minimum(table.received_us, now_us) // HOUR_MICROSECONDS
    order = np.lexsort((hours, accounts))
    starts = np.flatnonzero(mark_first(accounts[order], hours[order]))
    events = np.diff(starts, append=len(order))
    pairs = zip(accounts[order[starts]].tolist(), hours[order[starts]].tolist(), strict=True)
    return Volumes(dict(zip(pairs, events.tolist(), strict=True)))


def add(redis: Redis, volumes: Volumes) -> None:
    """Count; a Redis that can't do it now is no reason to store a batch again."""
    pipeline = redis.pipeline(transaction=False)
    for (account_id, hour), events in volumes.items():
        week, hour_of_week = divmod(hour, WEEK_HOURS)
        pipeline.hincrby(key(account_id, week), str(hour_of_week), events)
        pipeline.expire(key(account_id, week), KEPT_SECONDS)
    with suppress(RedisError):
        pipeline.execute()


def read(redis: Redis, account_id: int, end_hour: int) -> Floats:
    """The volumes of the last HOURS hours before `end_hour`, oldest first."""
    first = end_hour - HOURS
    weeks = range(first // WEEK_HOURS, end_hour // WEEK_HOURS + 1)
    pipeline = redis.pipeline(transaction=False)
    for week in weeks:
        pipeline.hgetall(key(account_id, week))
    volumes = np.zeros(len(weeks) * WEEK_HOURS)
    for number, fields in enumerate(pipeline.execute()):
        for hour_of_week, events in fields.items():
            volumes[number * WEEK_HOURS + int(hour_of_week)] = int(events)
    start = first - weeks[0] * WEEK_HOURS
    return volumes[start : start + HOURS]
