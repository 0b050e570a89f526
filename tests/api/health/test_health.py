import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import msgspec
import psutil
import pytest
from redis import Redis
from starlette.testclient import TestClient

from api.app import create_app
from api.headers import SECURITY
from api.server.graceful import draining
from tests.api.command_line import Run
from tests.waiting import SOON, wait_until
from tests.workers.events import event, push_events
from workers import heartbeat, installation, lease
from workers.accounts.keys import NewKey
from workers.buffer import ledger
from workers.buffer.lanes import HISTORY
from workers.heartbeat import Beat
from workers.settings import Settings
from workers.store import Connection
from workers.tickets import JOBS


@pytest.fixture
def with_clock(redis: Redis) -> None:
    """A clock is active, and a worker of each kind runs."""
    lease.hold(redis, "clock")
    for kind in JOBS:
        says(redis, kind)


def says(redis: Redis, kind: str, busy: float | None = None, progress: float | None = None) -> None:
    """A process of this kind says for how long it has been busy, and when it last got something done."""
    redis.eval(
        heartbeat.BEAT, 1, heartbeat.WORKERS, f"the {kind}", msgspec.json.encode(Beat(kind, 9999, busy, progress))
    )


@contextmanager
def stopped(processes: list[psutil.Process]) -> Iterator[None]:
    """Processes that hang: they neither answer nor end."""
    for process in processes:
        process.suspend()
    wait_until(lambda: {process.status() for process in processes} <= {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE})
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def detail(client: TestClient) -> dict[str, str]:
    response = client.get("/readyz")
    assert response.status_code == 200
    parts: dict[str, str] = response.json()["detail"]
    return parts


def test_a_running_process_is_healthy(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.usefixtures("with_clock")
def test_it_is_ready_when_events_can_be_taken(client: TestClient) -> None:
    assert detail(client) == dict.fromkeys(("redis", "postgres", "buffer", "clock", "workers", "tracking"), "ok")


def test_a_redis_that_may_evict_the_buffer_is_not_ready(client: TestClient, redis: Redis) -> None:
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        response = client.get("/readyz")
    finally:
        redis.config_set("maxmemory-policy", "noeviction")
    assert (response.status_code, response.json()["code"]) == (503, "not_ready")
    assert "noeviction" in response.json()["message"]


def test_a_redis_that_does_not_take_writes_is_not_ready(client: TestClient, redis: Redis) -> None:
    redis.client_pause(60_000, all=False)
    assert client.get("/readyz").status_code == 503
    redis.client_unpause()
    assert client.get("/readyz").status_code == 200


def test_a_redis_that_hangs_is_not_ready_within_a_second(client: TestClient, redis: Redis) -> None:
    redis.client_pause(4_000, all=True)
    began = time.monotonic()
    assert client.get("/readyz").status_code == 503
    assert time.monotonic() - began < SOON
    assert client.get("/metrics").status_code == 200
    redis.client_unpause()


def test_postgres_is_reported_and_not_required(settings: Settings) -> None:
    url = "postgresql://127.0.0.1:1/nowhere"
    with TestClient(create_app(Settings(database_url=url, redis_url=settings.redis_url))) as client:
        began = time.monotonic()
        assert detail(client)["postgres"].startswith("Postgres doesn't answer: ")
        assert time.monotonic() - began < SOON


def test_a_postgres_that_hangs_is_reported_within_a_second(client: TestClient, connection: Connection) -> None:
    wait_until(lambda: detail(client)["postgres"] == "ok")
    postmaster = psutil.Process(connection.info.backend_pid).parent()
    assert postmaster
    with ExitStack() as stack:
        stack.enter_context(stopped([postmaster]))  # from here on there are no new ones
        stack.enter_context(stopped(postmaster.children()))
        began = time.monotonic()
        assert "no answer within" in detail(client)["postgres"]
        assert time.monotonic() - began < SOON
        assert "windback_rescore_due" not in client.get("/metrics").text
        assert time.monotonic() - began < SOON
    wait_until(lambda: detail(client)["postgres"] == "ok")


def test_a_missing_clock_and_a_buffer_that_nobody_empties_are_said(
    client: TestClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "STALLED_SECONDS", 0.0)
    push_events(redis, event(), event(), lane=HISTORY)
    parts = detail(client)
    assert parts["buffer"].startswith("2 history events wait, and none was stored for ")
    assert "clock" in parts["clock"]
    assert "no import process runs; start `python -m workers import`" in parts["workers"]


@pytest.mark.usefixtures("with_clock")
def test_a_worker_that_hangs_is_said(client: TestClient, redis: Redis) -> None:
    says(redis, "import", busy=200, progress=150)
    assert detail(client)["workers"] == "import the import has got nothing done for 150 seconds"


@pytest.mark.usefixtures("with_clock")
def test_rescores_that_nobody_does_are_said(client: TestClient, redis: Redis, connection: Connection) -> None:
    """Though the workers look well; and not as long as any of them gets something done."""
    connection.execute(
        """INSERT INTO customers (customer_id, account_id, email, first_seen, last_seen, rescore_at)
        VALUES (gen_random_uuid(), 1, 'jane@example.com', now(), now(), now() - interval '10 minutes')"""
    )
    for progress in (None, 300.0):
        says(redis, "score", progress=progress)
        assert detail(client)["workers"].startswith("rescores have been due for 60")
    says(redis, "score", busy=2.0, progress=1.0)
    assert detail(client)["workers"] == "ok"


def test_a_process_that_drains_is_not_ready_and_serves(client: TestClient) -> None:
    draining.set()
    try:
        response = client.get("/readyz")
        assert (response.status_code, response.json()["code"]) == (503, "not_ready")
        assert client.get("/healthz").status_code == 200
    finally:
        draining.clear()


def test_a_full_buffer_is_not_ready(settings: Settings, redis: Redis) -> None:
    """Events are refused; live ones are still taken where only history is, so that is reported alone."""
    small = msgspec.structs.replace(settings, buffer_events=4)
    with TestClient(create_app(small)) as client:
        push_events(redis, event(), event())
        wait_until(lambda: "full for history events" in detail(client)["buffer"])
        push_events(redis, event(), event())
        wait_until(lambda: client.get("/readyz").status_code == 503)
        assert "full for live and history events: it holds 4 events" in client.get("/readyz").json()["message"]
        redis.flushall()
        wait_until(lambda: client.get("/readyz").status_code == 200)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/docs", 200),
        ("GET", "/healthz/", 404),
        ("GET", "/nowhere", 404),
        ("POST", "/healthz", 405),
        ("GET", "/api/v1/customers", 401),
        ("POST", "/api/v1/track", 401),
        ("GET", "/readyz", 500),
    ],
)
def test_every_answer_has_the_security_headers(
    client: TestClient, method: str, path: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if status == 500:
        monkeypatch.delattr("api.health.probes.describe_buffer")
    response = client.request(method, path)
    assert response.status_code == status
    for answer in [*response.history, response]:
        for name, value in SECURITY:
            assert answer.headers.get_list(name.decode()) == [value.decode()]


@pytest.mark.usefixtures("with_clock")
def test_an_account_whose_tracking_is_out_is_reported(client: TestClient, connection: Connection) -> None:
    connection.execute("INSERT INTO outages VALUES (7, '2025-12-01T10:00Z', NULL), (8, '2025-12-01', '2025-12-02')")
    tracking = detail(client)["tracking"]
    assert tracking == "next to no events of account 7 since 2025-12-01T10:00Z: the risks stand still"


@pytest.fixture
def read_only(connection: Connection) -> Iterator[None]:
    """Postgres answers and only reads, as a standby does."""
    name = connection.info.dbname
    connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    yield
    connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")


def test_a_postgres_that_only_reads_is_named_and_answers_503(settings: Settings, key: NewKey, read_only: None) -> None:
    """By the routes that write; those that read go on, and so does tracking."""
    headers = {"X-API-Key": key.secret}
    with TestClient(create_app(settings), raise_server_exceptions=False, headers=headers) as client:
        assert "only reads" in detail(client)["postgres"]
        answer = client.delete("/api/v1/customers/jane@example.com")
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert client.get("/api/v1/customers").status_code == 200
        assert client.post("/api/v1/track", json=event()).status_code == 200


def test_commands_say_in_one_line_that_postgres_only_reads(run: Run, key: NewKey, read_only: None) -> None:
    for command in (["keys", "create", "--account", "acme"], ["customers", "erase", "jane@example.com"]):
        done = run(*command)
        assert done.exit_code == 1
        assert done.stderr.startswith("Error: DATABASE_URL: Postgres can't do it now:")
        assert done.stderr.count("\n") == 1


def test_a_redis_without_an_append_only_file_is_ready_and_named(client: TestClient, redis: Redis) -> None:
    redis.config_set("appendonly", "no")
    try:
        assert client.get("/readyz").status_code == 200
        assert "appendonly yes" in detail(client)["redis"]
    finally:
        redis.config_set("appendonly", "yes")
        wait_until(lambda: not redis.info("persistence")["aof_rewrite_in_progress"], timeout=30)


def test_a_redis_of_another_installation_is_not_ready(client: TestClient, redis: Redis) -> None:
    redis.set(installation.KEY, "another")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert "WINDBACK_REDIS_PREFIX" in answer.json()["message"]
