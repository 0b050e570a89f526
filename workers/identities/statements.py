"""Addresses of user ids that were received and wait in the buffers: an erasure takes them in first, since they bind
what has been stored to the person. Ingest finds them stored, or erased."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from workers.buffer.entries import decode_entry, hash_customer, hash_user
from workers.buffer.lanes import Lane, lanes_of
from workers.buffer.rows import Identification, read_entry
from workers.buffer.stream import StreamEntry, scan
from workers.identities import identify
from workers.redis import REDIS_AWAY, command_client
from workers.settings import Settings
from workers.store import Connection
from workers.store.faults import BAD_DATA, UNCLEAR
from workers.upkeep import erasure

MOST_ENTRIES = 20_000  # of a lane that are looked through


class WaitingStatement(NamedTuple):
    """The address of a user id in the buffer of a cell."""

    number: int
    lane: Lane
    identification: Identification

    @property
    def ids(self) -> set[str]:
        """The ids of the user id and of the address."""
        account_id, user_id, email = self.identification[:3]
        return {hash_user(account_id, user_id or ""), hash_customer(account_id, email or "")}


def read_waiting(settings: Settings) -> list[WaitingStatement]:
    """Returns the addresses of user ids that wait in the buffers, as far as these can be reached."""
    waiting: list[WaitingStatement] = []
    for number, cell in enumerate(settings.all_cells):
        with suppress(*REDIS_AWAY), command_client(cell.buffer_url) as redis:
            for lane in lanes_of(cell).values():
                for entry in scan(redis, lane, MOST_ENTRIES):
                    waiting += (WaitingStatement(number, lane, each) for each in _list_addresses(entry))
    return waiting


def _list_addresses(entry: StreamEntry) -> Iterator[Identification]:
    with suppress(ValueError):
        if any(b'"identities"' in request.body for request in decode_entry(entry.data).requests):
            for identification in read_entry(entry.data, entry.position).identities:
                if identification.user_id is not None and identification.email is not None:
                    yield identification


def store_waiting(cells: Sequence[Connection], waiting: list[WaitingStatement], ids: set[str]) -> bool:
    """Store the statements about these user ids and addresses, and take them off the list. Returns whether there were
    any. What Postgres refuses is left to ingest."""
    about = [statement for statement in waiting if statement.ids & ids]
    for statement in about:
        waiting.remove(statement)
        with suppress(*BAD_DATA, UNCLEAR):
            _store(cells[statement.number], statement)
    return bool(about)


def _store(connection: Connection, statement: WaitingStatement) -> None:
    identification = statement.identification
    places, received_us = [identification.position], identification.received_us
    with connection.transaction():
        erasure.join_storing(connection)
        erased = erasure.find_erased(connection, statement.lane, places, received_us)
        identify.save_identifications(connection, [identification], erased.covers)
