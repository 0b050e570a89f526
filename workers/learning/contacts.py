"""The times at which customers were written to: outcomes after them neither measure a risk nor teach one."""

from collections.abc import Sequence

import numpy as np

from scoring.group_by import Times
from workers.risk.rollups import AccountRollup
from workers.store import Connection, sql


def find_contacts(
    connection: Connection, account_id: int, account: AccountRollup, cells: Sequence[Connection] = ()
) -> Times:
    """Returns when each customer of the rollup was contacted: as noted, and by the account's own event that says so."""
    rollup, ids = account
    number = {customer_id: k for k, customer_id in enumerate(ids)}
    asked = [cell.execute(sql("list_contacts"), {"account_id": account_id}) for cell in cells or [connection]]
    rows = [row for part in asked for row in part.fetchall()]
    noted = [(number[customer_id], at) for customer_id, at in rows if customer_id in number]
    sent = rollup.of([event for event in [find_contact_event(connection, account_id)] if event])
    customer = np.concatenate([np.array([k for k, _ in noted], np.int64), rollup.customer[sent].astype(np.int64)])
    at = np.concatenate([np.array([at for _, at in noted], np.float64), rollup.last_at[sent]])
    return Times(customer, at)


def find_contact_event(connection: Connection, account_id: int) -> str | None:
    """The account's own event that says a customer was written to."""
    row = connection.execute(sql("find_contact_event"), {"account_id": account_id}).fetchone()
    return row[0] if row else None
