"""Models that learnt from the simulated company of `windback demo`: none of them is used for a real account.

Such a model is in use only while the simulated customers are the only ones. As soon as the account has a customer of
its own, or they are gone, the day-one formula takes its place, and what was learnt and checked of them is forgotten.
"""

from collections.abc import Sequence

from scoring.learning.outcomes import USUAL_HORIZON
from workers.accounts import renewals, track_records
from workers.process import Process
from workers.risk.rollups import DEMO
from workers.store import Connection, only_row, sql


def is_taught_by_demo(connection: Connection, account_id: int, cells: Sequence[Connection] = ()) -> bool:
    """Returns True if the simulated customers are all that the account has, here or in several cells."""
    parameters, places = {"account_id": account_id, "demo": DEMO}, cells or [connection]
    simulated = any(only_row(cell.execute(sql("has_demo"), parameters))[0] for cell in places)
    return simulated and not any(only_row(cell.execute(sql("has_others"), parameters))[0] for cell in places)


def put_aside_all(process: Process) -> None:
    """Put aside every model in use that learnt from a company that is gone or not alone: a duty of the clock."""
    connection = process.connection()
    for (account_id,) in connection.execute(sql("list_demo_models")).fetchall():
        if not renewals.awaits_switch(connection, account_id):
            with process.cell_connections() as cells:
                put_aside(connection, account_id, cells)


def put_aside(connection: Connection, account_id: int, cells: Sequence[Connection] = ()) -> bool:
    """Ask for the day-one formula in place of a model in use that learnt from the simulated company, unless its
    customers are still all that there is. Returns whether it was asked for."""
    learnt = connection.execute(sql("is_demo_model"), {"account_id": account_id}).fetchone()
    if not learnt or is_taught_by_demo(connection, account_id, cells):
        return False
    with connection.transaction():
        connection.execute(sql("forget_demo_trainings"), {"account_id": account_id})
        connection.execute(sql("forget_matured"), {"account_id": account_id})
        renewals.request_switch(connection, account_id, None, USUAL_HORIZON)
    for cell in cells or [connection]:
        track_records.request(cell, account_id)
    return True
