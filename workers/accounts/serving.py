"""What scores are computed with: an account's model and its rules."""

from typing import NamedTuple

from scoring.event_roles import Meaning
from scoring.model import Model
from workers.accounts import models, registry
from workers.store import Connection, locks, sql
from workers.store.locks import Lock


class Served(NamedTuple):
    """How an account's customers are scored; `generation` changes whenever the rest does."""

    model: Model
    horizon_days: int
    meaning: Meaning
    generation: int = 0


class Serving:
    """How the customers of accounts are scored: read again once an account's generation is another one."""

    def __init__(self, horizon_days: int | None = None) -> None:
        self._horizon_days = horizon_days
        self._cache: dict[int, Served] = {}

    def find(self, connection: Connection, account_id: int) -> Served:
        """Returns how this account's customers are scored now."""
        row = connection.execute(sql("find_generation"), {"account_id": account_id}).fetchone()
        generation = int(row[0]) if row else 0
        served = self._cache.get(account_id)
        if served is None or served.generation != generation:
            served = self._cache[account_id] = self._read(connection, account_id, generation)
        return served

    def hold(self, connection: Connection, account_id: int) -> Served:
        """As `find`, and keeps the account from switching to another model until the transaction ends."""
        locks.share(connection, Lock.SCORING, account_id)
        return self.find(connection, account_id)

    def _read(self, connection: Connection, account_id: int, generation: int) -> Served:
        rules = registry.find_rules(connection, account_id, self._horizon_days)
        model = models.find_in_use(connection, account_id).model
        return Served(model, rules.horizon_days, rules.meaning, generation)
