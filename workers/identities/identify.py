"""Stores statements of producers about persons: the address of a user id, and traits.

A new user id gets its address at once, and events that wait for it are marked. Another address for a known user id is
only announced here: moving a customer needs a lock that nobody who stores may hold (see moving.py).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from workers.buffer.entries import hash_customer, hash_user
from workers.buffer.rows import Identification
from workers.identities import forwarding, profiles
from workers.identities.profiles import Statement
from workers.store import Connection, sql
from workers.store.locks import Lock, lock

CONFIRMED_US = 3600 * 1_000_000  # an address that is said again this much later is written down as confirmed

LATE_US = 600 * 1_000_000  # an address that was stated before the present one may still come, after a process died
MOST_LATE = 20  # addresses of a user id that are noted together


class IdentityRow(NamedTuple):
    """The address of a user id, when it was stated (microseconds since 1970), and the one that is to follow."""

    email: str
    stated_us: int
    next_email: str | None
    next_stated_us: int | None
    first_us: int | None  # when its first address was stated; None: by an earlier version
    late_emails: Mapping[str, int]


class Naming(NamedTuple):
    """An address that was said of a user id."""

    customer_id: str  # the user id's
    account_id: int
    user_id: str
    email: str
    stated_us: int
    received_us: int
    trusted: bool


Covers = Callable[[str, int, int], bool]  # True if an erasure covers an entry of this place, received at this time


def save_identifications(connection: Connection, identifications: Sequence[Identification], covers: Covers) -> None:
    """Store what was said of persons, in the caller's transaction, which holds the shared erasure lock. Statements that
    an erasure covers are dropped."""
    kept = []
    for each in identifications:
        if forwarding.is_elsewhere(connection, each.subject):
            forwarding.note_identification(connection, each)
        elif _is_erased(each, covers):
            _erase_user(connection, each)
        else:
            kept.append(each)
    if not kept:
        return
    users = sorted({hash_user(each.account_id, each.user_id) for each in kept if each.user_id is not None})
    identities = _save_addresses(connection, _list_namings(kept), users)
    statements = [_make_statement(each, identities) for each in kept if each.traits]
    profiles.save_statements(connection, _forward(connection, _follow_all(connection, statements)))


def _is_erased(identification: Identification, covers: Covers) -> bool:
    position, received_us = identification.position, identification.received_us
    return any(covers(customer_id, position, received_us) for customer_id in _ids_of(identification))


def _erase_user(connection: Connection, identification: Identification) -> None:
    """Erase the user id with the customer at its address: the erasure came before their link was known."""
    if identification.user_id is None or identification.email is None:
        return
    lock(connection, Lock.IDENTITIES)
    user = hash_user(identification.account_id, identification.user_id)
    customer_id = hash_customer(identification.account_id, identification.email)
    connection.execute(sql("erase_user_of"), {"user": user, "customer_id": customer_id})


def _ids_of(identification: Identification) -> Iterable[str]:
    if identification.user_id is not None:
        yield hash_user(identification.account_id, identification.user_id)
    if identification.email is not None:
        yield hash_customer(identification.account_id, identification.email)


def _list_namings(identifications: Iterable[Identification]) -> list[Naming]:
    """Returns the latest address of each user id; before it, if there is another, the first: what was tracked under
    that one moves as well, as if both hadn't come together."""
    first: dict[str, Naming] = {}
    latest: dict[str, Naming] = {}
    for each in identifications:
        if each.user_id is None or each.email is None:
            continue
        customer_id = hash_user(each.account_id, each.user_id)
        times = each.stated_us, each.received_us
        naming = Naming(customer_id, each.account_id, each.user_id, each.email, *times, each.trusted)
        before = latest.setdefault(customer_id, first.setdefault(customer_id, naming))
        if (naming.trusted, naming.stated_us) >= (before.trusted, before.stated_us):
            latest[customer_id] = naming
    return [
        naming for customer_id in sorted(latest) for naming in dict.fromkeys((first[customer_id], latest[customer_id]))
    ]


def _save_addresses(connection: Connection, namings: Sequence[Naming], users: Sequence[str]) -> dict[str, IdentityRow]:
    """Returns the identities of these users, as they are then."""
    identities = _find_identities(connection, users)
    if any(_matters(naming, identities.get(naming.customer_id)) for naming in namings):
        lock(connection, Lock.IDENTITIES)
        identities = _find_identities(connection, users)
        for naming in namings:
            if _save_address(connection, naming, identities.get(naming.customer_id)):
                identities |= _find_identities(connection, [naming.customer_id])
        identities = _find_identities(connection, users)
        for naming in namings:
            if _is_late(naming, identities.get(naming.customer_id)):
                _note_late_address(connection, naming, identities[naming.customer_id])
        identities = _find_identities(connection, users)
    return identities


def _matters(naming: Naming, identity: IdentityRow | None) -> bool:
    return _is_news(naming, identity) or _is_late(naming, identity)


def _is_late(naming: Naming, identity: IdentityRow | None) -> bool:
    """Returns whether the address was stated shortly before a later one, which overtook it: its entry was read by a
    process that died."""
    if identity is None or not naming.trusted or naming.email in (identity.email, identity.next_email):
        return False
    return 0 < _latest_us(identity) - naming.stated_us <= LATE_US


def _note_late_address(connection: Connection, naming: Naming, identity: IdentityRow) -> None:
    """Have its history follow to the present address, unless it did. Events go to the present one meanwhile."""
    if _follow(connection, naming) == naming.email:
        is_first = identity.first_us is not None and naming.stated_us < identity.first_us
        late = _make_late(naming, identity, 0 if is_first else naming.received_us)
        connection.execute(sql("note_late_address"), {**naming._asdict(), "late": late})


def _make_late(naming: Naming, identity: IdentityRow, since_us: int) -> str:
    """Returns the note of an address whose history is to follow, as JSON: events received from `since_us` on are the
    user id's. The note is empty if MOST_LATE addresses wait: such a user id is hardly one person's."""
    is_room = len(identity.late_emails) < MOST_LATE
    return json.dumps({naming.email: since_us} if is_room else {})


def _is_news(naming: Naming, identity: IdentityRow | None) -> bool:
    if identity is None:
        return True
    if naming.email == identity.email and identity.next_email is None:
        return naming.stated_us > identity.stated_us + CONFIRMED_US
    return naming.trusted and naming.stated_us > _latest_us(identity)


def _latest_us(identity: IdentityRow) -> int:
    return max(identity.stated_us, identity.next_stated_us or 0)


def _save_address(connection: Connection, naming: Naming, identity: IdentityRow | None) -> bool:
    """Returns whether the user id was unknown before."""
    if not _is_news(naming, identity):
        return False
    parameters = naming._asdict()
    if identity is None:
        email = _follow(connection, naming)
        owner = hash_customer(naming.account_id, email)
        connection.execute(sql("add_identity"), {**parameters, "email": email, "owner": owner})
        profiles.hand_over(connection, naming.account_id, [naming.customer_id], owner, email)
    elif naming.email == identity.email:
        connection.execute(sql("confirm_identity"), parameters)
    else:
        late = _make_late(naming, identity, naming.received_us)
        connection.execute(sql("announce_address"), {**parameters, "late": late})
    return identity is None


def _follow(connection: Connection, naming: Naming) -> str:
    """Returns the address, or the one after it where it was given up."""
    given_up = {"customer_ids": [hash_customer(naming.account_id, naming.email)]}
    row = connection.execute(sql("find_owners"), given_up).fetchone()
    return str(row[1]) if row else naming.email


def _find_identities(connection: Connection, users: Sequence[str]) -> dict[str, IdentityRow]:
    if not users:
        return {}
    rows = connection.execute(sql("find_identities"), {"customer_ids": list(users)})
    return {customer_id: IdentityRow(*columns) for customer_id, *columns in rows}


def _follow_all(connection: Connection, statements: Sequence[Statement]) -> list[Statement]:
    """Returns the statements about the customers who follow given-up addresses."""
    if not statements or connection.execute(sql("any_given_up")).fetchone() != (True,):
        return list(statements)
    asked = {"customer_ids": [statement.customer_id for statement in statements]}
    owners: dict[str, str] = dict(connection.execute(sql("find_owners"), asked).fetchall())
    return [
        _move_statement(statement, owners[statement.customer_id]) if statement.customer_id in owners else statement
        for statement in statements
    ]


def _make_statement(identification: Identification, identities: Mapping[str, IdentityRow]) -> Statement:
    """Traits belong to the customer; to the user id while its address isn't known."""
    account_id, user_id = identification[:2]
    subject = identification.subject
    statement = Statement(subject, account_id, identification.traits, identification.stated_us)
    if user_id is not None and subject in identities:
        return _move_statement(statement, identities[subject].email)
    return statement


def _move_statement(statement: Statement, email: str) -> Statement:
    """Returns a statement as one about the customer of an address."""
    return statement._replace(customer_id=hash_customer(statement.account_id, email), email=email)


def _forward(connection: Connection, statements: Sequence[Statement]) -> list[Statement]:
    """Note what was said of other cells' customers. Returns the rest."""
    here = []
    for statement in statements:
        account_id, customer_id = statement.account_id, statement.customer_id
        if statement.email and forwarding.is_elsewhere(connection, customer_id):
            traits_by_time = {statement.stated_us: dict(statement.traits)}
            forwarding.note_traits(connection, account_id, customer_id, statement.email, traits_by_time)
        else:
            here.append(statement)
    return here
