"""Any bytes get an answer of the table, or a clean close; accepted events come back equal."""

import gzip
import itertools
import json
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.errors import CODES
from tests.acceptance.door import OK, TRACK, Door
from tests.workers.events import event

FEW = settings(max_examples=40, derandomize=True, deadline=None)
MANY = settings(FEW, max_examples=200)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
NUMBERS = (
    st.integers()
    | st.integers(-(10**300), 10**300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1e-308, 1e23, 0.1, -0.0, 2**53 + 1, 10**4000])
)
PROPERTIES = st.dictionaries(
    TEXT,
    st.recursive(
        st.none() | st.booleans() | NUMBERS | TEXT,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
        max_leaves=12,
    ),
    max_size=6,
)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=60).filter(str.strip)
FIELDS = st.sampled_from(["event", "customer_email", "properties", "timestamp", "event_id", "events", "x", "__proto__"])
OBJECTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("a@b.cd") | st.just("2025-12-01"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=10,
)
BODIES = st.binary(max_size=300) | OBJECTS.map(lambda value: json.dumps(value).encode())
numbers = itertools.count()


@pytest.fixture(scope="module")
def talker(service: Door) -> Iterator[httpx2.Client]:
    """One client for all examples: its connection has to bear whatever came before."""
    with service.client() as made:
        yield made


@MANY
@given(body=BODIES, packed=st.sampled_from(["", "gzip", "torn"]))
def test_any_body_has_an_answer_of_the_table(talker: httpx2.Client, body: bytes, packed: str) -> None:
    """Never a 500, never a hang, always JSON with a code that is documented."""
    encoding = {"Content-Encoding": "gzip"} if packed else {}
    content = {"": body, "gzip": gzip.compress(body), "torn": gzip.compress(body)[: len(body)]}[packed]
    answer = talker.post(TRACK, content=content, headers=encoding)
    assert answer.headers["content-type"] == "application/json"
    body_of_answer = answer.json()
    if answer.status_code in (200, 207):
        assert body_of_answer["status"] == {200: "ok", 207: "partial"}[answer.status_code]
    else:
        assert CODES[body_of_answer["code"]].status == answer.status_code != 500


@MANY
@given(
    headers=st.lists(
        st.tuples(
            st.sampled_from([b"X-API-Key", b"Content-Encoding", b"Content-Type", b"Origin", b"Accept", b"X-\xff", b"Y"])
            | st.binary(min_size=1, max_size=8).map(lambda name: b"X-" + name),
            st.binary(max_size=100),
        ),
        max_size=8,
    )
)
def test_any_headers_have_an_answer_or_a_clean_close(service: Door, headers: list[tuple[bytes, bytes]]) -> None:
    body = json.dumps(event()).encode()
    lines = [b": ".join(part.translate(None, b"\r\n") for part in header) for header in headers]
    head = b"\r\n".join([b"POST /api/v1/track HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(body), *lines])
    wire = service.wire(timeout=5).send(head + b"\r\n\r\n" + body)
    with suppress(EOFError, ConnectionError):
        answer = wire.answer()
        assert answer.status < 500
        assert answer.headers["content-type"].startswith(("application/json", "text/plain"))
    wire.close()


@pytest.mark.parametrize(
    "lines", [["X-Y: " + "a" * 200_000], [f"X-{n}: a" for n in range(2_000)]], ids=["a huge one", "very many"]
)
def test_unreasonable_headers_have_an_answer_or_a_clean_close(service: Door, lines: list[str]) -> None:
    wire = service.wire(timeout=5)
    with suppress(EOFError, ConnectionError):
        assert wire.send(service.request(json.dumps(event()).encode(), *lines)).answer().status < 500
    wire.close()
    assert service.is_up()


@FEW
@given(events=st.lists(st.tuples(NAMES, PROPERTIES), min_size=1, max_size=10))
def test_what_was_accepted_is_read_back_equal(
    service: Door, talker: httpx2.Client, events: list[tuple[str, dict[str, Any]]]
) -> None:
    """Unicode, numbers of any length, empty and nested objects: equal as JSON, to the last digit."""
    email = f"equal{next(numbers)}@example.com"
    sent = [
        event(event=name, customer_email=email, properties=properties, timestamp=f"2025-12-01T10:00:{n:02}Z")
        for n, (name, properties) in enumerate(events)
    ]
    assert talker.post(TRACK, content=json.dumps({"events": sent})).content == OK
    service.settle()
    text = talker.get(f"/api/v1/customers/{email}/events").text
    stored = _exact(text)["events"]
    expected = _exact(json.dumps([(one["event"], one["timestamp"], one["properties"]) for one in reversed(sent)]))
    assert [[one["event"], one["timestamp"], one["properties"]] for one in stored] == expected


def _exact(text: str) -> Any:
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def test_nothing_of_this_was_an_error_of_ours(service: Door) -> None:
    """After all of the above: no dead letter, no traceback in the log."""
    service.settle()
    assert service.count("dead_letters") == 0
    assert "Traceback" not in service.log.read_text()
