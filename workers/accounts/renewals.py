"""Renewals: an account whose customers are to be scored anew, because its model or its rules changed.

Only the wish is noted here. The score workers compute all scores ahead, and switch when they are done; see
workers/risk/renewal.py.
"""

from typing import Literal, NamedTuple

from workers.accounts import models
from workers.store import Connection, only_row, sql


class RenewalProgress(NamedTuple):
    """The progress of a renewal, in customers."""

    scored: int
    total: int


def request_switch(
    connection: Connection, account_id: int, version: int | None, horizon_learnt: int | None = None
) -> None:
    """Ask for a switch to this model (None: the day-one formula), and to this learnt horizon (None: as it is)."""
    _request(connection, account_id, "model", True, version, horizon_learnt)


def request_rescore(connection: Connection, account_id: int) -> None:
    """Ask for new scores of all customers, because the account's rules changed. A switch that waits stays asked for."""
    _request(connection, account_id, "settings", False, None, None)


def adopt_settings(connection: Connection, settings: str) -> None:
    """Have all accounts scored anew whose scores were computed under other settings than these."""
    with connection.transaction():
        for account_id, changed in connection.execute(sql("adopt_settings"), {"settings": settings}).fetchall():
            if changed:
                request_rescore(connection, account_id)


def request_roll_back(connection: Connection, account_id: int) -> None:
    """Ask for the model that was in use before, or the day-one formula. Raises NoEarlierModel."""
    with connection.transaction():
        models.lock_account(connection, account_id)
        request_switch(connection, account_id, models.find_replaced(connection, account_id))


def find_progress(connection: Connection, account_id: int) -> RenewalProgress | None:
    """Returns how far the account's renewal is; None if none is under way."""
    row = connection.execute(sql("renewal_progress"), {"account_id": account_id}).fetchone()
    return RenewalProgress(*row) if row else None


def awaits_switch(connection: Connection, account_id: int) -> bool:
    """Returns True while the account is about to use another model."""
    return bool(only_row(connection.execute(sql("awaits_switch"), {"account_id": account_id}))[0])


def is_pending(connection: Connection) -> bool:
    """Returns True while an account's customers are to be scored anew."""
    return bool(only_row(connection.execute(sql("any_renewal")))[0])


def _request(
    connection: Connection,
    account_id: int,
    because: Literal["model", "settings"],
    switches: bool,
    version: int | None,
    horizon_learnt: int | None,
) -> None:
    parameters = {
        "account_id": account_id,
        "because": because,
        "switches": switches,
        "version": version,
        "horizon_learnt": horizon_learnt,
    }
    connection.execute(sql("request_renewal"), parameters)
