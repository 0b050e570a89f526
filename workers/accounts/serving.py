"""The inputs of scoring: an account's model and its rules."""

from typing import NamedTuple

from scoring.event_roles import Meaning
from scoring.levels import LevelBounds
from scoring.model import Model
from workers.accounts import models, registry
from workers.store import Connection, locks, sql
from workers.store.locks import Lock


class Served(NamedTuple):
    """The model and rules of an account's customers; `generation` changes whenever the rest does."""

    model: Model
    horizon_days: int
    meaning: Meaning
    generation: int = 0


DEFAULT_LEVELS = LevelBounds()


def describe_settings(horizon_days: int | None, levels: LevelBounds) -> str:
    """Returns the settings that scores depend on, as one word to compare."""
    return " ".join(f"{bound:g}" for bound in levels) + (f" {horizon_days} days" if horizon_days else "")


class Serving:
    """The models and rules of accounts: read again once an account's generation has changed."""

    def __init__(self, horizon_days: int | None = None, levels: LevelBounds = DEFAULT_LEVELS) -> None:
        self._horizon_days = horizon_days
        self.settings = describe_settings(horizon_days, levels)
        self._cache: dict[int, Served] = {}

    def find(self, connection: Connection, account_id: int) -> Served:
        """Returns how this account's customers are scored now.

        Under other settings than the account's scores were computed with, its generation is the next one: the clock
        has all customers scored anew.
        """
        row = connection.execute(sql("find_generation"), {"account_id": account_id}).fetchone()
        generation, settings = row or (0, None)
        served = self._cache.get(account_id)
        if served is None or served.generation != generation:
            served = self._cache[account_id] = self._read(connection, account_id, int(generation))
        return served._replace(generation=generation + 1) if settings not in (None, self.settings) else served

    def try_hold(self, connection: Connection, account_id: int) -> Served | None:
        """As `find`, and keeps the account from switching to another model until the transaction ends. Returns None
        while it is switching: the switch may wait for rows that the caller holds."""
        if not locks.try_share(connection, Lock.SCORING, account_id):
            return None
        return self.find(connection, account_id)

    def _read(self, connection: Connection, account_id: int, generation: int) -> Served:
        rules = registry.find_rules(connection, account_id, self._horizon_days)
        model = models.find_in_use(connection, account_id).model
        return Served(model, rules.horizon_days, rules.meaning, generation)
