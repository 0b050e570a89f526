"""The cost of alerts for rescoring, the messages a second of one deliver worker, and the delay of the first message."""

import http.client
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median
from typing import Any
from unittest.mock import patch

import msgspec

from tests.acceptance.line import line
from tests.bench import stream
from tests.bench.measure import Line, interleaved, per_second
from tests.bench.rescore import FULL, fill_customers
from tests.bench.world import World
from tests.waiting import wait_until
from tests.workers.alerts.worlds import alert, rise
from tests.workers.worlds import account
from workers.accounts import keys
from workers.alerts import deliver, webhooks
from workers.risk import rescore
from workers.settings import Settings
from workers.store import connect

MESSAGES = 3_000
EVENTS = 5  # whose way to the receiver is timed
ONE_ACCOUNT = 1
TROUBLE = ("refund_requested", "invoice_overdue", "subscription_downgraded", "support_ticket_opened")


def run(world: World) -> list[Line]:
    """The outbox beside rescoring without it; the others alone."""
    with world.database(name=FULL) as url:
        fill_customers(url)
        runs = {"with": partial(_rescore, world, True), "without": partial(_rescore, world, False)}
        measured = interleaved(runs, world.rounds)
    sent = interleaved({"deliver": partial(_deliver, world)}, world.rounds)["deliver"][0]
    seconds = _way(world)
    return [
        Line("alerts: rescoring with the outbox, and without",
             measured["with"][0], "customers/s", measured["without"][0], "at least 0.97"),
        Line("alerts: messages of one deliver worker to loopback", sent, "messages/s", None, "goal 500"),
        Line("alerts: from an event to the receiver, median", seconds, "s", None, "at most 2"),
    ]  # fmt: skip


def _rescore(world: World, with_outbox: bool) -> list[float]:
    with world.database(FULL) as url, world.process(url) as process:
        account(process.connection())
        webhooks.create(process.connection(), ONE_ACCOUNT, "http://127.0.0.1:9/")

        def work() -> None:
            while rescore.rescore_due(process):
                pass

        if with_outbox:
            return per_second(stream.CUSTOMERS, work)
        with patch.object(rescore, "write_alerts", lambda *arguments: 0):
            return per_second(stream.CUSTOMERS, work)


def _deliver(world: World) -> list[float]:
    with world.database() as url, world.process(url) as process, _receiver() as (port, _):
        process.settings = msgspec.structs.replace(
            process.settings, webhook_private_addresses=True, alerts_per_hour=10 * MESSAGES
        )
        connection = process.connection()
        account_id = account(connection)
        webhooks.create(connection, account_id, f"http://127.0.0.1:{port}/")
        for first in range(0, MESSAGES, 500):
            rises = [rise(connection, account_id, f"c{first + k}@example.com") for k in range(500)]
            alert(connection, account_id, rises)
        connection.execute("VACUUM ANALYZE")

        def work() -> None:
            left = MESSAGES
            while left:
                left -= deliver.drain(process)

        rate = per_second(MESSAGES, work)
        deliver.close(process)
        return rate


def _way(world: World) -> float:
    """Seconds from an event's answer to the receiver, on a quiet line: each of another customer in trouble."""
    with world.database() as url, world.process(url) as process, _receiver() as (port, seen):
        settings: Settings = process.settings
        secret = keys.create(process.connection(), process.redis, "acme").secret
        account_id = account(process.connection())
        webhooks.create(process.connection(), account_id, f"http://127.0.0.1:{port}/")
        with line(settings, world.folder / "line.log") as running:
            levels = {"WINDBACK_LEVEL_MEDIUM": "8", "WINDBACK_LEVEL_HIGH": "12"}
            running.environment |= {"WINDBACK_WEBHOOK_PRIVATE_ADDRESSES": "true", **levels}
            running.start()
            emails = [f"c{number}@example.com" for number in range(EVENTS)]
            _track(running.port, secret, *(_login(email, day) for email in emails for day in range(40, 0, -1)))
            _settle(url, EVENTS)
            took = [_one(running.port, secret, email, seen) for email in emails]
            running.stop()
    return median(took)


def _one(port: int, secret: str, email: str, seen: list[float]) -> float:
    already, sent = len(seen), time.time()
    _track(port, secret, *({"event": event, "customer_email": email} for event in TROUBLE))
    wait_until(lambda: len(seen) > already, timeout=60)
    return seen[already] - sent


def _settle(url: str, customers: int) -> None:
    """Until every customer has a first risk that is recorded, and may be scored again."""
    with connect(url) as connection:
        query = "SELECT count(*) FROM customers WHERE recorded_at < now() - interval '6 seconds' AND NOT provisional"
        wait_until(lambda: connection.execute(query).fetchone() == (customers,), timeout=120, interval=0.5)


def _login(email: str, days: int) -> dict[str, Any]:
    return {
        "event": "login",
        "customer_email": email,
        "timestamp": (datetime.now(UTC) - timedelta(days=days)).isoformat(),
    }


def _track(port: int, secret: str, *events: dict[str, Any]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for first in range(0, len(events), 100):
        body = msgspec.json.encode({"events": events[first : first + 100]})
        connection.request("POST", "/api/v1/track", body, {"X-API-Key": secret})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
    connection.close()


@contextmanager
def _receiver() -> Iterator[tuple[int, list[float]]]:
    """A receiver's port, and when its messages came."""
    command = [sys.executable, "-m", "tests.bench.receiver"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port, seen = int(process.stdout.readline()), []  # type: int, list[float]
        lines = process.stdout
        thread = threading.Thread(target=lambda: seen.extend(float(text) for text in lines), daemon=True)
        thread.start()
        try:
            yield port, seen
        finally:
            process.kill()
            thread.join()
