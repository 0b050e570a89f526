"""The filters with which templates phrase times, numbers and names."""

from datetime import UTC, datetime, timedelta

import pytest

from api.dashboard import filters

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "text"),
    [
        (timedelta(seconds=5), "just now"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(hours=5, minutes=59), "5 hours ago"),
        (timedelta(days=45), "1 month ago"),
        (timedelta(days=800), "2 years ago"),
        (timedelta(hours=-3), "in 3 hours"),
    ],
)
def test_times_are_relative_with_the_exact_one_on_hover(before: timedelta, text: str) -> None:
    at = NOW - before
    exact = f'datetime="{at:%Y-%m-%dT%H:%M:%SZ}" title="{at:%-d %b %Y, %H:%M:%S} UTC"'
    assert filters.ago(at, NOW) == f"<time {exact}>{text}</time>"
    assert filters.ago(None) == "never"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (12, "12 s"),
        (119, "119 s"),
        (600, "10 min"),
        (9000, "2 h"),
        (400_000, "5 days"),
        (4169 * 86400, "11 years"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert filters.span(seconds).replace(filters.NO_BREAK, " ") == text


def test_text_of_strangers_stays_text_and_stays_short() -> None:
    assert filters.isolate("<b>\u202e") == "<bdi>&lt;b&gt;\u202e</bdi>"
    long = filters.isolate("x" * 1_000_000)
    assert len(long) < 2000
    assert long.endswith("…</bdi>")


def test_an_address_breaks_at_its_sign() -> None:
    assert filters.mail("<b>@acme.com") == "<bdi>&lt;b&gt;<wbr>@acme.com</bdi>"
    assert "<wbr>" not in filters.mail(f"{'x' * 300}@acme.com")


def test_an_address_is_a_part_of_a_path_whatever_is_in_it() -> None:
    assert filters.path("a/b?c#d%@e.fg") == "a%2Fb%3Fc%23d%25@e.fg"


def test_our_own_text_may_have_code() -> None:
    assert filters.code("run `<x>` now") == "run <code>&lt;x&gt;</code> now"


def test_a_query_leaves_out_what_is_none() -> None:
    assert filters.link("/customers", {"email": "a+b@c", "level": None, "state": ""}) == "/customers?email=a%2Bb%40c"
    assert filters.link("/customers", {}) == "/customers"
