"""Dead letters: look at what could not be stored, try again, throw away.

A replayed letter goes the way of any batch, with the identity that it had: what is stored already is not stored twice.
It leaves the table in the transaction that stores its events, so it is in exactly one of the two places.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from workers.buffer.rows import Row, customer_of, decode_entry, read_content, rows_of
from workers.buffer.staging import incoming
from workers.ingest.transaction import REFUSALS, UNDECODABLE, Outcome, store_rows
from workers.store import Connection, sql
from workers.upkeep import erasure

REPLAYED_TOGETHER = 200


class Group(NamedTuple):
    """Letters of one cause. `first` and `last` are when they were received, `example` is the last one's id."""

    fingerprint: str
    reason: str
    sqlstate: str | None
    letters: int
    first: datetime
    last: datetime
    example: str


class Letter(NamedTuple):
    """One dead letter."""

    dead_letter_id: str
    account_id: int | None
    reason: str
    sqlstate: str | None
    received_at: datetime
    died_at: datetime
    lane: str
    body: bytes


class Replayed(NamedTuple):
    """What became of letters: the events of those that are gone, and how many letters failed again."""

    letters: int = 0
    outcome: Outcome = Outcome()
    failed: int = 0

    def __add__(self, other: "Replayed") -> "Replayed":  # type: ignore[override]
        return Replayed(self.letters + other.letters, self.outcome + other.outcome, self.failed + other.failed)


def grouped(connection: Connection) -> list[Group]:
    """All letters by cause, the commonest first."""
    return [Group(*row) for row in connection.execute(sql("group_dead_letters"))]


def found(connection: Connection, dead_letter_id: str) -> Letter | None:
    """One letter."""
    row = connection.execute(sql("find_dead_letter"), {"dead_letter_id": dead_letter_id}).fetchone()
    return Letter(*row) if row else None


def ids(connection: Connection, dead_letter_ids: Sequence[str]) -> list[str]:
    """The ids of those that exist, oldest first; of all of them where none is named."""
    return [row[0] for row in connection.execute(sql("list_dead_letters"), _which(dead_letter_ids))]


def purge(connection: Connection, dead_letter_ids: Sequence[str]) -> int:
    """Delete these letters, or all of them where none is named. Returns how many."""
    return connection.execute(sql("delete_dead_letters"), _which(dead_letter_ids)).rowcount


def replay(connection: Connection, dead_letter_ids: Sequence[str], rescore_seconds: float) -> Iterator[Replayed]:
    """Store the events of these letters; tells step by step what became of them. Those that fail again stay."""
    for start in range(0, len(dead_letter_ids), REPLAYED_TOGETHER):
        yield _replay(connection, dead_letter_ids[start : start + REPLAYED_TOGETHER], rescore_seconds)


def _replay(connection: Connection, dead_letter_ids: Sequence[str], rescore_seconds: float) -> Replayed:
    """All in one transaction; where one fails, halves, until the bad one is alone."""
    try:
        return _replay_together(connection, dead_letter_ids, rescore_seconds)
    except REFUSALS:
        if len(dead_letter_ids) == 1:
            return Replayed(failed=1)
    half = len(dead_letter_ids) // 2
    return _replay(connection, dead_letter_ids[:half], rescore_seconds) + _replay(
        connection, dead_letter_ids[half:], rescore_seconds
    )


def _replay_together(connection: Connection, dead_letter_ids: Sequence[str], rescore_seconds: float) -> Replayed:
    with connection.transaction():
        erasure.join_storing(connection)  # before the letters are held: an erasure may want them
        connection.execute(sql("create_incoming"))
        taken = connection.execute(sql("take_dead_letters"), {"dead_letter_ids": list(dead_letter_ids)}).fetchall()
        letters = [Letter(*row) for row in taken]
        outcome = store_rows(connection, incoming([row for letter in letters for row in rows(letter)]), rescore_seconds)
        if letters:
            purge(connection, [letter.dead_letter_id for letter in letters])
    return Replayed(len(letters), outcome)


def rows(letter: Letter) -> list[Row]:
    """The events of a letter, understood anew: what failed may be a fault that is mended. Raises ValueError."""
    if letter.reason == UNDECODABLE:
        return rows_of(decode_entry(letter.body))
    sent = json.loads(letter.body)
    customer = customer_of(sent["account_id"], sent["email"])
    content = read_content(sent["event"], (sent["properties"] or "").encode())
    key = sent["occurred_us"], sent["event_key"]  # kept: it may come from an event_id
    return [Row(customer.customer_id, *key, sent["received_us"], sent["identified"], customer, content)]


def readable(letter: Letter) -> Any:
    """What a letter's body says, for people: the event, or what can be read of the bytes."""
    if letter.reason == UNDECODABLE:
        return _bodies(letter.body).decode(errors="backslashreplace")
    event = json.loads(letter.body)
    with suppress(ValueError):
        event["properties"] = json.loads(event["properties"] or "{}")
    return event


def _bodies(entry: bytes) -> bytes:
    try:
        return b"\n".join(request.body for request in decode_entry(entry).requests)
    except ValueError:
        return entry


def _which(dead_letter_ids: Sequence[str]) -> dict[str, Any]:
    return {"all": not dead_letter_ids, "dead_letter_ids": list(dead_letter_ids)}
