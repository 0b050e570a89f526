"""The same event sent again is stored once: by its id or its content, in both lanes, over restarts."""

import gzip
import itertools
import json
import signal
from typing import Any

import httpx2
import pytest

from tests.acceptance.door import OK, TRACK, Door
from tests.waiting import wait_until
from tests.workers.events import event

numbers = itertools.count()
LONG_AGO = "2025-12-01T10:00:00Z"
lanes = pytest.mark.parametrize("timestamp", [None, LONG_AGO], ids=["live", "history"])


def someone() -> str:
    """A customer whom nobody knows yet."""
    return f"retry{next(numbers)}@example.com"


def send(client: httpx2.Client, *events: dict[str, Any]) -> None:
    answer = client.post(TRACK, json=events[0] if len(events) == 1 else {"events": events})
    assert (answer.status_code, answer.content) == (200, OK)


def restart(service: Door, *names: str) -> None:
    """Stop and start processes of the service, as a deployment does."""
    for name in names:
        service.line.processes[name].send_signal(signal.SIGTERM)
    for name in names:
        service.line.processes.pop(name).wait(timeout=20)
    service.line.start(*names)


@lanes
def test_an_event_id_is_stored_once(service: Door, client: httpx2.Client, timestamp: str | None) -> None:
    """With and without a timestamp, in one batch and in two requests, and whatever else changed meanwhile."""
    email = someone()
    sent = event(customer_email=email, timestamp=timestamp, event_id="order-1")
    send(client, sent)
    send(client, sent, sent)
    service.settle()
    send(client, sent | {"event": "other", "customer_email": f" {email.upper()}"})
    assert len(service.timeline(email)) == 1


def test_an_event_id_is_the_same_in_both_lanes(service: Door, client: httpx2.Client) -> None:
    """Sent live at first, and again by an import with its timestamp."""
    email = someone()
    send(client, event(customer_email=email, event_id="order-1"))
    service.settle()
    send(client, event(customer_email=email, event_id="order-1", timestamp=LONG_AGO))
    assert len(service.timeline(email)) == 1


def test_an_event_id_is_a_customers_own(service: Door, client: httpx2.Client) -> None:
    first, other = someone(), someone()
    send(client, event(customer_email=first, event_id="1"), event(customer_email=other, event_id="1"))
    send(client, event(customer_email=first, event_id="2"))
    assert (len(service.timeline(first)), len(service.timeline(other))) == (2, 1)


def test_a_timestamp_makes_equal_content_the_same_event(service: Door, client: httpx2.Client) -> None:
    """However the instant, the address and the order of the keys are written."""
    email = someone()
    send(client, event(customer_email=email, timestamp=LONG_AGO, properties={"a": 1, "b": {"c": 2, "d": 3}}))
    again = {"properties": {"b": {"d": 3, "c": 2}, "a": 1}, "timestamp": "2025-12-01T11:00:00.000+01:00"}
    send(client, event(customer_email=email.upper(), **again))
    assert len(service.timeline(email)) == 1
    send(client, event(customer_email=email, timestamp=LONG_AGO, properties={"a": 2}))
    send(client, event(customer_email=email, timestamp=LONG_AGO), event(customer_email=email, timestamp="2025-12-01"))
    assert len(service.timeline(email)) == 4


def test_an_event_without_identity_is_new_each_time(service: Door, client: httpx2.Client) -> None:
    email = someone()
    for _ in range(3):
        send(client, event(customer_email=email))
    send(client, event(customer_email=email), event(customer_email=email))
    assert len(service.timeline(email)) == 5


def test_both_halves_of_a_batch_may_be_sent_again(service: Door, client: httpx2.Client) -> None:
    """A producer that does not know how far it came sends what it likes again: parts, all, in any order."""
    email = someone()
    events = [event(customer_email=email, event_id=f"n{n}", properties={"n": n}) for n in range(100)]
    send(client, *events)
    send(client, *events[:50])
    send(client, *reversed(events[50:]))
    service.settle()
    send(client, *events[25:75], *(one | {"timestamp": LONG_AGO} for one in events[:25]))
    stored = service.timeline(email)
    assert sorted(one["properties"]["n"] for one in stored) == list(range(100))


@lanes
def test_a_retry_over_a_restart_of_everything_is_the_same_event(service: Door, timestamp: str | None) -> None:
    """Nothing of an event's identity lives in a process."""
    email = someone()
    sent = event(customer_email=email, timestamp=timestamp, event_id="order-1")
    with service.client() as client:
        send(client, sent)
        service.settle()
    restart(service, "web", "ingest", "import")
    with service.client() as client:
        send(client, sent)
        assert len(service.timeline(email)) == 1


def test_what_was_ok_before_a_kill_is_stored_after_it(service: Door) -> None:
    """`kill -9` of the web process right after its answer, with nobody there to store."""
    email = someone()
    service.line.kill("ingest")
    with service.client() as client:
        send(client, *[event(customer_email=email, properties={"n": n}) for n in range(100)])
    service.line.kill("web")
    service.line.start("web", "ingest")
    assert len(service.timeline(email)) == 100


def test_an_import_that_is_run_again_adds_nothing(service: Door, client: httpx2.Client) -> None:
    """1000 events in batches of 100, then all of it again in batches of 37, packed, in another order."""
    name = someone().partition("@")[0]
    events = [
        event(
            event=("login", "feature_used", "invoice_paid")[n % 3],
            customer_email=f"{name}.{n % 20}@example.com",
            timestamp=f"2025-{n % 12 + 1:02}-{n % 28 + 1:02}T10:{n % 60:02}:00Z",
            properties={"n": n},
        )
        for n in range(1000)
    ]
    for at in range(0, 1000, 100):
        send(client, *events[at : at + 100])
    service.settle()
    stored = "events JOIN customers USING (customer_id) WHERE email LIKE %s"
    assert service.count(stored, f"{name}.%") == 1000
    rollup = service.count(
        "customer_days JOIN customers USING (customer_id) WHERE email LIKE %s AND n > 0", f"{name}.%"
    )
    events.reverse()
    for at in range(0, 1000, 37):
        packed = gzip.compress(json.dumps({"events": events[at : at + 37]}).encode())
        assert client.post(TRACK, content=packed, headers={"Content-Encoding": "gzip"}).content == OK
    wait_until(service.is_empty)
    assert service.count(stored, f"{name}.%") == 1000
    again = service.count("customer_days JOIN customers USING (customer_id) WHERE email LIKE %s AND n > 0", f"{name}.%")
    assert again == rollup
