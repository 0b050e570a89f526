"""The account's own templates of drafts, as a process knows them: as they stood a few seconds ago."""

import time

from scoring.drafts.draft import Template
from workers.store import Connection, sql

CACHE_SECONDS = 5.0


class Templates:
    """By account; None where an account uses ours."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, dict[str, Template]]] = {}

    def find(self, connection: Connection, account_id: int, strategy: str) -> Template | None:
        """The account's own template of a strategy."""
        now = time.monotonic()
        cached = self._known.get(account_id)
        if cached is None or now - cached[0] >= CACHE_SECONDS:
            cached = self._known[account_id] = (now, _read(connection, account_id))
        return cached[1].get(strategy)


def _read(connection: Connection, account_id: int) -> dict[str, Template]:
    rows = connection.execute(sql("list_templates"), {"account_id": account_id}).fetchall()
    return {strategy: Template(subject, body_text) for strategy, subject, body_text in rows}
