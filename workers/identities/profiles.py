"""Traits of customers: the latest wins, in whatever order they come."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from scoring.events import MAX_PROPERTIES_BYTES, MAX_PROPERTIES_KEYS
from workers.buffer.rows import Row
from workers.identities import forwarding
from workers.identities.forwarding import TraitsByTime
from workers.store import Connection, sql, vectors

READ = ("name", "plan", "mrr", "currency", "company")  # traits that mean something here; all are kept
MOST_BYTES = 2 * MAX_PROPERTIES_BYTES  # of a customer's traits: of what is said more and more, the oldest goes
MOST_TRAITS = 2 * MAX_PROPERTIES_KEYS


class Statement(NamedTuple):
    """Traits that were said of a customer (or of a user id) at a time, in microseconds since 1970."""

    customer_id: str
    account_id: int
    traits: Mapping[str, Any]
    stated_us: int
    email: str = ""  # of a customer who may live in another cell


class Profile(NamedTuple):
    """All traits, and when each was said."""

    traits: dict[str, Any]
    stated_us: dict[str, int]

    def add(self, traits: Mapping[str, Any], stated_us: Mapping[str, int]) -> None:
        """Take in what is not older than what is there."""
        for name, value in traits.items():
            if stated_us[name] >= self.stated_us.get(name, -1):
                self.traits[name], self.stated_us[name] = value, stated_us[name]

    def trim(self) -> None:
        """Forget the oldest traits that mean nothing here, where there are too many."""
        sizes = {name: len(json.dumps({name: value})) for name, value in self.traits.items()}
        total = sum(sizes.values())
        for name in sorted(self.traits.keys() - {*READ}, key=lambda name: (self.stated_us.get(name, 0), name)):
            if total <= MOST_BYTES and len(self.traits) <= MOST_TRAITS:
                return
            total -= sizes[name]
            del self.traits[name]
            self.stated_us.pop(name, None)


def save_statements(connection: Connection, statements: Sequence[Statement], due: bool = True) -> None:
    """Merge what was said into the profiles, in the caller's transaction. The customers' next scores take it in; `due`
    makes them due."""
    accounts = {statement.customer_id: statement.account_id for statement in statements if statement.traits}
    profiles = _find_profiles(connection, sorted(accounts))
    for statement in statements:
        if statement.traits:
            stated_us = dict.fromkeys(statement.traits, statement.stated_us)
            profiles.setdefault(statement.customer_id, Profile({}, {})).add(statement.traits, stated_us)
    _save(connection, accounts, profiles)
    if due and profiles:
        connection.execute(sql("tell_profile"), {"customer_ids": list(profiles)})


def save_properties(connection: Connection, rows: Iterable[Row]) -> None:
    """Merge what the properties of events say of their customers, who are due anyway."""
    statements = [
        Statement(row.customer_id, row.customer.account_id, row.content.traits, min(row.occurred_us, row.received_us))
        for row in rows
        if row.content.traits
    ]
    save_statements(connection, statements, due=False)


def apply_profiles(connection: Connection, customer_ids: Sequence[str]) -> None:
    """Write what is read of the traits into these customers' rows, which the caller's transaction holds."""
    connection.execute(sql("apply_profiles"), {"customer_ids": vectors.uuids(customer_ids)})


def hand_over(
    connection: Connection, account_id: int, sources: Sequence[str], owner: str, email: str | None = None
) -> None:
    """Merge the profiles of user ids, or of an address that is given up, into their owner's, who has this address and
    may live in another cell."""
    if email is not None and forwarding.is_elsewhere(connection, owner):
        _send_away(connection, account_id, sources, owner, email)
        return
    profiles = _find_profiles(connection, sorted({*sources, owner}))
    merged = profiles.pop(owner, Profile({}, {}))
    if not profiles:
        return
    for profile in profiles.values():
        merged.add(profile.traits, profile.stated_us)
    connection.execute(sql("delete_profiles"), {"customer_ids": list(profiles)})
    _save(connection, {owner: account_id}, {owner: merged})
    connection.execute(sql("tell_profile"), {"customer_ids": [owner]})


def _send_away(connection: Connection, account_id: int, sources: Sequence[str], owner: str, email: str) -> None:
    profiles = _find_profiles(connection, sources)
    if not profiles:
        return
    connection.execute(sql("delete_profiles"), {"customer_ids": list(profiles)})
    traits_by_time: TraitsByTime = {}
    for profile in profiles.values():
        for name, value in profile.traits.items():
            traits_by_time.setdefault(profile.stated_us[name], {})[name] = value
    forwarding.note_traits(connection, account_id, owner, email, traits_by_time)


def _find_profiles(connection: Connection, customer_ids: Sequence[str]) -> dict[str, Profile]:
    if not customer_ids:
        return {}
    rows = connection.execute(sql("find_profiles"), {"customer_ids": list(customer_ids)})
    return {customer_id: Profile(traits, stated_us) for customer_id, traits, stated_us in rows}


def _save(connection: Connection, accounts: Mapping[str, int], profiles: Mapping[str, Profile]) -> None:
    if not profiles:
        return
    for profile in profiles.values():
        profile.trim()
    rows = [
        {
            "customer_id": customer_id,
            "account_id": accounts[customer_id],
            "traits": json.dumps(profile.traits),
            "stated_us": json.dumps(profile.stated_us),
        }
        for customer_id, profile in sorted(profiles.items())
    ]
    with connection.cursor() as cursor:
        cursor.executemany(sql("save_profile"), rows)
