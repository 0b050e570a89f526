"""Moves entries that lodge with a cell to their own cells, whose Redis was away: see workers/buffer/lodging.py."""

import logging
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError

from workers.buffer.entries import decode_entry
from workers.buffer.lanes import LANES, Lane
from workers.buffer.lodging import LEAVE, keys_of, lodgers_key
from workers.buffer.push import push_entry
from workers.process import Process

log = logging.getLogger(__name__)

TOGETHER = 100  # entries


def move_on(process: Process) -> int:
    """Write what lodges here to the buffers of its own cells, where these answer: a duty of the clock. Returns how many
    entries went."""
    guests = [(cell, lane) for cell in process.settings.all_cells if cell != process.cell for lane in LANES]
    pipeline = process.redis.pipeline(transaction=False)
    for cell, lane in guests:
        pipeline.xlen(lodgers_key(process.cell, cell.name, lane))
    present = [guest for guest, entries in zip(guests, pipeline.execute(), strict=True) if entries]
    return sum(_move_lane(process, process.at(cell.number), lane) for cell, lane in present)


def _move_lane(here: Process, there: Process, lane: str) -> int:
    keys, moved = keys_of(here.cell, there.cell.name, lane), 0
    key = keys[0]
    while not here.stopping.is_set():
        entries: Any = here.redis.xrange(key, count=TOGETHER)
        for entry_id, fields in entries:
            if not _push(there, there.lanes[lane], int(fields[b"n"]), fields[b"entry"]):
                return moved
            here.redis.eval(LEAVE, len(keys), *keys, entry_id, fields[b"n"], len(fields[b"entry"]))
            moved += 1
        if len(entries) < TOGETHER:
            break
    log.info("lodgers moved on", extra={"cell": there.cell.name, "lane": lane, "entries": moved})
    return moved


def _push(there: Process, lane: Lane, events: int, entry: bytes) -> bool:
    """Returns False while the other Redis is away."""
    try:
        arriving = list_accounts(entry) if lane.is_history else ()
        if push_entry(there.redis, lane, events, entry, arriving, there.settings.buffer_replicas):
            there.issue(lane.queue)
    except RedisError as error:
        log.debug("the lodgers of cell %s wait: %s", there.cell.name, error)
        return False
    return True


def list_accounts(entry: bytes) -> set[int]:
    """Returns the accounts of an entry; none of one that can't be read, which is buried where it is stored."""
    with suppress(ValueError):
        return {request.account_id for request in decode_entry(entry).requests}
    return set()
