"""The workers can read and store everything that passes the door, and no event costs others memory: each of these was a
way in once."""

import json
from typing import Any

import pytest

from api.errors import Refused
from api.track import check as door
from api.track.check import check
from api.track.judge import Checked
from workers.buffer.entries import Entry, Request
from workers.buffer.rows import Row, make_rows

NOW = 1_764_583_200.0
JANE = '"customer_email":"jane@example.com"'


def rows(outcome: Checked) -> list[Row]:
    return make_rows(Entry(b"", [Request(1, 0, outcome.body)]))


@pytest.mark.parametrize(
    "body",
    [
        f'{{"event":7,"event":"login",{JANE}}}',
        f'{{"event":null,"event":"login",{JANE},"timestamp":7,"timestamp":null}}',
        f'{{"events":7,"events":[{{"event":"login",{JANE}}}]}}',
        f'{{"events":[{{"event":7,"event":"login",{JANE}}},{{}}]}}',
        f'{{"properties":{{"a":"\\u0000"}},"properties":{{}},"event":"login",{JANE}}}',
    ],
)
def test_a_key_that_comes_twice_is_read_alike_by_door_and_workers(body: str) -> None:
    """JSON readers take the last; a worker that stumbled over the first would bury the whole entry."""
    (row,) = rows(check(body.encode(), NOW))
    assert row.content.event == "login"


def test_what_is_not_read_does_not_travel() -> None:
    """An ignored field may be nested as deep as the door could read, deeper than a worker could."""
    deep = "[" * 900 + "]" * 900
    outcome = check(f'{{"event":"login",{JANE},"properties":{{"n":1.10}},"note":{deep}}}'.encode(), NOW)
    assert outcome.body == f'{{"events":[{{"event":"login",{JANE},"properties":{{"n":1.10}}}}]}}'.encode()
    assert [unread.field for unread in outcome.ignored] == ["note"]


@pytest.mark.parametrize("levels", range(900, 1000))
def test_any_depth_is_judged(levels: int) -> None:
    """Also at the depth at which reading just works and writing does not."""
    body = f'{{"events":[{{"event":"login",{JANE},"properties":{{"a":{"[" * levels}{"]" * levels}}}}},{{}}]}}'
    try:
        assert [refusal.code for refusal in check(body.encode(), NOW).rejected] == [
            "properties_invalid",
            "event_invalid",
        ]
    except Refused as refused:
        assert refused.code == "malformed_json"  # noqa: PT017


@pytest.mark.parametrize(
    ("number", "stored"),
    [
        ("0." + "1" * 20_000, 0.1111111111111111),
        ("1." + "0" * 50_000, 1.0),
        ("1E-20000", 0.0),
        ("0e999999999999", 0.0),
        ("0E+999999999999", 0.0),
        ("1.5e-0300", 1.5e-300),
    ],
)
def test_numbers_that_postgres_does_not_take_are_stored_as_json_readers_see_them(number: str, stored: float) -> None:
    (row,) = rows(check(f'{{"event":"login",{JANE},"properties":{{"n":{number}}}}}'.encode(), NOW))
    assert len(row.content.properties or "") < 30
    assert json.loads(row.content.properties or "") == {"n": stored}


def test_a_word_with_e_and_a_dash_costs_no_digit() -> None:
    properties = '{"feature":"e-mail","n":0.1234567890123456789012345,"tiny":1e-30}'
    (row,) = rows(check(f'{{"event":"login",{JANE},"properties":{properties}}}'.encode(), NOW))
    assert row.content.properties == properties


def test_an_address_padded_with_megabytes_is_not_remembered() -> None:
    """50,000 of them would be a machine's memory."""
    remembered = door._emails._valid_lately
    remembered.clear()
    outcome = check(b'{"event":"login","customer_email":"' + b" " * 1_000_000 + b'jane@example.com"}', NOW)
    assert rows(outcome)[0].customer.email == "jane@example.com"
    assert not remembered


@pytest.mark.parametrize(
    "email",
    ["jane@example.com/events", "jane@example.com?x", "jane@exa%2fmple.com", "\ufeffjane@example.com",
     "ja\u200bne@example.com", "jane@example.com\u202e", "jane\x80@example.com", "jane@exa\xadmple.com"],
)  # fmt: skip
def test_an_address_that_reads_like_another_is_refused(email: str) -> None:
    """Invisible characters, and what a URL of ours would read as something else."""
    event: dict[str, Any] = {"event": "login", "customer_email": email}
    (rejected,) = check(json.dumps(event).encode(), NOW).rejected
    assert rejected.code == "customer_email_invalid"
