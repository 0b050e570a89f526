from datetime import UTC, datetime
from typing import Any

import pytest

from tests.workers.events import T0, entry, event, request
from workers.buffer.entries import Entry, Request, decode_entry, encode_entry, hash_customer, parse_instant
from workers.buffer.rows import Row, make_rows, microseconds


def row(*, batch_id: bytes = b"batch", **fields: Any) -> Row:
    (only,) = make_rows(entry(request(event(**fields)), batch_id=batch_id))
    return only


def test_an_entry_comes_out_of_the_buffer_as_it_went_in() -> None:
    given = entry(request(event()), request(event(), event(event="x")))
    assert decode_entry(encode_entry(given)) == given


def test_a_single_event_and_a_batch_give_the_same_row() -> None:
    single, *_ = make_rows(entry(request(event(timestamp="2025-12-01"))))
    batch, *_ = make_rows(entry(request(event(timestamp="2025-12-01"), event())))
    assert single == batch


def test_the_same_customer_is_meant_however_the_address_is_written() -> None:
    assert (
        row(customer_email="  Jane@Example.COM ").customer_id
        == row().customer_id
        == hash_customer(1, "jane@example.com")
    )


def test_accounts_do_not_share_customers() -> None:
    assert hash_customer(1, "a@b.c") != hash_customer(2, "a@b.c")


@pytest.mark.parametrize(
    "text", ["2025-12-01T10:00:00Z", "2025-12-01 10:00:00", "20251201T100000+00:00", "2025-12-01T12:00:00.000+02:00"]
)
def test_a_timestamp_in_any_form_is_the_same_instant(text: str) -> None:
    assert microseconds(parse_instant(text)) == int(datetime(2025, 12, 1, 10, tzinfo=UTC).timestamp()) * 1_000_000


def test_microseconds_are_kept() -> None:
    assert microseconds(parse_instant("2025-12-01T10:00:00.123457Z")) % 1_000_000 == 123_457


def test_the_same_content_at_the_same_instant_has_the_same_key_whatever_the_order_of_its_keys() -> None:
    """Identity without an event_id: name, instant and properties."""
    one = row(timestamp="2025-12-01T10:00:00Z", properties={"a": 1, "b": {"c": 2, "d": 3}}, batch_id=b"one")
    two = row(timestamp="2025-12-01T11:00:00+01:00", properties={"b": {"d": 3, "c": 2}, "a": 1}, batch_id=b"two")
    assert one[:3] == two[:3]


@pytest.mark.parametrize("other", [{"event": "logout"}, {"properties": {"a": 1}}])
def test_other_content_has_another_key(other: dict[str, Any]) -> None:
    assert row(timestamp="2025-12-01").event_key != row(timestamp="2025-12-01", **other).event_key


def test_an_event_without_identity_is_new_each_time_it_is_sent_and_the_same_each_time_it_is_delivered() -> None:
    sent, again = row(batch_id=b"one"), row(batch_id=b"two")
    assert sent.event_key != again.event_key
    assert sent == row(batch_id=b"one")


def test_two_equal_events_of_one_batch_without_identity_are_two() -> None:
    first, second = make_rows(entry(request(event(), event())))
    assert first.event_key != second.event_key
    assert first.occurred_us == second.occurred_us == T0


def test_an_event_id_decides_alone() -> None:
    assert (
        row(event_id="a", event="x", batch_id=b"1").event_key == row(event_id="a", event="y", batch_id=b"2").event_key
    )
    assert row(event_id="a").event_key != row(event_id="b").event_key
    assert row(event_id="a").identified


@pytest.mark.parametrize("properties", [None, {}])
def test_no_properties_are_no_properties(properties: object) -> None:
    assert row(timestamp="2025-12-01", properties=properties) == row(timestamp="2025-12-01")


def test_long_numbers_keep_every_digit() -> None:
    body = b'{"event":"x","customer_email":"a@b.cd","properties":{"n":0.12345678901234567890}}'
    (only,) = make_rows(_raw(body))
    assert only.content.properties == '{"n":0.12345678901234567890}'


def test_numbers_too_small_for_postgres_are_stored_as_json_readers_see_them() -> None:
    (only,) = make_rows(_raw(b'{"event":"x","customer_email":"a@b.cd","properties":{"n":1e-20000}}'))
    assert only.content.properties == '{"n":0.0}'


@pytest.mark.parametrize("body", [b"", b"[]", b'{"event":1}', b'{"event":"x"}', b"\xff", b'{"events":[1]}'])
def test_what_cannot_be_read_says_so(body: bytes) -> None:
    with pytest.raises(ValueError):
        make_rows(_raw(body))


def _raw(body: bytes) -> Entry:
    return Entry(b"batch", [Request(1, T0, body)])
