"""A cell's copies of what it reads of home: the rules, models, outages, webhooks and templates of accounts.

The clock keeps them. A model, a learnt horizon or another meaning of events is not simply copied: the cell is asked to
score its customers anew, and switches when it has, as a single cell would.
"""

import json
from typing import Any

from workers.accounts import renewals
from workers.store import Connection, only_row, sql

DUE_AT_ONCE = 10_000  # customers whose score shows an outage that is over, or does not show one that began

Copies = dict[str, str]  # of each table, its rows as JSON


class HomeMirror:
    """The rows that one process has last mirrored into a cell."""

    def __init__(self) -> None:
        self._fingerprint: str | None = None

    def refresh(self, home: Connection, cell: Connection) -> None:
        """Bring the cell's copies up to date, and tell home of the cell's latest deliveries."""
        _gather_attempts(home, cell)
        (fingerprint,) = only_row(home.execute(sql("fingerprint_home")))
        if fingerprint != self._fingerprint:
            _mirror(cell, _read_home(home))
            self._fingerprint = fingerprint


def _read_home(home: Connection) -> Copies:
    cursor = home.execute(sql("read_home"))
    names = [column.name for column in cursor.description or ()]
    return dict(zip(names, only_row(cursor), strict=True))


def _mirror(cell: Connection, copies: Copies) -> None:
    with cell.transaction():
        changed = cell.execute(sql("mirror_accounts"), {"rows": copies["accounts"]}).fetchall()
        cell.execute(sql("mirror_models"), {"rows": copies["models"]})
        for table, queries in (
            ("outages", ("drop_ended_outages", "mirror_outages")),
            ("draft_templates", ("drop_other_templates", "mirror_templates")),
            ("webhooks", ("mirror_webhooks",)),
        ):
            for query in queries:
                cell.execute(sql(query), {"rows": copies[table]})
        _drop_webhooks(cell, copies["webhooks"])
        for (account_id,) in changed:
            renewals.request_rescore(cell, account_id)
        switches = cell.execute(sql("list_switches"), {"accounts": copies["accounts"], "models": copies["models"]})
        for account_id, version, horizon_learnt in switches.fetchall():
            _request_switch(cell, account_id, version, horizon_learnt)
    for account_id in sorted({outage["account_id"] for outage in json.loads(copies["outages"])}):
        cell.execute(sql("make_stale_due"), {"account_id": account_id, "limit": DUE_AT_ONCE})


def _request_switch(cell: Connection, account_id: int, version: int | None, horizon_learnt: int | None) -> None:
    """Ask the cell for a switch, unless it is at it."""
    wanted = {"account_id": account_id, "version": version, "horizon_learnt": horizon_learnt}
    if not only_row(cell.execute(sql("is_switching"), wanted))[0]:
        renewals.request_switch(cell, account_id, version, horizon_learnt)


def _drop_webhooks(cell: Connection, rows: str) -> None:
    for (webhook_id,) in cell.execute(sql("list_removed_webhooks"), {"rows": rows}).fetchall():
        for query in ("remove_deliveries", "remove_summaries", "drop_webhook"):
            cell.execute(sql(query), {"webhook_id": webhook_id})


def _gather_attempts(home: Connection, cell: Connection) -> None:
    rows = cell.execute(sql("list_attempts")).fetchall()
    if rows:
        names = ("webhook_id", "last_at", "last_status", "is_disabled")
        columns: dict[str, Any] = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        home.execute(sql("gather_attempts"), columns)
