"""The ledger follows when events that had waited for an address are stored, erased or given up.

A move is noted in the transaction that moves the events, so a crash forgets nothing; a script then applies it once,
whatever is delivered twice. A move takes from one count what it gives to another: the sum is right at any moment.
"""

import json
from collections.abc import Mapping

from redis import Redis

from workers.buffer.lanes import LANES, Lane
from workers.buffer.replicas import execute
from workers.store import Connection, sql

TOGETHER = 500
APPLIED_SECONDS = 7 * 86400  # in which a move that is applied is certainly deleted

# KEYS: mark of the move, outcomes. ARGV: seconds of the mark, counts as JSON.
APPLY = """
if redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[1]) then
  for outcome, events in pairs(cjson.decode(ARGV[2])) do redis.call('HINCRBY', KEYS[2], outcome, events) end
end
"""


def note_move(connection: Connection, lane: str, counts: Mapping[str, int]) -> None:
    """Note that events go from one count into another, in the transaction that moves them."""
    if any(counts.values()):
        connection.execute(sql("note_ledger_move"), {"lane": lane, "counts": json.dumps(dict(counts))})


def apply_moves(connection: Connection, redis: Redis, lanes: Mapping[str, Lane] = LANES, replicas: int = 0) -> None:
    """Tell the ledger what has moved. Raises RedisError; then the next call does it."""
    while moves := connection.execute(sql("list_ledger_moves"), {"limit": TOGETHER}).fetchall():
        pipeline = redis.pipeline(transaction=False)
        for move_id, lane, counts in moves:
            keys = f"{lanes[lane].prefix}:move:{move_id}", lanes[lane].outcomes
            pipeline.eval(APPLY, 2, *keys, APPLIED_SECONDS, json.dumps(counts))
        execute(pipeline, replicas)
        connection.execute(sql("delete_ledger_moves"), {"move_ids": [move_id for move_id, _, _ in moves]})
