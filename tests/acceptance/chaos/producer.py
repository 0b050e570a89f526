"""A producer as they are: several connections, all kinds of requests, retries where these are safe.

An event that brings an event_id or a timestamp is sent again until it is answered for. One without either would be a
new event each time, so it isn't. Every event carries a mark of its own in its properties, by which the audit knows it.
"""

import gzip
import http.client
import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

CUSTOMERS = 60
ANSWER_SECONDS = 10.0
RETRY_SECONDS = (0.05, 1.0)
NAMES = ("login", "feature_used", "page_viewed", "support_ticket_opened", "nps_response", "subscription_upgraded")
PLANS = ("free", "pro", "team")
FEATURES = ("exports", "reports", "alerts")
LARGE = 0.02  # the share of events of 20 KB
NEW, NEW_SECONDS = 0.05, 2.0  # the share of events of a brand-new customer, and how often there is another one
LATER = 0.05  # the share of acknowledged requests that are sent once more, as an import that is run again does


@dataclass
class Sent:
    """An event that was sent, whether it was ever answered for, and when."""

    event: dict[str, Any]
    acknowledged: bool = False
    answered_at: float = 0.0  # monotonic, the first time


@dataclass
class Request:
    """A body, and the events in it that are valid. `safe`: sent again it is the same."""

    body: bytes
    headers: dict[str, str]
    valid: list[Sent]
    safe: bool
    path: str = "/api/v1/track"


@dataclass
class Connection:
    """A thread of the producer, and its sent events by mark."""

    number: int
    port: int
    key: str
    seed: int
    pace_seconds: float
    sent: dict[str, Sent] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    slowest_seconds: float = 0.0
    patience: float = 60.0  # seconds, once told to stop
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._chance = random.Random(f"{self.seed}/{self.number}")
        self._marks = iter(range(10**9))
        self._http = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)

    def run(self) -> None:
        """Send until told to stop; what is safe to repeat, until it is answered for."""
        while not self.stopping.wait(self._chance.expovariate(1 / self.pace_seconds)):
            request = self._request()
            self.deliver(request)
            if request.safe and self._chance.random() < LATER:
                self.deliver(request)
        self.close()

    def close(self) -> None:
        """Close the connection; another request opens it again."""
        self._http.close()

    def deliver(self, request: Request) -> None:
        """Send a request until it is answered for, if it is safe to repeat."""
        pause, longest = RETRY_SECONDS
        while not self._send(request) and request.safe:
            assert self.patience > 0, "the door stays closed"
            time.sleep(pause)
            self.patience -= pause if self.stopping.is_set() else 0
            pause = min(pause * 2, longest)

    def _send(self, request: Request) -> bool:
        began = time.monotonic()
        try:
            self._http.request("POST", request.path, request.body, request.headers)
            answer = self._http.getresponse()
            answer.read()
            status = str(answer.status)
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            status = type(error).__name__
        self.answers[status] = self.answers.get(status, 0) + 1
        if status.isdigit():
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
        if status not in ("200", "207"):
            assert status == "503" or not status.isdigit(), f"a request of ours was refused with {status}"
            return False
        for one in request.valid:
            one.answered_at = one.answered_at or time.monotonic()
            one.acknowledged = True
        return True

    def _request(self) -> Request:
        chance = self._chance
        safe, past = chance.random() < 0.7, chance.random() < 0.3
        events = [self._event(safe or past, past) for _ in range(chance.choice((1, 1, 1, 20, 99)))]
        bodies = [event.event for event in events]
        if len(events) > 1 and chance.random() < 0.2:
            bodies.insert(chance.randrange(len(bodies)), {"event": "login", "customer_email": "nobody"})  # a 207
        body = json.dumps({"events": bodies} if len(bodies) > 1 else bodies[0]).encode()
        headers = {"X-API-Key": self.key}
        if chance.random() < 0.3:
            body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        return Request(body, headers, events, safe or past)

    def _event(self, safe: bool, past: bool) -> Sent:
        """An event of any kind: `safe` with an event_id, a timestamp or both; `past` with a timestamp of days ago."""
        chance = self._chance
        mark = f"{self.number}.{next(self._marks)}"
        name = chance.choice(NAMES)
        properties: dict[str, Any] = {"mark": mark, "plan": chance.choice(PLANS)}
        if name == "feature_used":
            properties["feature"] = chance.choice(FEATURES)
        if name == "nps_response":
            properties["score"] = chance.randrange(11)
        if name == "page_viewed":
            properties |= {"page": "/home", "duration_seconds": chance.randrange(300)}
        if chance.random() < LARGE:
            properties["numbers"] = list(range(4_000))
        customer = f"c{chance.randrange(CUSTOMERS)}@example.com"
        if chance.random() < NEW:  # whom all connections meet at the same moment, for the first time
            customer = f"new{int(time.time() / NEW_SECONDS)}@example.com"
        event: dict[str, Any] = {"event": name, "customer_email": customer, "properties": properties}
        if safe and (identified := chance.random() < 0.5):
            event["event_id"] = mark
        if past or (safe and (not identified or chance.random() < 0.5)):
            age = timedelta(days=chance.uniform(2, 200)) if past else timedelta(seconds=chance.uniform(0, 3600))
            event["timestamp"] = (datetime.now(UTC) - age).isoformat()
        sent = self.sent[mark] = Sent(event)
        return sent


C = TypeVar("C", bound=Connection)


class Account(Generic[C]):
    """An account with one connection, in a thread of its own."""

    def __init__(self, name: str, connection: C) -> None:
        self._connection = connection
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._connection.run()
        except BaseException as error:
            self._fault = error

    def finish(self) -> dict[str, Sent]:
        """Stop, once everything was answered for. Returns what was sent, by mark. Raises what went wrong meanwhile."""
        self._connection.stopping.set()
        self._thread.join()
        if self._fault:
            raise self._fault
        return self._connection.sent


class Producer:
    """All connections."""

    def __init__(self, port: int, key: str, seed: int, connections: int, pace_seconds: float) -> None:
        self._all = [Connection(number, port, key, seed, pace_seconds) for number in range(connections)]
        self._pool = ThreadPoolExecutor(connections, "producer")
        self._runs = [self._pool.submit(one.run) for one in self._all]

    def finish(self) -> None:
        """Stop, once everything that is safe to repeat has been answered for. Raises what went wrong in a thread."""
        for one in self._all:
            one.stopping.set()
        self._pool.shutdown()
        for run in self._runs:
            run.result()

    @property
    def sent(self) -> dict[str, Sent]:
        """The sent events, by mark."""
        return {mark: sent for one in self._all for mark, sent in one.sent.items()}

    @property
    def answers(self) -> dict[str, int]:
        """The number of requests by status, or by the exception in place of an answer."""
        total: dict[str, int] = {}
        for one in self._all:
            for status, count in one.answers.items():
                total[status] = total.get(status, 0) + count
        return total
