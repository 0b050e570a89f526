"""Faults of Postgres itself, not of the data."""

from typing import Any

import psycopg

from workers.store.statements import only_row, sql

BAD_DATA = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.StatementTooComplex,
)
# SQLSTATE XX000: a fault within the server. An extension or a proxy that hands a statement on to another server may
# report by it what is wrong with the data; an outage has codes of its own.
UNCLEAR = psycopg.errors.InternalError_
STANDBY = "this Postgres is a standby and only reads; nothing is stored until DATABASE_URL leads to one that writes"
READ_ONLY = "Postgres only reads (default_transaction_read_only is on); nothing is stored until it writes again"


class ServerFault(psycopg.OperationalError):
    """Postgres reports an internal error (XX000) for whatever it is to store, so the data is not to blame. Nothing is
    set aside for it; look into the log of Postgres. Storing goes on by itself when the fault is mended."""


def is_unavailable(error: psycopg.Error) -> bool:
    """Returns whether Postgres, and not the data, is the trouble."""
    return not isinstance(error, (*BAD_DATA, UNCLEAR))


def find_write_fault(connection: psycopg.Connection[Any]) -> str | None:
    """Returns why nothing can be stored though Postgres answers, or None."""
    return describe_write_fault(*only_row(connection.execute(sql("find_write_fault"))))


def describe_write_fault(is_standby: bool, is_read_only: bool) -> str | None:
    """Returns what the row of `find_write_fault` means, in words, or None."""
    if is_standby:
        return STANDBY
    return READ_ONLY if is_read_only else None
