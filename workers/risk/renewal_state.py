"""The renewal of an account's scores: how far it is, and the inputs of the scores."""

from collections.abc import Mapping
from typing import NamedTuple

from redis import Redis

from scoring.levels import LevelBounds
from workers.buffer.lanes import LANES, Lane
from workers.store import Connection, sql


class Renewal(NamedTuple):
    """A row of `renewals`, locked; times in epoch seconds. `generation` is what the account's will be, -1 at first."""

    account_id: int
    because: str
    switches: bool
    version: int | None
    horizon_learnt: int | None
    generation: int
    requested_at: float
    after: str
    round: int
    found: int
    scored: int
    total: int
    switched: bool
    now: float


class Means(NamedTuple):
    """The inputs of a process's scores; `horizon_days` is the setting. Without Redis no history is taken to be
    arriving."""

    levels: LevelBounds
    horizon_days: int | None = None
    redis: Redis | None = None
    lanes: Mapping[str, Lane] = LANES


def save_renewal(connection: Connection, renewal: Renewal) -> None:
    """Save how far a renewal is."""
    connection.execute(sql("note_renewal"), renewal._asdict())
