"""What scores are computed with: an account's model and its rules."""

import time
from collections.abc import Callable
from typing import NamedTuple

from scoring.event_roles import Meaning
from scoring.model import Model
from workers.accounts import models, registry
from workers.accounts.models import CACHE_SECONDS
from workers.store import Connection


class Served(NamedTuple):
    """How an account's customers are scored."""

    model: Model
    horizon_days: int
    meaning: Meaning


class Serving:
    """How the customers of accounts are scored, as it stood at most CACHE_SECONDS ago."""

    def __init__(self, horizon_days: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._horizon_days = horizon_days
        self._clock = clock
        self._cache: dict[int, tuple[float, Served]] = {}

    def find(self, connection: Connection, account_id: int) -> Served:
        """Returns how this account's customers are scored."""
        now = self._clock()
        entry = self._cache.get(account_id)
        if entry is None or now - entry[0] >= CACHE_SECONDS:
            entry = self._cache[account_id] = (now, self._read(connection, account_id))
        return entry[1]

    def _read(self, connection: Connection, account_id: int) -> Served:
        rules = registry.find_rules(connection, account_id, self._horizon_days)
        return Served(models.find_in_use(connection, account_id).model, rules.horizon_days, rules.meaning)
