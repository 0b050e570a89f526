"""Dead letters: look at what could not be stored, try again, throw away.

A replayed letter is stored like any batch, with the identity that it had, so nothing is stored twice. It leaves the
table in the transaction that stores its events, so it is in exactly one of the two places.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from workers.buffer.entries import decode_entry, decode_request
from workers.buffer.rows import (
    Identification,
    Row,
    find_customer,
    find_user,
    make_identification,
    make_rows,
    read_content,
)
from workers.buffer.staging import stage
from workers.ingest.letters import UNDECODABLE
from workers.ingest.transaction import REFUSALS, Outcome, save_identities, store_rows
from workers.store import Connection, sql
from workers.upkeep import erasure

REPLAYED_TOGETHER = 200


class LetterGroup(NamedTuple):
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


class ReplayResult(NamedTuple):
    """The result of replaying letters: the events of those that are gone, and the letters that failed again."""

    letters: int = 0
    outcome: Outcome = Outcome()
    failed: int = 0

    def __add__(self, other: "ReplayResult") -> "ReplayResult":  # type: ignore[override]
        return ReplayResult(self.letters + other.letters, self.outcome + other.outcome, self.failed + other.failed)


def group(connection: Connection) -> list[LetterGroup]:
    """Returns all letters by cause, the commonest first."""
    return [LetterGroup(*row) for row in connection.execute(sql("group_dead_letters"))]


def add_up(groups: Sequence[LetterGroup]) -> list[LetterGroup]:
    """Returns groups of several cells with those of one cause as one, the commonest first."""
    causes: dict[str, LetterGroup] = {}
    for group in groups:
        before = causes.get(group.fingerprint)
        causes[group.fingerprint] = group if before is None else _join(before, group)
    return sorted(causes.values(), key=lambda joined: -joined.letters)


def _join(group: LetterGroup, other: LetterGroup) -> LetterGroup:
    latest = max(group, other, key=lambda joined: joined.last)
    return latest._replace(letters=group.letters + other.letters, first=min(group.first, other.first))


def find(connection: Connection, dead_letter_id: str) -> Letter | None:
    """Returns a letter, or None."""
    row = connection.execute(sql("find_dead_letter"), {"dead_letter_id": dead_letter_id}).fetchone()
    return Letter(*row) if row else None


def list_ids(connection: Connection, dead_letter_ids: Sequence[str]) -> list[str]:
    """Returns the ids of those that exist, oldest first; of all letters if none is named."""
    return [row[0] for row in connection.execute(sql("list_dead_letters"), _make_filter(dead_letter_ids))]


def purge(connection: Connection, dead_letter_ids: Sequence[str]) -> int:
    """Delete these letters, or all letters if none is named. Returns how many were deleted."""
    return connection.execute(sql("delete_dead_letters"), _make_filter(dead_letter_ids)).rowcount


def replay(connection: Connection, dead_letter_ids: Sequence[str], rescore_seconds: float) -> Iterator[ReplayResult]:
    """Store the events of these letters. Yields what became of them, step by step; each step is done for good, so an
    interruption costs nothing. Letters that fail again stay: where most of a step do, the next ones are tried one by
    one, since halving would try each of them several times."""
    step, start = REPLAYED_TOGETHER, 0
    while start < len(dead_letter_ids):
        result = _replay(connection, dead_letter_ids[start : start + step], rescore_seconds)
        yield result
        start += step
        step = 1 if result.failed > result.letters else REPLAYED_TOGETHER


def _replay(connection: Connection, dead_letter_ids: Sequence[str], rescore_seconds: float) -> ReplayResult:
    """Replay letters in one transaction. If one fails, replay halves, until the bad one is alone."""
    try:
        return _replay_together(connection, dead_letter_ids, rescore_seconds)
    except REFUSALS:
        if len(dead_letter_ids) == 1:
            return ReplayResult(failed=1)
    half = len(dead_letter_ids) // 2
    return _replay(connection, dead_letter_ids[:half], rescore_seconds) + _replay(
        connection, dead_letter_ids[half:], rescore_seconds
    )


def _replay_together(connection: Connection, dead_letter_ids: Sequence[str], rescore_seconds: float) -> ReplayResult:
    with connection.transaction():
        erasure.join_storing(connection)  # before the letters are held: an erasure may want them
        rows = connection.execute(sql("take_dead_letters"), {"dead_letter_ids": list(dead_letter_ids)}).fetchall()
        letters = [Letter(*row) for row in rows]
        save_identities(connection, None, [identity for letter in letters for identity in read_identities(letter)])
        outcome = store_rows(
            connection, stage([row for letter in letters for row in read_rows(letter)]), rescore_seconds
        )
        if letters:
            purge(connection, [letter.dead_letter_id for letter in letters])
    return ReplayResult(len(letters), outcome)


def read_rows(letter: Letter) -> list[Row]:
    """Returns the events of a letter, read anew: the fault may be mended by now. Raises ValueError."""
    if letter.reason == UNDECODABLE:
        return make_rows(decode_entry(letter.body))
    fields = json.loads(letter.body)
    user_id, account_id = fields.get("user_id"), fields["account_id"]
    customer = find_user(account_id, user_id) if user_id else find_customer(account_id, fields["email"])
    content = read_content(fields["event"], (fields["properties"] or "").encode())
    key = fields["occurred_us"], fields["event_key"]  # kept: it may come from an event_id
    return [Row(customer.customer_id, *key, fields["received_us"], fields["identified"], customer, content)]


def read_identities(letter: Letter) -> list[Identification]:
    """Returns what a letter says of persons. Raises ValueError."""
    if letter.reason != UNDECODABLE:
        return []
    requests = decode_entry(letter.body).requests
    return [make_identification(request, identity) for request in requests for identity in decode_request(request)[1]]


def describe(letter: Letter) -> Any:
    """Returns a letter's body for people: the event, or what can be read of the bytes."""
    if letter.reason == UNDECODABLE:
        return _join_bodies(letter.body).decode(errors="backslashreplace")
    event = json.loads(letter.body)
    with suppress(ValueError):
        event["properties"] = json.loads(event["properties"] or "{}")
    return event


def _join_bodies(entry: bytes) -> bytes:
    try:
        return b"\n".join(request.body for request in decode_entry(entry).requests)
    except ValueError:
        return entry


def _make_filter(dead_letter_ids: Sequence[str]) -> dict[str, Any]:
    return {"all": not dead_letter_ids, "dead_letter_ids": list(dead_letter_ids)}
