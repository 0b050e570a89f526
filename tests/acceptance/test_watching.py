"""Metrics and status describe the events of all processes, whichever process answers."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from api.cli import main
from tests.acceptance.line import PatientLine, line
from tests.waiting import wait_until
from tests.workers.events import count, event
from workers.accounts import keys
from workers.settings import Settings
from workers.store import Connection

BATCH = 50
LIVE, AGAIN, MIXED = 40, 10, 6  # requests: live ones, the same old one again, ones of which half is refused
WANTED = {
    "windback_events_accepted_total live": LIVE * BATCH + MIXED,
    "windback_events_accepted_total history": AGAIN * BATCH,
    "windback_events_stored_total": (LIVE + 1) * BATCH + MIXED,
    "windback_events_duplicate_total": (AGAIN - 1) * BATCH,
    "windback_events_rejected_total timestamp_invalid": MIXED,
    "windback_events_rejected_total event_invalid": 1,
    "windback_events_rejected_total malformed_json": 1,
    "windback_events_rejected_total invalid_api_key": 1,
    "windback_track_seconds_count": LIVE + AGAIN + MIXED + 3,
    "windback_ingest_batch_events_sum": (LIVE + AGAIN) * BATCH + MIXED,
    "windback_events_unaccounted": 0,
    "windback_buffer_events live": 0,
    "windback_buffer_events history": 0,
    "windback_buffer_oldest_seconds live": 0,
    "windback_rescore_due": 0,
    "windback_workers ingest": 2,
    "windback_workers import": 1,
    "windback_workers score": 1,
    "windback_workers clock": 1,
    "windback_workers_stuck ingest": 0,
}


def scrape(url: str) -> dict[str, float]:
    """The samples by name and labels, asked over a connection of its own, so of any of the processes."""
    text = httpx2.get(f"{url}/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {" ".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def batch(number: int, timestamp: str | None = None) -> dict[str, object]:
    times = {"timestamp": timestamp} if timestamp else {}
    return {
        "events": [event(customer_email=f"c{n}@example.com", properties={"n": number}, **times) for n in range(BATCH)]
    }


@pytest.fixture
def status(settings: Settings) -> Callable[[], dict[str, Any]]:
    """The answer of `windback status --json`."""
    urls = {"DATABASE_URL": settings.database_url or "", "REDIS_URL": settings.redis_url or ""}

    def run() -> dict[str, Any]:
        report: dict[str, Any] = json.loads(CliRunner().invoke(main, ["status", "--json"], env=urls).stdout)
        return report

    return run


def send(url: str, secret: str) -> None:
    """The requests that WANTED is about, from four clients."""

    def post(body: object, key: str = secret) -> int:
        return httpx2.post(f"{url}/api/v1/track", json=body, headers={"X-API-Key": key}, timeout=30).status_code

    old = batch(0, "2025-12-01T10:00:00Z")
    good = [batch(number) for number in range(LIVE)] + [old] * AGAIN
    mixed = [{"events": [event(), event(timestamp="yesterday")]}] * MIXED
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(post, good)) == {200}
        assert set(pool.map(post, mixed)) == {207}
        assert [post({}), post([]), post(event(), "sk_live_unknown")] == [422, 400, 401]


def told(url: str) -> dict[str, float | None]:
    """The values of WANTED."""
    metrics = scrape(url)
    return {name: metrics.get(name) for name in WANTED}


def check_log(log: Path) -> None:
    """The log names what was stored, and holds no answer but those of /readyz."""
    records = [json.loads(record) for record in log.read_text().splitlines()]
    stored = [one for one in records if one["message"] == "ingested"]
    assert sum(one["stored"] for one in stored) == WANTED["windback_events_stored_total"]
    assert all(one["first_entry"] <= one["last_entry"] for one in stored if one["entries"] < 10)
    assert {one["endpoint"] for one in records if one["message"] == "answered"} <= {"readyz"}


def tell_often(url: str) -> list[dict[str, float | None]]:
    """The values of several answers: any process gives the same."""
    return [told(url) for _ in range(4)]


def test_the_metrics_are_what_happened_in_all_processes(
    settings: Settings,
    tmp_path: Path,
    connection: Connection,
    redis: Redis,
    status: Callable[[], dict[str, Any]],
) -> None:
    secret = keys.create(connection, redis, "acme").secret
    with line(settings, tmp_path / "line.log", PatientLine) as running:
        running.environment["WINDBACK_WEB_PROCESSES"] = "2"
        running.start("web", "ingest", "ingest.2", "import", "score", "deliver", "clock")
        send(running.url, secret)
        wait_until(lambda: tell_often(running.url) == [WANTED] * 4, timeout=90, interval=0.5)
        metrics = scrape(running.url)
        assert count(connection, "events") == WANTED["windback_events_stored_total"]
        assert metrics["windback_ingest_seconds_count"] == metrics["windback_ingest_batch_events_count"]

        ready = httpx2.get(f"{running.url}/readyz").json()
        assert set(ready["detail"].values()) == {"ok"}
        screen = status()
        assert screen["workers"]["ingest"]["alive"] == 2
        assert (screen["stuck"], screen["clock"], screen["postgres"]) == ([], True, "ok")

        running.terminate("ingest.2")
        assert scrape(running.url)["windback_workers ingest"] == 1
        running.terminate("import")
        missing = httpx2.get(f"{running.url}/readyz").json()["detail"]["workers"]
        assert missing == "no import process runs; start `python -m workers import`"
        running.stop()
    check_log(tmp_path / "line.log")
