import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from starlette.testclient import TestClient

from api.app import create_app
from tests.workers.events import count, event, push, push_events
from workers import counters, heartbeat
from workers.buffer.lanes import HISTORY, LIVE
from workers.heartbeat import Beat
from workers.settings import Settings
from workers.store import Connection

TYPES = {
    "windback_events_accepted": "counter",
    "windback_events_rejected": "counter",
    "windback_events_stored": "counter",
    "windback_events_duplicate": "counter",
    "windback_events_dead": "counter",
    "windback_events_unaccounted": "gauge",
    "windback_events_unresolved": "gauge",
    "windback_buffer_events": "gauge",
    "windback_buffer_oldest_seconds": "gauge",
    "windback_buffer_stalled_seconds": "gauge",
    "windback_track_seconds": "histogram",
    "windback_ingest_batch_events": "histogram",
    "windback_ingest_seconds": "histogram",
    "windback_rescore_due": "gauge",
    "windback_server_up": "gauge",
    "windback_rescore_lag_seconds": "gauge",
    "windback_workers": "gauge",
    "windback_workers_stuck": "gauge",
}


@pytest.fixture(autouse=True)
def _nothing_counted_yet(redis: Redis) -> Iterator[None]:
    counters.flush_sync(redis)
    redis.flushall()
    yield
    counters.flush_sync(redis)


def families(client: TestClient) -> list[Any]:
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return list(text_string_to_metric_families(response.text))


def samples(client: TestClient) -> dict[str, float]:
    """The samples by name and label, written as in `windback_buffer_events live`."""
    all_samples = [sample for family in families(client) for sample in family.samples]
    return {" ".join([sample.name, *sample.labels.values()]): sample.value for sample in all_samples}


def test_every_metric_is_there_with_its_type(client: TestClient) -> None:
    """Before the first event, too."""
    assert {family.name: family.type for family in families(client)} == TYPES


def test_the_ledger_adds_up(client: TestClient, redis: Redis, work: Callable[[], None]) -> None:
    same = event(timestamp="2025-12-01T10:00:00Z")
    push_events(redis, event(), event(properties={"a": "\0"}))
    push_events(redis, same, same, same, lane=HISTORY)
    push(redis, b"\xc1garbage", events=2)
    before = samples(client)
    assert (before["windback_buffer_events live"], before["windback_buffer_events history"]) == (4, 3)
    assert before["windback_events_unaccounted"] == 0
    work()
    values = samples(client)
    assert (values["windback_events_accepted_total live"], values["windback_events_accepted_total history"]) == (4, 3)
    assert (values["windback_events_stored_total"], values["windback_events_duplicate_total"]) == (2, 2)
    assert values["windback_events_dead_total undecodable"] == 2
    assert values["windback_events_dead_total UntranslatableCharacter"] == 1
    assert (values["windback_events_unaccounted"], values["windback_buffer_events live"]) == (0, 0)
    assert values["windback_ingest_batch_events_count"] == values["windback_ingest_seconds_count"] == 2
    assert values["windback_ingest_batch_events_sum"] == 7


def test_what_left_the_buffer_for_nowhere_shows(client: TestClient, redis: Redis) -> None:
    push_events(redis, event(), event())
    redis.delete(LIVE.stream)
    assert samples(client)["windback_events_unaccounted"] == 2


def test_the_age_of_the_buffer_is_that_of_its_first_entry(client: TestClient, redis: Redis) -> None:
    seconds, _ = redis.time()
    redis.xadd(LIVE.stream, {"n": 1, "entry": b""}, id=f"{(seconds - 90) * 1000}-0")
    values = samples(client)
    later, _ = redis.time()
    assert 89 < values["windback_buffer_oldest_seconds live"] < 91 + later - seconds
    assert values["windback_buffer_oldest_seconds history"] == 0
    assert 89 < values["windback_buffer_stalled_seconds live"] < 91 + later - seconds


def test_counts_of_processes_are_told(client: TestClient, redis: Redis) -> None:
    counters.add("rejected", "timestamp_invalid", 3)
    for seconds in (0.0001, 0.02, 9.0):
        counters.observe("track_seconds", seconds)
    counters.flush_sync(redis)
    values = samples(client)
    assert values["windback_events_rejected_total timestamp_invalid"] == 3
    assert values["windback_track_seconds_bucket 0.0005"] == 1
    assert values["windback_track_seconds_bucket 0.025"] == 2
    assert values["windback_track_seconds_bucket +Inf"] == values["windback_track_seconds_count"] == 3


def test_the_service_adds_what_it_counted_when_it_ends(settings: Settings, redis: Redis) -> None:
    with TestClient(create_app(settings)):
        counters.add("rejected", "timestamp_invalid")
    assert redis.hget(counters.key("rejected"), "timestamp_invalid") == b"1"


def test_due_customers_and_their_lag_are_told(
    client: TestClient, redis: Redis, connection: Connection, work: Callable[[], None]
) -> None:
    push_events(redis, *[event(customer_email=f"c{n}@example.com") for n in range(3)])
    work()
    assert samples(client)["windback_rescore_due"] == 0
    assert count(connection, "customers") == 3
    began = time.monotonic()
    connection.execute("UPDATE customers SET rescore_at = now() - %s WHERE email < 'c2'", [timedelta(minutes=5)])
    values = samples(client)
    assert values["windback_rescore_due"] == 2
    assert 300 <= values["windback_rescore_lag_seconds"] < 301 + time.monotonic() - began


def test_workers_are_counted_by_kind(client: TestClient, redis: Redis) -> None:
    well, stuck = Beat("score", 9999, None, 10), Beat("score", 9999, 200, 150)
    for name, beat in {"one": well, "two": stuck, "three": msgspec.structs.replace(well, kind="clock")}.items():
        redis.eval(heartbeat.BEAT, 1, heartbeat.WORKERS, name, msgspec.json.encode(beat))
    values = samples(client)
    assert [values[f"windback_workers {kind}"] for kind in ("ingest", "import", "score", "deliver", "clock")] == [
        0,
        0,
        2,
        0,
        1,
    ]
    assert [values[f"windback_workers_stuck {kind}"] for kind in ("score", "clock")] == [1, 0]


def test_what_is_away_is_left_out(settings: Settings) -> None:
    postgres_away = Settings(database_url="postgresql://127.0.0.1:1/nowhere", redis_url=settings.redis_url)
    redis_away = Settings(database_url=settings.database_url, redis_url="redis://127.0.0.1:1")
    due = {"windback_rescore_due", "windback_rescore_lag_seconds"}
    with TestClient(create_app(postgres_away)) as client:
        assert {family.name for family in families(client)} == TYPES.keys() - due
    with TestClient(create_app(redis_away)) as client:
        assert {family.name for family in families(client)} == due | {"windback_server_up"}


def test_labels_tell_nothing_of_anyone(client: TestClient, redis: Redis, work: Callable[[], None]) -> None:
    push_events(redis, event(event="secret plan", properties={"a": "\0"}))
    work()
    text = client.get("/metrics").text
    assert "jane" not in text
    assert "secret" not in text
    labels = {label for family in families(client) for sample in family.samples for label in sample.labels}
    assert labels <= {"lane", "code", "reason", "kind", "le", "server", "cell"}
