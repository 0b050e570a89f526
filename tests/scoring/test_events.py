from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.events import ENGAGEMENT, RECOGNISED, detail_of, plan_of, value_of

anything: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=120) | st.lists(st.none(), max_size=1)
)
names = st.sampled_from(["feature", "page", "plan", "score", "duration_seconds", "invoice_id"])


def test_the_thirteen_names_are_recognised() -> None:
    """The vocabulary is the documented one, and engagement is part of it."""
    assert len(RECOGNISED) == 13
    assert set(RECOGNISED) > ENGAGEMENT == {"login", "feature_used"}


@pytest.mark.parametrize(
    ("event", "properties", "detail"),
    [
        ("login", {}, ""),
        ("feature_used", {"feature": "exports", "page": "/x"}, "exports"),
        ("feature_used", {"feature": 12}, "12"),
        ("feature_used", {"feature": True, "page": "/x?y=1"}, "/x"),
        ("feature_used", {"feature": ["a"]}, ""),
        ("feature_used", {"feature": " a\x00b\n"}, "a b"),
        ("feature_used", {"feature": "\ud800"}, ""),
        ("feature_used", {"feature": "x" * 300}, "x" * 100),
        ("feature_used", {"feature": 10**5000}, ""),
        ("page_view", {"page": "/prices?utm=1"}, "/prices"),
        ("page_view", {"plan": "pro"}, ""),
        ("subscription_upgraded", {"plan": "pro"}, "pro"),
        ("trial_started", {"plan": "pro"}, "pro"),
        ("nps_response", {"score": 9}, "9"),
        ("nps_response", {"score": 9.0}, "9"),
        ("nps_response", {"score": " 10 "}, "10"),
        ("nps_response", {"score": 0}, "0"),
        ("nps_response", {"score": 11}, ""),
        ("nps_response", {"score": -1}, ""),
        ("nps_response", {"score": 7.5}, ""),
        ("nps_response", {"score": "nan"}, ""),
        ("nps_response", {"score": "inf"}, ""),
        ("nps_response", {"score": True}, ""),
        ("nps_response", {"score": "9" * 9999, "feature": "exports"}, ""),
        ("invoice_paid", {"invoice_id": "in_1", "page": "/x"}, "invoice:in_1"),
        ("invoice_overdue", {"invoice_id": 1042}, "invoice:1042"),
        ("invoice_overdue", {"invoice_id": 1042.0}, "invoice:1042"),
        ("invoice_overdue", {"invoice_id": " 1042 "}, "invoice:1042"),
        ("invoice_paid", {"invoice_id": "x" * 300}, "invoice:" + "x" * 92),
        ("invoice_paid", {"invoice_id": 1.5}, ""),
        ("invoice_paid", {"invoice_id": True}, ""),
        ("invoice_paid", {"invoice_id": ["a"]}, ""),
        ("invoice_paid", {"invoice_id": ""}, ""),
        ("invoice_paid", {"page": "/billing", "feature": "exports"}, ""),
        ("Payment Failed", {"invoice_id": "in_1", "page": "/billing"}, "invoice:in_1"),
        ("Report Shared", {"invoice_id": "in_1", "feature": "reports"}, "reports"),
        ("login", {"invoice_id": "in_1"}, ""),
    ],
)
def test_the_detail_is_what_tells_events_of_a_name_apart(event: str, properties: dict[str, Any], detail: str) -> None:
    """NPS score or invoice, else feature, else page without its query, else the plan of subscriptions and trials."""
    assert detail_of(event, properties) == detail


@pytest.mark.parametrize(
    "seconds",
    [
        "abc",
        "",
        "1,5",
        "nan",
        "inf",
        "-1",
        "1" + "0" * 400,
        True,
        None,
        float("nan"),
        float("inf"),
        -1,
        1e10,
        10**400,
        [],
        {},
    ],
)
def test_a_duration_that_is_no_sane_number_counts_as_zero(seconds: object) -> None:
    """No wrong type and no absurd value raises or enters a sum."""
    assert value_of("login", {"duration_seconds": seconds}) == 0


def test_a_duration_counts_in_seconds() -> None:
    """Integers and floats are taken as they are."""
    assert value_of("login", {"duration_seconds": 90}) == 90
    assert value_of("login", {"duration_seconds": 0.5}) == 0.5
    assert value_of("login", {}) == 0


@pytest.mark.parametrize("text", ["49.00", "49", " 49 ", "4.9e1"])
def test_a_number_may_be_written_as_text(text: str) -> None:
    """Decimals come as text from many serializers."""
    assert value_of("invoice_paid", {"amount": text}) == 49
    assert value_of("login", {"duration_seconds": text}) == 49


def test_the_plan_is_its_text_or_none() -> None:
    """Blank and structured plans are none."""
    assert plan_of({"plan": " pro "}) == "pro"
    assert plan_of({"plan": ""}) is None
    assert plan_of({"plan": {"name": "pro"}}) is None
    assert plan_of({}) is None


@pytest.mark.parametrize("event", ["invoice_paid", "Payment Failed"])
def test_the_same_invoice_is_the_same_as_a_number_and_as_text(event: str) -> None:
    details = {detail_of(event, {"invoice_id": value}) for value in (1042, 1042.0, "1042", "1042\n")}
    assert len(details) == 1


@given(st.sampled_from([*RECOGNISED, "custom"]), st.dictionaries(names, anything, max_size=3))
def test_no_properties_raise_and_all_texts_can_be_stored(event: str, properties: dict[str, Any]) -> None:
    """Details and plans are at most 100 characters of UTF-8 without controls; values are finite."""
    for text in (detail_of(event, properties), plan_of(properties) or ""):
        assert len(text) <= 100
        assert all(ord(char) >= 32 and not 127 <= ord(char) < 160 for char in text)
        text.encode()
    assert 0 <= value_of(event, properties) <= 1e9
