"""A flood through a publishable key, which anybody can read, and a flood of keys that nobody has: good keys are served
as before, and the probes say so.

How fast is a matter of the machine, so what counts is the order: a good request waits for those before it, not for the
whole flood.
"""

import gzip
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import pytest

from tests.acceptance.door import OK, Door
from tests.waiting import wait_until
from tests.workers.events import event

CONNECTIONS = 16
GOOD_REQUESTS = 60
PROBES = 5
ROUNDS = 5  # of answers to the flood, that a good request may wait for as a rule
GOOD = json.dumps(event(event="good")).encode()
HEALTH, READY = (f"GET /{path} HTTP/1.1\r\nHost: windback\r\n\r\n".encode() for path in ("healthz", "readyz"))

Make = Callable[[Door, int], bytes]


def valid(service: Door, number: int) -> bytes:
    return service.request(json.dumps(event(event_id=f"flood.{number}")).encode(), key=service.publishable)


def batches(service: Door, number: int) -> bytes:
    body = json.dumps({"events": [event(properties={"a": "x" * 300})] * 100}).encode()
    return service.request(gzip.compress(body), "Content-Encoding: gzip", key=service.publishable)


def refused(service: Door, number: int) -> bytes:
    body = json.dumps({"events": [{"event": number % 7, "more": [[]] * 2_000}] * 20}).encode()
    return service.request(body, key=service.publishable)


def unknown(service: Door, number: int) -> bytes:
    return service.request(GOOD, key=f"sk_live_{number:024}")


def no_key(service: Door, number: int) -> bytes:
    return service.request(GOOD, key="nonsense")


class Flood:
    """Connections that each send the next request when the one before is answered."""

    def __init__(self, service: Door, make: Make) -> None:
        self.answers: Counter[int] = Counter()
        self._service, self._make = service, make
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(CONNECTIONS)]

    @contextmanager
    def running(self) -> Iterator["Flood"]:
        """Flood until the end of the block."""
        for thread in self._threads:
            thread.start()
        try:
            wait_until(lambda: self.total > CONNECTIONS, timeout=60)
            yield self
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()

    @property
    def total(self) -> int:
        """The number of answered requests."""
        return sum(self.answers.values())

    def _run(self) -> None:
        wire = self._service.wire(timeout=60)
        while not self._over.is_set():
            wire.send(self._make(self._service, next(self._numbers)))
            self.answers[wire.answer().status] += 1
        wire.close()


@pytest.mark.parametrize(
    ("make", "statuses"),
    [(valid, {200, 429}), (batches, {200, 429}), (refused, {422, 429}), (unknown, {401}), (no_key, {401})],
)
def test_a_flood_makes_no_good_key_wait_for_its_end(service: Door, make: Make, statuses: set[int]) -> None:
    fresh = [service.other_account() for _ in range(3)]
    waited, probes = [], []
    with Flood(service, make).running() as flood:
        wire = service.wire(timeout=60)
        for number in range(GOOD_REQUESTS):
            before = flood.total
            assert wire.send(service.request(GOOD)).answer().body == OK
            waited.append(flood.total - before)
            if number % (GOOD_REQUESTS // PROBES) == 0:
                probes += [service.once(HEALTH).status, service.once(READY).status]
        answers = [service.once(service.request(GOOD, key=key)).body for key in fresh]  # looked up in the flood
        wire.close()
    assert answers == [OK] * len(fresh)
    assert set(probes) == {200}
    assert flood.answers.keys() <= statuses
    assert median(waited) <= ROUNDS * CONNECTIONS, waited
    wait_until(service.is_empty, timeout=120)
