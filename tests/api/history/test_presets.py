"""Exports of other products, in the shape that their documentation gives."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from api.history.conversion import read_amount
from api.history.presets import PRESETS
from api.history.source import Reading, read_history
from api.history.text_files import TextFile

Json = dict[str, Any]

MIXPANEL = {
    "event": "Signed In",
    "properties": {"time": 1767261600, "distinct_id": "jane@example.com", "$insert_id": "29fc2962-6d9c",
                   "$browser": "Chrome", "mp_lib": "web", "$current_url": "https://x.example/home?x=1", "plan": "pro"},
}  # fmt: skip
AMPLITUDE = {
    "event_type": "Signed In", "user_id": "u1", "event_time": "2026-01-01 10:00:00.123000", "$insert_id": "a-1",
    "event_properties": {"plan": "pro"}, "user_properties": {"email": "jane@example.com"}, "device_id": "d",
    "uuid": "0b3d0a1e-0000-4a4b-8d4c-000000000000", "library": "amplitude-ts/1.0",
}  # fmt: skip
POSTHOG = {
    "uuid": "01907f4c-0000-0000-0000-000000000001", "event": "$pageview", "distinct_id": "ph-1",
    "timestamp": "2026-01-01T10:00:00.000Z",
    "properties": json.dumps({"$current_url": "https://x.example/p", "colour": "red"}),
    "person_properties": {"email": "jane@example.com"}, "team_id": 2,
}  # fmt: skip
SEGMENT = {
    "type": "track", "event": "Signed In", "userId": "u1", "messageId": "m1", "timestamp": "2026-01-01T10:00:00.000Z",
    "sentAt": "2026-01-01T10:00:05.000Z", "receivedAt": "2026-01-01T10:00:06.000Z", "properties": {"plan": "pro"},
    "context": {"traits": {"email": "jane@example.com"}},
}  # fmt: skip
STRIPE = {
    "id": "evt_1", "object": "event", "type": "invoice.paid", "created": 1767261600, "livemode": True,
    "data": {"object": {"id": "in_1", "object": "invoice", "customer": "cus_1", "customer_email": "jane@example.com",
                        "amount_paid": 4900, "currency": "eur"}},
}  # fmt: skip


def read(tmp_path: Path, reading: Reading, text: str, name: str = "export.ndjson") -> tuple[list[Any], list[Json]]:
    path = tmp_path / name
    path.write_text(text)
    identities: list[Json] = []
    with TextFile(path) as file:
        lines = list(read_history(file, reading, identities.append, Counter()))
    return [line.event or line.fault for line in lines], identities


@pytest.mark.parametrize(
    ("preset", "record", "event"),
    [
        ("mixpanel", MIXPANEL, {"event": "Signed In", "customer_email": "jane@example.com",
                                "timestamp": "2026-01-01T10:00:00+00:00",
                                "properties": {"plan": "pro", "page": "/home"}, "event_id": "29fc2962-6d9c"}),
        ("amplitude", AMPLITUDE, {"event": "Signed In", "customer_email": "jane@example.com",
                                  "timestamp": "2026-01-01T10:00:00.123000", "properties": {"plan": "pro"},
                                  "event_id": "a-1"}),
        ("posthog", POSTHOG, {"event": "$pageview", "customer_email": "jane@example.com",
                              "timestamp": "2026-01-01T10:00:00.000Z", "properties": {"colour": "red", "page": "/p"},
                              "event_id": "01907f4c-0000-0000-0000-000000000001"}),
        ("segment", SEGMENT, {"event": "Signed In", "customer_email": "jane@example.com",
                              "timestamp": "2026-01-01T10:00:00.000Z", "properties": {"plan": "pro"},
                              "event_id": "m1"}),
        ("stripe", STRIPE, {"event": "invoice_paid", "user_id": "cus_1", "timestamp": "2026-01-01T10:00:00+00:00",
                            "event_id": "evt_1",
                            "properties": {"invoice_id": "in_1", "amount": 49.0, "currency": "EUR"}}),
    ],
)  # fmt: skip
def test_a_record_becomes_an_event(tmp_path: Path, preset: str, record: Json, event: Json) -> None:
    events, _ = read(tmp_path, Reading(preset), json.dumps(record) + "\n")
    assert events == [event]


def test_every_preset_has_an_example() -> None:
    assert set(PRESETS) == {"mixpanel", "amplitude", "posthog", "segment", "stripe"}


@pytest.mark.parametrize(
    ("preset", "record", "identity"),
    [
        ("segment", {"type": "identify", "userId": "u1", "traits": {"email": "jane@example.com", "plan": "pro"},
                     "timestamp": "2026-01-01T10:00:00Z"}, ("u1", "jane@example.com")),
        ("posthog", {**POSTHOG, "event": "$identify"}, ("ph-1", "jane@example.com")),
        ("amplitude", {**AMPLITUDE, "event_type": "$identify"}, ("u1", "jane@example.com")),
        ("stripe", {**STRIPE, "type": "customer.created",
                    "data": {"object": {"id": "cus_1", "object": "customer", "email": "jane@example.com"}}},
         ("cus_1", "jane@example.com")),
    ],
)  # fmt: skip
def test_a_record_that_says_who_somebody_is_becomes_an_identity(
    tmp_path: Path, preset: str, record: Json, identity: tuple[str, str]
) -> None:
    events, identities = read(tmp_path, Reading(preset), json.dumps(record))
    assert events == []
    assert [(each["user_id"], each["customer_email"]) for each in identities] == [identity]


def test_people_names_and_columns_are_found(tmp_path: Path) -> None:
    record = {**AMPLITUDE, "user_properties": {}}
    reading = Reading("amplitude", renamed={"Signed In": "login"}, people={"u1": "jane@example.com"})
    (event,), _ = read(tmp_path, reading, json.dumps(record))
    assert (event["event"], event["customer_email"]) == ("login", "jane@example.com")
    assert "user_id" not in event
    text = "what,mail,when\nSigned In,jane@example.com,2026-01-01\n"
    columns = {"event": "what", "customer_email": "mail", "timestamp": "when"}
    assert read(tmp_path, Reading(columns=columns), text, "own.csv")[0] == [
        {"event": "Signed In", "customer_email": "jane@example.com", "timestamp": "2026-01-01"}
    ]


@pytest.mark.parametrize("theirs", ["Event", "event", "EVENT"])
@pytest.mark.parametrize("mail", ["E-Mail", "e-mail", "E_MAIL"])
def test_columns_are_mapped_in_any_case(tmp_path: Path, theirs: str, mail: str) -> None:
    """Also where a column has the name of the field that it is."""
    text = "Event,E-Mail,Timestamp,Plan\nlogin,jane@example.com,2026-01-01,pro\n"
    columns = {"event": theirs, "customer_email": mail}
    (event,), _ = read(tmp_path, Reading(columns=columns), text, "own.csv")
    assert (event["event"], event["customer_email"], event["properties"]) == (
        "login",
        "jane@example.com",
        {"Plan": "pro"},
    )


@pytest.mark.parametrize("header", ["event,action,customer_email,timestamp", "action,event,customer_email,timestamp"])
def test_a_mapped_column_comes_before_the_one_of_that_name(tmp_path: Path, header: str) -> None:
    row = {"event": "7", "action": "login", "customer_email": "jane@example.com", "timestamp": "2026-01-01"}
    text = f"{header}\n{','.join(row[name] for name in header.split(','))}\n"
    (event,), _ = read(tmp_path, Reading(columns={"event": "action"}), text, "own.csv")
    assert event["event"] == "login"


def test_a_column_of_user_ids_is_enough(tmp_path: Path) -> None:
    text = "event,person,timestamp\nlogin,u1,2026-01-01\n"
    (event,), _ = read(tmp_path, Reading(columns={"user_id": "person"}), text, "own.csv")
    assert (event["user_id"], "properties" in event) == ("u1", False)


def test_mixpanels_csv_and_stripes_payments_are_read(tmp_path: Path) -> None:
    text = "event,distinct_id,time,plan\nSigned In,jane@example.com,1767261600,pro\n"
    assert read(tmp_path, Reading("mixpanel"), text, "m.csv")[0][0]["properties"] == {"plan": "pro"}
    text = (
        "id,Created date (UTC),Amount,Currency,Status,Customer ID,Customer Email,Invoice ID\n"
        "ch_1,2026-01-01 10:00:00,49.00,eur,Paid,cus_1,jane@example.com,in_1\n"
        "ch_2,2026-01-02 10:00:00,49.00,eur,Canceled,cus_1,jane@example.com,\n"
    )
    (event,), _ = read(tmp_path, Reading("stripe"), text, "payments.csv")
    assert (event["event"], event["customer_email"], event["timestamp"]) == (
        "invoice_paid",
        "jane@example.com",
        "2026-01-01T10:00:00",
    )
    assert event["properties"]["invoice_id"] == "in_1"


@pytest.mark.parametrize(
    ("preset", "record"),
    [
        ("mixpanel", {"event": "x", "properties": {"time": 1767261600, "distinct_id": "$device:18b0f7"}}),
        ("mixpanel", {"event": "$identify", "properties": {"time": 1767261600, "distinct_id": "u1"}}),
        ("amplitude", {**AMPLITUDE, "user_id": None, "user_properties": {}}),
        ("posthog", {**POSTHOG, "properties": {"$process_person_profile": False}, "person_properties": {}}),
    ],
)
def test_visitors_who_are_not_known_are_left_out(tmp_path: Path, preset: str, record: Json) -> None:
    """Their events could never be stored; nothing is to be mended."""
    assert read(tmp_path, Reading(preset), json.dumps(record)) == ([], [])


@pytest.mark.parametrize(
    ("cell", "amount"),
    [("49.00", 49.0), ("1,234.50", 1234.5), ("399,00", 399.0), ("1.234,50", 1234.5), ("12 000", 12000.0), ("", None)],
)
def test_an_amount_is_a_number_however_it_is_written(cell: str, amount: float | None) -> None:
    assert read_amount(cell) == amount


def test_a_refund_is_dated_to_when_it_was_given(tmp_path: Path) -> None:
    text = (
        "id,Created date (UTC),Amount,Amount Refunded,Refunded date (UTC),Currency,Status,Customer Email\n"
        "ch_1,2026-01-01 10:00:00,49.00,20.00,2026-01-09 10:00:00,eur,Partial Refund,jane@example.com\n"
    )
    (event,), _ = read(tmp_path, Reading("stripe"), text, "unified_payments.csv")
    assert (event["event"], event["timestamp"]) == ("refund_requested", "2026-01-09T10:00:00")
    assert event["properties"] == {"amount": 20.0, "currency": "EUR"}


def test_the_list_that_stripes_api_answers_with_is_read(tmp_path: Path) -> None:
    text = json.dumps({"object": "list", "url": "/v1/events", "has_more": False, "data": [STRIPE, STRIPE]}, indent=2)
    events, identities = read(tmp_path, Reading("stripe"), text, "events.json")
    assert ([event["event"] for event in events], len(identities)) == (["invoice_paid"] * 2, 2)


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("text", ["{}", '{"event": {}}', '{"event": 1, "properties": "no"}', '{"type": "track"}', "{"])
def test_what_is_no_record_is_refused_or_left_out_and_never_raises(tmp_path: Path, preset: str, text: str) -> None:
    events, _ = read(tmp_path, Reading(preset), text)
    assert all(isinstance(event, str) for event in events)
