"""What runs when. Any number of clocks may run; the one that holds the lease is active, the others wait for it.

The clock does no work itself that could take long: it issues tickets, and prunes in small steps.
"""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import psycopg
from redis.exceptions import RedisError

from workers import heartbeat, lease, tickets
from workers.accounts import keys
from workers.alerts import admission, outbox
from workers.buffer.lanes import LANES
from workers.buffer.stream import forget_consumers
from workers.identities import addresses
from workers.ingest import receipts, resolving
from workers.learning import nightly
from workers.logs import first_line
from workers.process import Process
from workers.risk import rebuild, rescore
from workers.store import one, sql
from workers.tracking import outages
from workers.upkeep import level_moves, retention, totals

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
FORGET_CONSUMERS_SECONDS = 3600.0


class Duty(NamedTuple):
    """Work that the clock does regularly."""

    name: str
    every_seconds: float
    run: Callable[[Process], object]


def issue_ingest_tickets(process: Process) -> None:
    """Issue a ticket for every lane in which entries wait without one: it may have been lost with its process."""
    for lane in LANES.values():
        if process.redis.xlen(lane.stream) and not tickets.count_waiting(process.redis, lane.queue):
            tickets.reissue(process.redis, lane.queue)


def issue_score_ticket(process: Process) -> None:
    """Issue a ticket if customers are due, or events aren't in the totals, and none waits."""
    if tickets.count_waiting(process.redis, "score"):
        return
    (any_due,) = one(process.connection().execute(sql("any_due")))
    if any_due or totals.is_due(process):
        tickets.reissue(process.redis, "score")


def issue_deliver_ticket(process: Process) -> None:
    """Issue a ticket if alerts wait to be sent, and none waits."""
    if not tickets.count_waiting(process.redis, "deliver") and admission.is_any_due(process):
        tickets.reissue(process.redis, "deliver")


def note_alerting(process: Process) -> None:
    """Note that this database is in use, so that a restored copy of it is known as one."""
    outbox.note_alerting(process.connection())


def give_up_deliveries(process: Process) -> None:
    """Give up what disabled webhooks have kept for days."""
    process.connection().execute(sql("give_up_deliveries"), {"limit": 10_000})


def mirror_keys(process: Process) -> None:
    """Write the keys to Redis as they stand in Postgres."""
    keys.mirror(process.connection(), process.redis)


def prune_consumers(process: Process) -> None:
    """Forget the consumers of workers that are gone, and their beats."""
    heartbeat.forget(process.redis)
    for lane in LANES.values():
        forget_consumers(process.redis, lane, FORGET_CONSUMERS_SECONDS)


def prune_receipts(process: Process) -> None:
    """Delete the receipts of entries that left the buffer a while ago."""
    receipts.prune(process.connection(), process.redis)


_watch = outages.Watch()  # how far this clock's pass over the accounts is


def watch_tracking(process: Process) -> None:
    """Look at some accounts' volumes."""
    _watch.go_on(process.connection(), process.redis)


def warn_of_persistence(process: Process) -> None:
    """Log that Redis keeps no append-only file."""
    process.append_only_file.warn(process.redis)


def rewrite_append_only_file(process: Process) -> None:
    """Have Redis write its file anew after a time in which it could not."""
    process.append_only_file.rewrite_after_failure(process.redis)


DUTIES = (
    Duty("ingest tickets", 1, issue_ingest_tickets),
    Duty("watch settings", 60, rescore.watch_settings),
    Duty("release provisional risks", 1, rescore.release_provisional),
    Duty("score ticket", 1, issue_score_ticket),
    Duty("deliver ticket", 1, issue_deliver_ticket),
    Duty("note alerting", 10, note_alerting),
    Duty("give up deliveries", 3600, give_up_deliveries),
    Duty("mirror keys", 10, mirror_keys),
    Duty("prune consumers", 600, prune_consumers),
    Duty("warn of persistence", 3600, warn_of_persistence),
    Duty("rewrite the append-only file", 1, rewrite_append_only_file),
    Duty("prune", 1, retention.prune),
    Duty("prune receipts", 60, prune_receipts),
    Duty("mend addresses", 600, addresses.mend_addresses),
    Duty("call resolve", 1, resolving.issue_job),
    Duty("expire unresolved", 600, resolving.expire),
    Duty("call rebuild", 5, rebuild.issue_job),
    Duty("watch tracking", 1, watch_tracking),
    Duty("repair levels", 3600, level_moves.repair_levels),
    Duty("call nightly", 600, nightly.issue_job),
    Duty("call track records", 20, nightly.issue_track_job),
)


def run(process: Process) -> None:
    """Tick until the process is asked to stop."""
    last = {duty.name: float("-inf") for duty in DUTIES}
    while not process.stopping.is_set():
        try:
            if _may_work(process) and lease.hold(process.redis, process.name):
                with process.heartbeat.busy():
                    _tick(process, last, time.monotonic())
        except RedisError as error:
            log.warning("Redis can't do it now: %s", error)
        process.stopping.wait(TICK_SECONDS)
    try:
        lease.release(process.redis, process.name)
    except RedisError:
        log.info("the lease ends by itself")


def _may_work(process: Process) -> bool:
    """Returns False while Postgres can't say which installation this is. Raises RedisError, ForeignRedis."""
    try:
        process.check_installation()
    except psycopg.Error as error:
        log.warning("Postgres can't do it now: %s", first_line(error))
        process.disconnect()
        return False
    return True


def _tick(process: Process, last: dict[str, float], now: float) -> None:
    for duty in DUTIES:
        if now - last[duty.name] < duty.every_seconds:
            continue
        if not lease.hold(process.redis, process.name):  # the duties before it took long
            return
        try:
            duty.run(process)
            process.heartbeat.progress()
        except psycopg.Error as error:  # the next tick tries again
            log.warning("%s: Postgres can't do it now: %s", duty.name, first_line(error))
            process.disconnect()
            if error.sqlstate is None:  # there is no connection
                break  # the others would wait for it as well, longer than the lease lasts
            continue
        except RedisError:
            raise
        except Exception:  # a fault of ours in one duty is not to stop the others
            log.exception("%s failed", duty.name)
        last[duty.name] = now
