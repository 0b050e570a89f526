"""Models: a row each; at most one of an account is in use, and an account without one uses the day-one formula."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import msgspec

from scoring.learning.metrics import Metrics
from scoring.learning.training import Candidate
from scoring.learning.uncertainty import Covariance
from scoring.model import PRIOR, Model
from workers.store import Connection, locks, only_row, sql
from workers.store.locks import Lock


class NoEarlierModel(Exception):
    """There is nothing to go back to: the account uses the day-one formula. `windback train` learns a model."""


class Card(msgspec.Struct, frozen=True):
    """The record of a training: its data, the result of every rival on the holdout, and the decision."""

    against: str  # the name of the model in use at the time
    chosen: str  # … and after it
    why: str
    horizon_days: int
    since: datetime | None  # of the rollup's days: the training window
    until: datetime | None
    customers: int
    snapshots: int
    lapses: int
    holdout: dict[str, Metrics]  # by kind; "in use" is `against`
    candidates: list[Candidate]
    covariances: dict[str, Covariance] = {}  # of the weights of `chosen`, by feature
    demo: bool = False  # True if it learnt from the simulated company of `windback demo`


class InUse(NamedTuple):
    """The model of an account, by the version of its row; the formula has no row."""

    version: int | None
    model: Model


class ListedModel(NamedTuple):
    """A model as it is listed."""

    account: str
    version: int
    kind: str
    in_use: bool
    created_at: datetime
    card: Card

    @property
    def name(self) -> str:
        return name_of(self.kind, self.version)


def name_of(kind: str, version: int) -> str:
    """Returns the name that scores give to a model."""
    return f"{kind}-{version}"


def find_in_use(connection: Connection, account_id: int) -> InUse:
    """Returns the model that the account uses."""
    row = connection.execute(sql("model_in_use"), {"account_id": account_id}).fetchone()
    return InUse(row[0], msgspec.json.decode(row[1], type=Model)) if row else InUse(None, PRIOR)


def find_model(connection: Connection, account_id: int, name: str) -> Model | None:
    """Returns the account's model of this name, in use or not; None without one."""
    if name == PRIOR.version:
        return PRIOR
    row = connection.execute(sql("find_model"), {"account_id": account_id, "name": name}).fetchone()
    return msgspec.json.decode(row[0], type=Model) if row else None


def list_models(connection: Connection, account: str | None = None) -> list[ListedModel]:
    """Returns all models of an account, or of all accounts, oldest first."""
    rows = connection.execute(sql("list_models"), {"name": account}).fetchall()
    return [ListedModel._make([*row[:-1], msgspec.json.decode(row[-1], type=Card)]) for row in rows]


def lock_account(connection: Connection, account_id: int) -> None:
    """Keep other transactions from changing this account's models until this one ends."""
    locks.lock(connection, Lock.MODELS, account_id)


def save_models(connection: Connection, account_id: int, models: Iterable[Model], card: Card) -> None:
    """A row for each, none of them in use yet; their names hold their versions."""
    for model in models:
        parameters = {
            "account_id": account_id,
            "version": version_of(model),
            "kind": model.kind,
            "weights": msgspec.json.encode(model).decode(),
            "card": msgspec.json.encode(card).decode(),
        }
        connection.execute(sql("add_model"), parameters)


def version_of(model: Model) -> int:
    """Returns the version that a model's name ends with."""
    return int(model.version.rpartition("-")[2])


def next_version(connection: Connection, account_id: int) -> int:
    """Returns the version of the account's next model."""
    (version,) = only_row(connection.execute(sql("next_version"), {"account_id": account_id}))
    return int(version)


def use_model(connection: Connection, account_id: int, version: int | None) -> None:
    """Use this model from now on, or the day-one formula (None); in the caller's transaction, under the lock.

    A model remembers the one that it replaced, and a roll back leaves that as it is.
    """
    row = connection.execute(sql("retire_model"), {"account_id": account_id}).fetchone()
    before = row[0] if row else None
    if version is not None:
        parameters = {"account_id": account_id, "version": version}
        connection.execute(sql("use_model"), parameters)
        if before is None or before < version:
            connection.execute(sql("note_replaced"), parameters | {"replaced": before})
    connection.execute(sql("raise_generation"), {"account_id": account_id})


def find_replaced(connection: Connection, account_id: int) -> int | None:
    """Returns the version that was in use before, None if that was the day-one formula. Raises NoEarlierModel."""
    row = connection.execute(sql("find_replaced"), {"account_id": account_id}).fetchone()
    if row is None:
        raise NoEarlierModel("the day-one formula is in use: there is nothing to go back to")
    return None if row[0] is None else int(row[0])


def find_version(connection: Connection, account_id: int, version: int) -> Model:
    """Returns the account's model of this version."""
    (weights,) = only_row(connection.execute(sql("find_version"), {"account_id": account_id, "version": version}))
    return msgspec.json.decode(weights, type=Model)


def set_generation(connection: Connection, account_id: int, generation: int) -> None:
    """Give the account a new generation: scores of all others are out of date."""
    connection.execute(sql("set_generation"), {"account_id": account_id, "generation": generation})
