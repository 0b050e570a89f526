import pytest

from api.history.guess import guess_columns, guess_preset
from tests.api.history.test_presets import AMPLITUDE, MIXPANEL, POSTHOG, SEGMENT, STRIPE


@pytest.mark.parametrize(
    ("record", "preset"),
    [
        (MIXPANEL, "mixpanel"),
        (AMPLITUDE, "amplitude"),
        (POSTHOG, "posthog"),
        (SEGMENT, "segment"),
        (STRIPE, "stripe"),
        ({"event": "x", "distinct_id": "1", "time": "2"}, "mixpanel"),
        ({"id": "ch_1", "Status": "Paid", "Customer Email": "a@b.cd", "Amount": "1"}, "stripe"),
        ({"event": "login", "customer_email": "a@b.cd", "timestamp": "2026-01-01", "properties": {"plan": "x"}}, None),
        ({"event": "login", "user_id": "u1", "type": "track"}, None),
        ({}, None),
    ],
)
def test_the_product_is_recognised_by_a_record(record: dict[str, object], preset: str | None) -> None:
    assert guess_preset(record) == preset


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["event", "customer_email", "timestamp"], {}),
        (["Event Name", "E-mail", "Created At"],
         {"event": "Event Name", "customer_email": "E-mail", "timestamp": "Created At"}),
        (["action", "user_email", "User ID", "uuid", "when", "time"],
         {"event": "action", "customer_email": "user_email", "event_id": "uuid", "timestamp": "when"}),
        (["Customer Email", "event", "mail", "timestamp"], {}),
        (["colour", ""], {}),
    ],
)  # fmt: skip
def test_columns_are_recognised_by_their_names(names: list[str], columns: dict[str, str]) -> None:
    assert guess_columns(names) == columns
