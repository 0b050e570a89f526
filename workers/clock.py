"""The schedule. Any number of clocks may run; the one that holds the lease of a cell is active there, the others wait
for it.

The clock does no work itself that could take long: it issues tickets, and prunes in small steps.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Literal, NamedTuple

import psycopg
from redis import Redis
from redis.exceptions import RedisError

from workers import heartbeat, lease, logs, placement, tickets
from workers.accounts import keys
from workers.alerts import admission, outbox
from workers.buffer.stream import forget_consumers
from workers.heartbeat import Heartbeat
from workers.identities import addresses, forwarding
from workers.ingest import handover, lodgers, receipts, resolving
from workers.learning import demo_models, nightly
from workers.logs import first_line
from workers.process import Process
from workers.risk import rebuild, rescore
from workers.store import only_row, sql
from workers.tracking import outages
from workers.turns import Turns
from workers.upkeep import level_moves, retention, totals

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
FORGET_CONSUMERS_SECONDS = 3600.0


class Duty(NamedTuple):
    """Work that the clock does regularly: everywhere, or where there are several cells at home or in cells only."""

    name: str
    every_seconds: float
    run: Callable[[Process], object]
    place: Literal["everywhere", "home", "cells"] = "everywhere"


def issue_ingest_tickets(process: Process) -> None:
    """Issue a ticket for every lane in which entries wait without one: it may have been lost with its process."""
    lanes = process.lanes.values() if process.cell.number is not None or process.cell.is_single else ()
    for lane in lanes:
        if process.redis.xlen(lane.stream):
            _see_to_ticket(process, lane.queue)


def issue_score_ticket(process: Process) -> None:
    """Issue a ticket if customers are due, or events aren't in the totals, and none waits."""
    if _is_waiting(process, "score"):
        return
    (any_due,) = only_row(process.connection().execute(sql("any_due")))
    if any_due or totals.is_due(process):
        _see_to_ticket(process, "score")


def issue_deliver_ticket(process: Process) -> None:
    """Issue a ticket if alerts wait to be sent, and none waits."""
    if not _is_waiting(process, "deliver") and admission.is_any_due(process):
        _see_to_ticket(process, "deliver")


def _is_waiting(process: Process, queue: str) -> bool:
    """Returns whether a ticket waits, or is to wait for a moment until it is issued. Several cells share a queue: each
    has a mark, which outlives a lost ticket, but where no ticket waits none of theirs does."""
    if process.settings.cells == 1:
        return bool(tickets.count_waiting(process.home_redis, queue))
    mark: Any = process.redis.get(tickets.mark_key(queue, process.cell.prefix))
    return mark == tickets.LATER or (mark is not None and tickets.count_waiting(process.home_redis, queue) > 0)


def _see_to_ticket(process: Process, queue: str) -> None:
    """Issue a ticket unless one waits: the process that set the mark may have died."""
    if not _is_waiting(process, queue):
        tickets.reissue(process.home_redis, queue, process.cell, process.redis)


def note_alerting(process: Process) -> None:
    """Note that this database is in use, so that a restored copy of it is known as one."""
    outbox.note_alerting(process.connection())


def give_up_deliveries(process: Process) -> None:
    """Give up what disabled webhooks have kept for days."""
    process.connection().execute(sql("give_up_deliveries"), {"limit": 10_000})


def mirror_keys(process: Process) -> None:
    """Write the keys to Redis as they stand in Postgres: to those of all cells, since home's may be away."""
    _everywhere(process, lambda redis, prefix: keys.refresh_mirror(process.connection(), redis, prefix))


def _everywhere(process: Process, write: Callable[[Redis, str], object]) -> None:
    """Write to home's Redis, and to those of cells that answer."""
    home, *copies = process.list_copies()
    write(*home)
    for redis, prefix in copies:
        try:
            write(redis, prefix)
        except RedisError as error:
            log.info("the Redis of a cell can't do it now: %s", error)


def announce_cells(process: Process) -> None:
    """Tell the doors which cells there are."""
    noted, was_single = placement.list_noted(process.connection()), placement.was_single(process.connection())
    _everywhere(process, lambda redis, prefix: placement.announce(redis, noted, prefix, was_single=was_single))


def mirror_home(process: Process) -> None:
    """Copy what the cell reads of home."""
    with process.home_connection() as home:
        process.mirror.refresh(home, process.connection())


def prune_consumers(process: Process) -> None:
    """Forget the consumers of workers that are gone, and their beats."""
    heartbeat.forget(process.home_redis)
    for lane in process.lanes.values():
        forget_consumers(process.redis, lane, FORGET_CONSUMERS_SECONDS)


def prune_receipts(process: Process) -> None:
    """Delete the receipts of entries that left the buffer a while ago."""
    receipts.prune(process.connection(), process.redis, process.lanes)


_watch = outages.Watch()  # how far this clock's pass over the accounts is


def watch_tracking(process: Process) -> None:
    """Look at some accounts' volumes."""
    _watch.go_on(process.connection(), process.home_redis)


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
    Duty("mirror keys", 10, mirror_keys, "home"),
    Duty("mirror home", 2, mirror_home, "cells"),
    Duty("move lodgers", 1, lodgers.move_on, "cells"),
    Duty("take over entries", 1, handover.take_over),
    Duty("forward", 1, forwarding.deliver, "cells"),
    Duty("announce cells", 10, announce_cells, "home"),
    Duty("prune consumers", 600, prune_consumers),
    Duty("warn of persistence", 3600, warn_of_persistence),
    Duty("rewrite the append-only file", 1, rewrite_append_only_file),
    Duty("prune", 1, retention.prune),
    Duty("prune receipts", 60, prune_receipts),
    Duty("mend addresses", 600, addresses.mend_addresses),
    Duty("call resolve", 1, resolving.issue_job),
    Duty("expire unresolved", 600, resolving.expire),
    Duty("call rebuild", 5, rebuild.issue_job),
    Duty("watch tracking", 1, watch_tracking, "home"),
    Duty("repair levels", 3600, level_moves.repair_levels),
    Duty("put aside demo models", 10, demo_models.put_aside_all, "home"),
    Duty("call nightly", 600, nightly.issue_job, "home"),
    Duty("call track records", 20, nightly.issue_track_job, "home"),
)


def run(process: Process) -> None:
    """Tick until the process is asked to stop: at home, and in each of several cells in a thread of its own."""
    while not process.stopping.is_set():
        _run_all(process)
        with suppress(RedisError):
            process.follow()


def _run_all(process: Process) -> None:
    """Tick at all places until the process is asked to stop, or there are more cells."""
    turns = Turns(process.settings.cells)
    with ExitStack() as stack:
        for cell in process.settings.all_cells if process.settings.cells > 1 else ():
            there = process.at(cell.number)
            there.heartbeat = Heartbeat()
            thread = threading.Thread(target=_run_in_cell, args=(there, turns), name=f"cell {cell.name}")
            thread.start()
            stack.callback(thread.join)
        _run_at(process, turns)


def duties_at(process: Process) -> Sequence[Duty]:
    """Returns the duties that a clock has at this place."""
    if process.settings.cells == 1:
        return [duty for duty in DUTIES if duty.place != "cells"]
    here = "home" if process.cell.number is None else "cells"
    return [duty for duty in DUTIES if duty.place in ("everywhere", here)]


def _run_in_cell(process: Process, turns: Turns) -> None:
    with logs.about(**process.log_fields):
        _run_at(process, turns)


def _run_at(process: Process, turns: Turns) -> None:
    last = {duty.name: float("-inf") for duty in DUTIES}
    while not (process.stopping.is_set() or turns.over.is_set()):
        try:
            if process.cell.number is None:
                turns.end_if_divided(process)
            if not _may_work(process):
                if turns.pass_on(process):
                    _do_without_postgres(process)
            elif turns.take(process):
                with process.heartbeat.busy():
                    _tick(process, last, time.monotonic())
        except RedisError as error:
            log.warning("Redis can't do it now: %s", error)
        process.stopping.wait(TICK_SECONDS)
    try:
        lease.release(process.redis, process.name, process.cell.prefix)
    except RedisError:
        log.info("the lease ends by itself")
    process.disconnect()


def _do_without_postgres(process: Process) -> None:
    """Do what takes Redis alone: workers may reach the Postgres that this clock does not."""
    issue_ingest_tickets(process)
    if process.cell.number is not None:
        lodgers.move_on(process)


def _may_work(process: Process) -> bool:
    """Returns False while Postgres can't be worked with, or can't say which installation this is. Raises RedisError,
    ForeignRedis."""
    try:
        process.connection()
        process.check_installation()
    except psycopg.Error as error:
        log.warning("Postgres can't do it now: %s", first_line(error))
        process.disconnect()
        return False
    return True


def _tick(process: Process, last: dict[str, float], now: float) -> None:
    for duty in duties_at(process):
        if now - last[duty.name] < duty.every_seconds:
            continue
        if not lease.hold(process.redis, process.name, process.cell.prefix):  # the duties before it took long
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
