import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import CODES, Refused
from api.track.check import check
from api.track.judge import Checked
from workers.buffer.entries import Entry, Request
from workers.buffer.rows import make_rows

NOW = 1_764_583_200.0  # 2025-12-01T10:00:00Z
GOOD = {"event": "login", "customer_email": "jane@example.com"}


def checked(body: Any) -> Checked:
    outcome = check(body if isinstance(body, bytes) else json.dumps(body).encode(), NOW)
    if outcome.refusal:
        raise outcome.refusal
    return outcome


def refused(body: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        checked(body)
    return caught.value


def fault(**fields: Any) -> tuple[str, str]:
    """The field and the code of the one thing that is wrong with an event."""
    refusal = refused(GOOD | fields)
    assert refusal.code == "invalid_event"
    (only,) = json.loads(refusal.body)["rejected"]
    assert only["index"] == 0
    assert only["message"]
    return only["field"], only["code"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"event": "x"},
        {"event": "e" * 200},
        {"event": "Füße 🦶"},
        {"customer_email": " Jane@Example.COM "},
        {"customer_email": "a@bücher.example"},
        {"customer_email": "jane+tag@sub.example.co"},
        {"customer_email": "o'brien@example.com"},
        {"customer_email": f"{'a' * 242}@example.com"},
        {"properties": None},
        {"properties": {}},
        {"properties": {"a": [1, {"b": None}], "c": "\u00e9", "d": 1e300, "e": 10**30, "f": True}},
        {"properties": {str(n): n for n in range(255)}},
        {"properties": {"a": "x" * (32 * 1024 - 8)}},
        {"properties": {"a": "\\u0000"}},
        {"timestamp": None},
        {"timestamp": "2025-12-01T10:00:00Z"},
        {"timestamp": "2025-12-01T10:59:00"},
        {"timestamp": "20251201T100000.123+0100"},
        {"timestamp": "2025-12-01"},
        {"timestamp": "2000-01-01"},
        {"event_id": "A-z_0.9:"},
        {"event_id": "a" * 64},
    ],
)
def test_a_valid_event_is_taken_as_it_was_sent(fields: dict[str, Any]) -> None:
    body = json.dumps(GOOD | fields).encode()
    assert checked(body)[:2] == (body, 1)
    in_batch = b'{"events": [' + body + b"]}"
    assert checked(in_batch)[:2] == (in_batch, 1)


@pytest.mark.parametrize(
    "event",
    [None, "", "  ", "\u3000", "\u200b", "\ufeff \u2060", "a" * 201, "a\nb", "a\u0000b", "\x7f", "\x85", 7, ["x"], {}],
)
def test_a_wrong_event_is_refused(event: Any) -> None:
    assert fault(event=event) == ("event", "event_invalid")


@pytest.mark.parametrize("user_id", ["", " ", "\u200b", "\u202e\ufeff", "a" * 201, "a\n", 7])
def test_a_wrong_user_id_is_refused(user_id: Any) -> None:
    assert fault(user_id=user_id) == ("user_id", "user_id_invalid")


@pytest.mark.parametrize(
    "email",
    [None, "", "jane", "@example.com", "jane@", "jane@example", "a b@example.com", "a@b@example.com", "a@.com",
     "a@b..com", "a@b.com.", f"{'a' * 250}@b.cd", "a\u0000@b.cd", 7, "<script>@x,y.com"],
)  # fmt: skip
def test_a_wrong_email_is_refused(email: Any) -> None:
    assert fault(customer_email=email) == ("customer_email", "customer_email_invalid")


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "properties",
    [
        "x",
        7,
        [],
        {str(n): n for n in range(256)},
        {"a": {str(n): n for n in range(256)}},
        {"a": "x" * (32 * 1024)},
        nested(11),
        {"a": "\0"},
        {"a\0": 1},
        {"a": [{"b": ["\0"]}]},
    ],
)
def test_wrong_properties_are_refused(properties: Any) -> None:
    assert fault(properties=properties) == ("properties", "properties_invalid")


def test_properties_may_be_ten_levels_deep() -> None:
    assert checked(GOOD | {"properties": nested(10)}).events == 1
    assert checked(GOOD | {"properties": {"a": [[[[[[[[[]]]]]]]]]}}).events == 1


@pytest.mark.parametrize("number", [b"1e400", b"9" * 5000])
def test_a_number_that_nobody_can_read_is_refused(number: bytes) -> None:
    body = b'{"event":"x","customer_email":"a@b.cd","properties":{"n":%b}}' % number
    assert json.loads(refused(body).body)["rejected"][0]["code"] == "properties_invalid"
    mixed = checked(b'{"events":[' + body + b"," + json.dumps(GOOD).encode() + b"]}")
    assert (mixed.events, mixed.rejected[0].index) == (1, 0)


@pytest.mark.parametrize(
    "timestamp",
    [1764583200, 1764583200.5, True, "", "yesterday", "1764583200", "2025-13-01", "2025-12-01T12:00:01Z",
     "1999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2025-12-01T10:00:00Zx", {}],
)  # fmt: skip
def test_a_wrong_timestamp_is_refused_never_stamped_anew(timestamp: Any) -> None:
    assert fault(timestamp=timestamp) == ("timestamp", "timestamp_invalid")


@pytest.mark.parametrize("event_id", ["", "a" * 65, "a b", "ä", 7, "a\n"])
def test_a_wrong_event_id_is_refused(event_id: Any) -> None:
    assert fault(event_id=event_id) == ("event_id", "event_id_invalid")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"7", b'"x"', b"{", b'{"event":"\xff"}', b"\xef\xbb\xbf{}", b"[" * 10_000, b'{"a":' * 10_000,
     b"{}x", b'{"event":"x","customer_email":"a@b.cd","properties":{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}}",
     b'{"events":[{"event":"\xff"}]}', b'{"event":"\\ud800"}'],
)  # fmt: skip
def test_what_is_not_a_json_object_is_malformed(body: bytes) -> None:
    assert refused(body).code == "malformed_json"


@pytest.mark.parametrize("half", [r"\ud83d", r"x\ude00", r"\ud83d\n"])
def test_half_of_a_surrogate_pair_is_named(half: str) -> None:
    """The decoder's own words would be "Input data was truncated"."""
    refusal = refused(b'{"event":"login","customer_email":"a@b.cd","properties":{"a":"%b"}}' % half.encode())
    assert refusal.code == "malformed_json"
    assert "half of a character" in json.loads(refusal.body)["message"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_named(encoding: str) -> None:
    """Editors and .NET put one at the head of a text, where nobody sees it."""
    refusal = refused(json.dumps(GOOD).encode(encoding))
    assert refusal.code == "malformed_json"
    assert "byte order mark" in json.loads(refusal.body)["message"]


def test_a_batch_keeps_what_is_valid_and_names_exactly_what_is_not() -> None:
    bad = GOOD | {"timestamp": 7}
    outcome = checked({"events": [GOOD, bad, GOOD, "x", GOOD | {"event": "other"}]})
    assert outcome.events == 3
    assert [refusal.index for refusal in outcome.rejected] == [1, 3]
    assert json.loads(outcome.body) == {"events": [GOOD, GOOD, GOOD | {"event": "other"}]}


@pytest.mark.parametrize("body", [{"events": []}, {"events": 7}, {"events": None}, GOOD | {"events": [GOOD]}])
def test_what_is_neither_one_event_nor_a_batch_is_invalid(body: Any) -> None:
    refusal = refused(body)
    assert (refusal.code, refusal.status) == ("invalid_event", 422)
    assert json.loads(refusal.body)["rejected"][0]["field"] == "events"


def test_a_hundred_events_are_a_batch_and_a_hundred_and_one_are_not() -> None:
    assert checked({"events": [GOOD] * 100}).events == 100
    assert refused({"events": [GOOD] * 101}).code == "batch_too_large"
    assert refused({"events": [7] * 101}).code == "batch_too_large"


def test_an_unknown_field_is_ignored_and_told() -> None:
    """A misspelt `timestmap` must be visible."""
    outcome = checked({"events": [GOOD, GOOD | {"timestmap": "2025-12-01"}], "sent_at": "now"})
    assert outcome.events == 2
    assert [(unread.place, unread.field) for unread in outcome.ignored] == [(0, "sent_at"), (1, "timestmap")]
    assert [unread.field for unread in checked(GOOD | {"Event": "x"}).ignored] == ["Event"]


@pytest.mark.parametrize(
    ("timestamps", "newest"),
    [([None], NOW), (["2025-12-01", None], NOW), (["2025-11-01", "2025-11-03", "2025-11-02"], 1762128000.0)],
)
def test_the_newest_event_decides_the_lane(timestamps: list[str | None], newest: float) -> None:
    events: list[dict[str, Any]] = [{**GOOD, "timestamp": timestamp} for timestamp in timestamps]
    assert checked({"events": events}).newest == newest
    assert checked({"events": [*events, GOOD | {"event": ""}]}).newest == newest


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
EVENTS = st.dictionaries(st.sampled_from(["event", "customer_email", "properties", "timestamp", "event_id", "x"]), JSON)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_whatever_are_judged(body: bytes) -> None:
    """Never an exception that nobody expected: an answer of the table, always."""
    try:
        assert checked(body).events >= 1
    except Refused as refusal:
        assert refusal.code in CODES  # noqa: PT017


@given(st.lists(EVENTS | st.just(GOOD), min_size=1, max_size=6))
def test_whatever_is_taken_can_be_stored_and_the_rest_is_named(events: list[dict[str, Any]]) -> None:
    """Accepted and rejected together are the batch, and what was accepted has rows."""
    try:
        outcome = checked({"events": events})
    except Refused as refusal:
        assert refusal.code == "invalid_event"  # noqa: PT017
        return
    assert outcome.events + len(outcome.rejected) == len(events)
    assert len(make_rows(Entry(b"", [Request(1, 0, outcome.body)]))) == outcome.events


@given(st.dictionaries(st.text(st.characters(exclude_characters="\0", codec="utf-8")), JSON, max_size=5))
def test_the_quick_way_and_the_slow_way_agree(properties: dict[str, Any]) -> None:
    body = json.dumps(GOOD | {"properties": properties}).encode()
    slow = json.dumps(GOOD | {"properties": properties, "unknown": 1}).encode()
    assert _verdict(body) == _verdict(slow)


def _verdict(body: bytes) -> object:
    try:
        return checked(body).events
    except Refused as refusal:
        return refusal.body


@given(st.datetimes().map(lambda at: at.isoformat()) | st.text("0123456789-:.+TtZz ", max_size=30))
def test_both_ways_understand_a_timestamp_as_the_line_does(timestamp: str) -> None:
    """Ingest reads each timestamp that the door takes: the quick way knows RFC 3339, the line what Python reads."""
    quick = json.dumps({**GOOD, "timestamp": timestamp}).encode()
    slow = json.dumps({**GOOD, "timestamp": timestamp, "unknown": 1}).encode()
    assert _verdict(quick) == _verdict(slow)
    if _verdict(quick) == 1:
        assert len(make_rows(Entry(b"", [Request(1, 0, quick)]))) == 1
