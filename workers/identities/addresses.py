"""Customers who were stored under another form of their address than the one that holds now: they are merged, once.

Addresses became the same in composed and decomposed Unicode, and in Unicode and punycode domains; older events
may stand under both.
"""

import logging

from workers.buffer.entries import normalise_email
from workers.identities import moving
from workers.process import Process
from workers.store import Connection, sql

log = logging.getLogger(__name__)

MENDED = "addresses"  # a key of the cell: set when no address is left under another form


def mend_addresses(process: Process) -> None:
    """Merge customers whose address has another form now: a duty of the clock, until there are none."""
    if process.redis.exists(process.key(MENDED)):
        return
    if merge_forms(process.connection()) == 0:
        process.redis.set(process.key(MENDED), 1)


def merge_forms(connection: Connection) -> int:
    """Merge each customer whose address is not in its form with the one whose is. Returns how many there were."""
    rows = connection.execute(sql("list_international_addresses")).fetchall()
    others = [(account_id, email) for account_id, email in rows if normalise_email(email) != email]
    for account_id, email in others:
        moving.merge_known(connection, account_id, email, normalise_email(email))
    if others:
        log.info("addresses were merged", extra={"customers": len(others)})
    return len(others)
