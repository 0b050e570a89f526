"""What scores are made with: an account's model, and the rules that hold for it."""

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
        self._known: dict[int, tuple[float, Served]] = {}

    def of(self, connection: Connection, account_id: int) -> Served:
        """For one account."""
        now = self._clock()
        known = self._known.get(account_id)
        if known is None or now - known[0] >= CACHE_SECONDS:
            known = self._known[account_id] = (now, self._read(connection, account_id))
        return known[1]

    def _read(self, connection: Connection, account_id: int) -> Served:
        rules = registry.rules_of(connection, account_id, self._horizon_days)
        return Served(models.in_use(connection, account_id).model, rules.horizon_days, rules.meaning)
