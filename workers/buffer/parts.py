"""The parts of a request that belong to different cells: each is a body like the request's own."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from workers.buffer.entries import Identity, Request, decode_request
from workers.buffer.rows import find_customer_of
from workers.cells import cell_of

REMEMBER_CUSTOMERS = 20_000
REMEMBER_CHARACTERS = 300  # of a customer: an address may be padded with any number of blanks

CustomerRef = tuple[str | None, str | None]  # the address of an event, and its user id


class BodyPart(NamedTuple):
    """The part of a request that belongs to a cell, and its number of events."""

    body: bytes
    events: int


class AccountCells(dict[CustomerRef, int]):
    """The numbers of the cells of an account's customers. Those that are missing are computed, and kept."""

    def __init__(self, account_id: int, cells: int) -> None:
        super().__init__()
        self._account_id, self._cells = account_id, cells

    def __missing__(self, customer: CustomerRef) -> int:
        email, user_id = customer
        number = cell_of(find_customer_of(self._account_id, email, user_id).customer_id, self._cells)
        if len(email or "") + len(user_id or "") <= REMEMBER_CHARACTERS:
            self[customer] = number
        return number


class CellMemory:
    """The cells of customers that a door has seen lately."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[int, int], AccountCells] = {}
        self._customers = 0

    def find_numbers(self, account_id: int, customers: Sequence[CustomerRef], cells: int) -> list[int]:
        """Returns the numbers of the cells of these customers of an account, where there are so many cells."""
        account = self._accounts.get((account_id, cells))
        if account is None:
            account = self._accounts[account_id, cells] = AccountCells(account_id, cells)
        before = len(account)
        numbers = list(map(account.__getitem__, customers))
        self._customers += len(account) - before
        if self._customers > REMEMBER_CUSTOMERS:
            self._accounts, self._customers = {}, 0
        return numbers


_memory = CellMemory()


class _RawBatch(Struct):
    events: list[Raw]


_decode_raw = msgspec.json.Decoder(_RawBatch).decode


def split_events(account_id: int, body: bytes, customers: Sequence[CustomerRef], cells: int) -> Mapping[int, BodyPart]:
    """Returns the parts of a body of events by the number of their cell. `customers`: those of the events, in order;
    none if they are not known, and are read anew."""
    numbers = _memory.find_numbers(account_id, customers or _list_customers(account_id, body), cells)
    if numbers.count(numbers[0]) == len(numbers):
        return {numbers[0]: BodyPart(body, len(numbers))}
    raws: defaultdict[int, list[Raw]] = defaultdict(list)
    for number, raw in zip(numbers, _decode_raw(body).events, strict=True):
        raws[number].append(raw)
    return {
        number: BodyPart(b'{"events":[' + b",".join(events) + b"]}", len(events)) for number, events in raws.items()
    }


def _list_customers(account_id: int, body: bytes) -> list[CustomerRef]:
    events, _ = decode_request(Request(account_id, 0, body))
    return [(event.customer_email, event.user_id) for event in events]


def split_identities(account_id: int, identities: Sequence[Identity], cells: int) -> Mapping[int, list[Identity]]:
    """Returns identities by the number of the cell that they are for: that of the user id, which keeps its address, and
    that of the address, which keeps the traits."""
    parts: defaultdict[int, list[Identity]] = defaultdict(list)
    for identity in identities:
        for part in _split_identity(identity):
            email = part.customer_email if part.user_id is None else None
            parts[cell_of(find_customer_of(account_id, email, part.user_id).customer_id, cells)].append(part)
    return parts


def _split_identity(identity: Identity) -> list[Identity]:
    if identity.user_id is None or identity.customer_email is None or bytes(identity.traits) in (b"", b"null", b"{}"):
        return [identity]
    named = msgspec.structs.replace(identity, traits=Raw(b"null"))
    return [named, msgspec.structs.replace(identity, user_id=None)]
