"""An account's own choices: the roles of its own events, and the horizon of its risks.

The horizon is the one that the account has chosen; else that of WINDBACK_HORIZON_DAYS, which is for all accounts; else
the one that training has learnt from its customers' silences; else 30 days.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

from scoring.event_roles import Meaning
from scoring.learning.outcomes import USUAL_HORIZON
from workers.accounts import renewals
from workers.store import Connection, sql


class Rules(NamedTuple):
    """The rules of an account's risks now; `horizon_fixed` is None if training chooses the horizon."""

    horizon_days: int
    meaning: Meaning
    horizon_fixed: int | None
    horizon_learnt: int | None


class ListedAccount(NamedTuple):
    """An account and what is particular to it."""

    account_id: int
    name: str
    mappings: dict[str, str]  # of its own events' names, each to one of scoring.event_roles.ROLES
    horizon_chosen: int | None
    horizon_learnt: int | None
    holdout_percent: float = 0.0  # of its customers, held out: no alert reaches them
    contact_event: str | None = None  # which says that a customer was written to
    time_zone: str = "UTC"  # in which pages show times

    @property
    def meaning(self) -> Meaning:
        """The roles of its own events."""
        return Meaning.of_mappings(self.mappings)


class NoSuchAccount(Exception):
    """No account has this name, or there are several and none was named. `windback accounts list` shows them all."""


def list_accounts(connection: Connection, name: str | None = None) -> list[ListedAccount]:
    """Returns the account of this name, or all accounts."""
    rows = connection.execute(sql("list_account_rules"), {"name": name, "account_id": None}).fetchall()
    return [ListedAccount(*row) for row in rows]


def resolve_account(connection: Connection, name: str | None) -> ListedAccount:
    """Returns the account of this name, or the only one. Raises NoSuchAccount."""
    accounts = list_accounts(connection, name)
    if len(accounts) == 1:
        return accounts[0]
    if name is not None:
        raise NoSuchAccount(f"there is no account {name}; `windback accounts list` shows them")
    if not accounts:
        raise NoSuchAccount("there is no account yet; `windback keys create --account NAME` makes one")
    names = ", ".join(account.name for account in accounts)
    raise NoSuchAccount(f"there are several accounts; name one with --account: {names}")


def find_rules(connection: Connection, account_id: int, horizon_days: int | None) -> Rules:
    """Returns an account's rules; `horizon_days` is the setting."""
    row = connection.execute(sql("list_account_rules"), {"name": None, "account_id": account_id}).fetchone()
    return resolve_rules(ListedAccount(*row) if row else ListedAccount(account_id, "", {}, None, None), horizon_days)


def resolve_rules(account: ListedAccount, horizon_days: int | None) -> Rules:
    """Returns the rules that follow from an account's row and the setting."""
    horizon = resolve_horizon(account.horizon_chosen, horizon_days, account.horizon_learnt)
    return Rules(horizon, account.meaning, account.horizon_chosen or horizon_days, account.horizon_learnt)


def resolve_horizon(chosen: int | None, setting: int | None, learnt: int | None) -> int:
    """Returns the horizon (days) that holds: as chosen, else as set, else as learnt, else 30."""
    return chosen or setting or learnt or USUAL_HORIZON


def choose_rules(connection: Connection, name: str, mappings: Mapping[str, str], horizon: int | None) -> None:
    """Set everything that an account has chosen; its customers are scored anew. Raises NoSuchAccount."""
    parameters = {"name": name, "mappings": json.dumps(dict(mappings)), "horizon_chosen": horizon}
    row = connection.execute(sql("choose_account_rules"), parameters).fetchone()
    if row is None:
        raise NoSuchAccount(f"there is no account {name}; `windback accounts list` shows them")
    renewals.request_rescore(connection, row[0])


def choose_time_zone(connection: Connection, account_id: int, time_zone: str) -> None:
    """Have pages show times in this zone."""
    connection.execute(sql("choose_time_zone"), {"account_id": account_id, "time_zone": time_zone})


def save_learnt_horizon(connection: Connection, account_id: int, horizon_days: int) -> None:
    """Keep the horizon that a training has found."""
    connection.execute(sql("learn_horizon"), {"account_id": account_id, "horizon_days": horizon_days})


def choose_acting(
    connection: Connection, name: str, holdout_percent: float | None = None, contact_event: str | None = None
) -> None:
    """Set how it is found out whether alerts help; None stays as it is, an empty name is none."""
    parameters = {"name": name, "holdout_percent": holdout_percent, "contact_event": contact_event}
    connection.execute(sql("choose_acting"), parameters)
