"""Checks the body of a request to track.

Valid requests, nearly all, take the quick way: one typed decode, and per event a few look-ups and comparisons. Unusual
ones take the slow way (judge.py), which finds what is wrong, event by event, and keeps the rest. The quick way runs on
the event loop, so it leaves to the slow one what could take long.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from api.track.judge import Checked, judge
from api.track.rules import AHEAD_SECONDS, EARLIEST, Properties, valid_email, valid_event_id, valid_name, valid_user_id
from scoring.events import MAX_BATCH, MAX_PROPERTIES_BYTES
from workers.buffer.addresses import is_international

REMEMBER_STRINGS = 50_000
REMEMBER_CHARACTERS = 300  # an address may be padded with any number of blanks

SHORT_BYTES = MAX_PROPERTIES_BYTES // 5  # of a body: written anew, `1e9,` is `1000000000.0,`
MOST_COSTLY = 5  # strings of a body that are looked at on the event loop though each may take a millisecond
HEAVY_BYTES = 32_768  # a body that is no longer is never heavy
HEAVY_VALUES = 20_000  # of a body; a process can judge some 1,000 a millisecond

NUL_ESCAPE = rb"\u0000"


class QuickEvent(Struct, forbid_unknown_fields=True, gc=False):
    """An event. Its timestamp is in the form of RFC 3339; other forms of ISO 8601 take the slow way."""

    event: str
    customer_email: str | None = None
    user_id: str | None = None
    properties: Properties | None = None
    timestamp: datetime | None = None
    event_id: str | None = None


class QuickBatch(Struct, forbid_unknown_fields=True, gc=False):
    """1 to 100 events."""

    events: list[QuickEvent]


class Unusual(Exception):
    """The quick way can't judge this request; the slow way does."""


class ValidStrings:
    """Strings that were valid lately, so that the same ones are not checked again."""

    def __init__(self, valid: Callable[[str], bool], is_costly: Callable[[str], bool] | None = None) -> None:
        self._valid, self._is_costly = valid, is_costly
        self._valid_lately: set[str] = set()

    def are_valid(self, values: list[str]) -> bool:
        """Returns whether all of these are valid. Raises Unusual if it would take long to find out."""
        if self._valid_lately.issuperset(values):
            return True
        new = set(values) - self._valid_lately
        if self._is_costly and len(new) > MOST_COSTLY and sum(map(self._is_costly, new)) > MOST_COSTLY:
            raise Unusual
        if not all(map(self._valid, new)):
            return False
        if len(self._valid_lately) >= REMEMBER_STRINGS:
            self._valid_lately.clear()
        self._valid_lately.update(value for value in new if len(value) <= REMEMBER_CHARACTERS)
        return True


_names, _users = ValidStrings(valid_name), ValidStrings(valid_user_id)
_emails = ValidStrings(valid_email, is_international)
_decode_event = msgspec.json.Decoder(QuickEvent).decode
_decode_batch = msgspec.json.Decoder(QuickBatch).decode
_encode = msgspec.json.Encoder().encode


def is_heavy(body: bytes) -> bool:
    """Returns whether a body may take longer to judge than others should wait for."""
    return len(body) > HEAVY_BYTES and body.count(b",") + body.count(b"[") + body.count(b"{") > HEAVY_VALUES


def check(body: bytes, now: float, with_customers: bool = False) -> Checked:
    """Returns what a body holds, as of `now` (epoch seconds), and whose events they are if that is asked for. Raises
    Refused: malformed_json, batch_too_large."""
    return check_quickly(body, now, with_customers) or judge(body, now)


def check_quickly(body: bytes, now: float, with_customers: bool = False) -> Checked | None:
    """Returns what a body holds that is valid and usual, else None: the slow way judges it."""
    try:
        return _quick(body, now, with_customers)
    except (Unusual, ValueError, TypeError, RecursionError):  # TypeError: times with and without an offset
        return None


def _quick(body: bytes, now: float, with_customers: bool) -> Checked:
    is_batch = b'"events"' in body
    events = _decode_batch(body).events if is_batch else [_decode_event(body)]
    if not (
        1 <= len(events) <= MAX_BATCH
        and not (b"\\" in body and NUL_ESCAPE in body)
        and _names.are_valid([event.event for event in events])
        and _have_customers(events)
        and all(valid_event_id(event.event_id) for event in events if event.event_id is not None)
    ):
        raise Unusual
    if len(body) > SHORT_BYTES:
        _check_sizes(events)
    customers = [(event.customer_email, event.user_id) for event in events] if with_customers else ()
    return Checked(body, len(events), _find_newest(events, now), customers=customers)


def _have_customers(events: list[QuickEvent]) -> bool:
    """Returns whether each event has a valid address, a valid user id, or both."""
    emails: list[Any] = [event.customer_email for event in events if event.user_id is None]
    if None in emails:
        return False
    if len(emails) == len(events):  # nearly always
        return _emails.are_valid(emails)
    named = [event for event in events if event.user_id is not None]
    beside = [event.customer_email for event in named if event.customer_email is not None]
    return _emails.are_valid(emails + beside) and _users.are_valid([event.user_id or "" for event in named])


def _find_newest(events: list[QuickEvent], now: float) -> float:
    """Returns the time of the newest event, in epoch seconds. Raises Unusual if a time is out of range."""
    times = [event.timestamp for event in events if event.timestamp is not None]
    if not times:
        return now
    newest = max(times).timestamp()
    if min(times) < EARLIEST or newest > now + AHEAD_SECONDS:
        raise Unusual
    return newest if len(times) == len(events) else max(newest, now)


def _check_sizes(events: list[QuickEvent]) -> None:
    """Raise Unusual if the properties of an event are too long."""
    for event in events:
        if event.properties and len(_encode(event.properties)) > MAX_PROPERTIES_BYTES:
            raise Unusual
