"""Advisory locks: all that Windback takes, in one place.

A lock's number is a hash of its name and of the schema, so that two installations in one database don't wait for each
other. Each lock is a statement of its own: the next statement sees what there was when the lock was granted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from workers.store import Connection, only_row, sql


class Lock(StrEnum):
    """The subjects of locks."""

    SCHEMA = "schema"  # changes of the schema
    KEYS = "keys"  # changes of keys, and of their mirror in Redis
    CELLS = "cells"  # the one command that divides or moves cells
    MODELS = "models"  # changes of an account's models
    SCORING = "scoring"  # shared by all scorers of an account, alone for its switch to another model
    LEARNING = "learning"  # the one process that learns by night
    TOTALS = "totals"  # changes of the totals that analytics reads
    STORING = "storing"  # shared by all that store events, alone for an erasure
    IDENTITIES = "identities"  # shared by all that put events of unknown user ids aside, alone for new identities
    MOVING = "moving"  # the way of one customer, or user id, to another address
    PRUNING = "pruning"  # shared by all that store old events, alone for pruning


def lock(connection: Connection, name: Lock, part: int = 0) -> None:
    """Wait for the lock, and hold it alone until the transaction ends. `part`: an account's id, if the lock is for one
    account."""
    connection.execute(sql("lock_alone"), _names(name, part))


def share(connection: Connection, name: Lock, part: int = 0) -> None:
    """Wait until no transaction holds the lock alone, and hold it together with others until the transaction ends.
    `part` as above."""
    connection.execute(sql("lock_shared"), _names(name, part))


def share_storing(connection: Connection) -> None:
    """Begin a transaction that stores: hold STORING as `share` does. The statements that follow are planned once."""
    connection.execute(sql("lock_shared_to_store"), _names(Lock.STORING))


def try_share(connection: Connection, name: Lock, part: int = 0) -> bool:
    """As `share`, but returns False if another transaction holds the lock alone: for a transaction that holds rows
    already and would wait in a circle."""
    (ours,) = only_row(connection.execute(sql("try_lock_shared"), _names(name, part)))
    return bool(ours)


def try_hold(connection: Connection, name: Lock, part: int | str = 0) -> bool:
    """Hold the lock until the connection ends, or `let_go`. Returns False if another connection has it. `part`: an
    account's or a customer's id, if the lock is for one alone."""
    (ours,) = only_row(connection.execute(sql("try_lock_session"), _names(name, part)))
    return bool(ours)


def let_go(connection: Connection, name: Lock, part: int | str = 0) -> None:
    """Give back a lock of `try_hold`; a connection that is lost has given it back."""
    if not connection.closed:
        connection.execute(sql("unlock_session"), _names(name, part))


@contextmanager
def holding(connection: Connection, name: Lock, part: int | str = 0, *, patient: bool = False) -> Iterator[bool]:
    """Hold the lock during the block, outside any transaction. Yields False if another connection has it; a patient
    caller waits for it instead."""
    if patient:
        connection.execute(sql("lock_session"), _names(name, part))
    ours = patient or try_hold(connection, name, part)
    try:
        yield ours
    finally:
        if ours:
            let_go(connection, name, part)


def _names(name: Lock, part: int | str = 0) -> dict[str, str]:
    return {"name": f"windback {name} {part}" if part else f"windback {name}"}
