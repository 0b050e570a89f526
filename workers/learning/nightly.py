"""The night's learning: matured scores, and a training of each account that has enough new outcomes.

The clock issues a job on the `score` queue; the job only starts a process of its own, so that the worker goes on with
its lane. Nights begin at 3 in the morning, UTC; each account has one turn a night, the first one as soon as it is ripe.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from redis import Redis

from scoring.learning.outcomes import HORIZONS
from scoring.rollup import DAY
from workers import tickets
from workers.accounts import registry
from workers.accounts.models import Card
from workers.accounts.registry import ListedAccount, resolve_rules
from workers.learning import track_records, trainer
from workers.learning.evaluation import mature
from workers.process import Process
from workers.redis import PREFIX
from workers.risk import rebuild
from workers.store import Connection, only_row, sql
from workers.store.locks import Lock, holding

log = logging.getLogger(__name__)

NIGHT = 3 * 3600  # seconds after midnight, UTC
TURN = f"{PREFIX}:nightly:{{night}}:{{account_id}}"  # set when an account's turn begins
TURN_SECONDS = 2 * 86400
ASKED = f"{PREFIX}:track-records"  # set while a process that computes them is under way
ASKED_SECONDS = 900
WANTED = f"{PREFIX}:train"  # a set: the accounts with a request for a training now
WANTED_SECONDS = 86_400
LEAST_SNAPSHOTS = 50  # new ones, before a training is worth its while …
EARLY_DAYS = 14  # from then on silences say something of an account, whatever its horizon
LEAST_SHARE = 0.01  # … and of those that the last one had
SNAPSHOT_DAYS = 15  # about: a customer's snapshots are so far apart
NEVER_DAYS = 365  # where there was no training yet, it counts as so long ago
COMMAND = [sys.executable, "-m", "workers", "train"]
POLL_SECONDS = 0.5
KILL_SECONDS = 5.0


def issue_job(process: Process) -> None:
    """Issue a job if an account's turn has come: a duty of the clock. It waits while history comes in, so that no
    account spends its turn on half of an import."""
    redis = process.home_redis
    with process.cell_connections() as cells:
        if any(map(rebuild.is_pending, cells)):
            return
        waiting = list_waiting(process.connection(), redis, process.settings.horizon_days, cells)
    if waiting or redis.exists(WANTED):
        tickets.enqueue(redis, "score", tickets.NIGHTLY, "nightly")


def ask_for_training(redis: Redis, account_id: int) -> None:
    """Have an account trained now, out of its turn. Raises RedisError."""
    redis.sadd(WANTED, account_id)
    redis.expire(WANTED, WANTED_SECONDS)
    tickets.enqueue(redis, "score", tickets.NIGHTLY, "training")


def issue_track_job(process: Process) -> None:
    """Issue a job if a track record is due and no history comes in: a duty of the clock."""
    with process.cell_connections() as cells:
        if not track_records.list_due(*cells) or any(map(rebuild.is_pending, cells)):
            return
    if process.home_redis.set(ASKED, 1, nx=True, ex=ASKED_SECONDS):
        tickets.enqueue(process.home_redis, "score", "workers.jobs.nightly", "track record")


def list_waiting(
    connection: Connection, redis: Redis, horizon_days: int | None, cells: Sequence[Connection] = ()
) -> list[ListedAccount]:
    """Returns the accounts that are ripe, in any cell, and have not had their turn tonight; `horizon_days` is the
    setting."""
    accounts = registry.list_accounts(connection)
    pipeline = redis.pipeline(transaction=False)
    for account in accounts:
        pipeline.exists(turn_key(account.account_id))
    waiting = [account for account, had_turn in zip(accounts, pipeline.execute(), strict=True) if not had_turn]
    ripe = set[int]().union(*(_find_ripe(cell, waiting, horizon_days) for cell in cells or [connection]))
    return [account for account in waiting if account.account_id in ripe]


def _find_ripe(connection: Connection, accounts: Sequence[ListedAccount], horizon_days: int | None) -> set[int]:
    parameters = {
        "account_ids": [account.account_id for account in accounts],
        "horizons": [min(resolve_rules(account, horizon_days).horizon_days, EARLY_DAYS) for account in accounts],
    }
    return {account_id for (account_id,) in connection.execute(sql("find_ripe"), parameters)}


def turn_key(account_id: int) -> str:
    """Returns the key of an account's turn tonight."""
    return TURN.format(night=int((time.time() - NIGHT) // DAY), account_id=account_id)


def start(process: Process) -> threading.Thread:
    """Start the process that learns; it ends with this one. Returns the thread that watches it.

    It gets our modules, not those of a folder with a `workers` of its own.
    """
    modules = os.pathsep.join(path for path in sys.path if path)
    child = subprocess.Popen(COMMAND, env={**os.environ, "PYTHONPATH": modules, "PYTHONSAFEPATH": "1"})
    thread = threading.Thread(target=_watch_child, args=(child, process), name="nightly")
    thread.start()
    return thread


def _watch_child(child: subprocess.Popen[bytes], process: Process) -> None:
    while child.poll() is None and not process.stopping.wait(POLL_SECONDS):
        pass
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
    elif child.returncode:
        log.error("the nightly training failed", extra={"exit_code": child.returncode})
    child.wait()


def run(process: Process) -> None:
    """Give every waiting account its turn, unless another process is at it."""
    connection, redis = process.connection(), process.home_redis
    with holding(connection, Lock.LEARNING) as ours, process.cell_connections() as cells:
        if ours:
            _train_wanted(process, cells)
        for account in list_waiting(connection, redis, process.settings.horizon_days, cells) if ours else []:
            if process.stopping.is_set() or not redis.set(turn_key(account.account_id), 1, nx=True, ex=TURN_SECONDS):
                continue
            try:
                _take_turn(process, cells, account)
            except Exception:  # whatever it is, the other accounts are not to suffer from it
                log.exception("the nightly training of an account failed", extra={"account": account.name})
        if ours:
            track_records.compute_due(process, cells)
    redis.delete(ASKED)


def _train_wanted(process: Process, cells: Sequence[Connection]) -> None:
    """Train the accounts with a request for it."""
    connection, redis = process.connection(), process.home_redis
    for account in registry.list_accounts(connection):
        if process.stopping.is_set() or not redis.srem(WANTED, account.account_id):
            continue
        try:
            _train(process, cells, account.account_id)
        except Exception:  # the other accounts are not to suffer from it
            log.exception("a training that was asked for failed", extra={"account": account.name})


def _train(process: Process, cells: Sequence[Connection], account_id: int) -> Card:
    settings = process.settings
    return trainer.train(
        process.connection(),
        account_id,
        settings.horizon_days,
        levels=settings.levels,
        redis=process.redis,
        cells=cells if settings.cells > 1 else (),
    )


def _take_turn(process: Process, cells: Sequence[Connection], account: ListedAccount) -> None:
    connection, account_id = process.connection(), account.account_id
    horizon, meaning, *_ = resolve_rules(account, process.settings.horizon_days)
    for days in sorted({horizon, *HORIZONS}):  # scores of before may have looked over another horizon
        if matured := mature(connection, account_id, days, meaning, cells=cells):
            log.info("matured", extra={"account": account.name, "day": str(matured.day), "auc": matured.metrics.auc})
    if is_worthwhile(connection, account_id, horizon, cells):
        card = _train(process, cells, account_id)
        log.info("trained", extra={"account": account.name, "model": card.chosen, "why": card.why})


def is_worthwhile(connection: Connection, account_id: int, horizon_days: int, cells: Sequence[Connection] = ()) -> bool:
    """Returns True if enough outcomes have come since the last training."""
    parameters = {"account_id": account_id, "horizon_days": min(horizon_days, EARLY_DAYS)}
    asked = [cell.execute(sql("count_ripening"), parameters) for cell in cells or [connection]]
    ripening = sum(only_row(cursor)[0] for cursor in asked)
    row = connection.execute(sql("last_snapshots"), {"account_id": account_id}).fetchone()
    before, days = row or (0, NEVER_DAYS)
    new = ripening * days / SNAPSHOT_DAYS
    return bool(new >= max(LEAST_SNAPSHOTS, LEAST_SHARE * before))
