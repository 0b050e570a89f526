"""A session with Postgres is what our queries need, whatever stands between, and whoever else uses the server."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
import pytest
from redis import Redis

from api.up import embedded, packaged_servers
from tests.pooler import pooler
from tests.waiting import wait_until
from tests.workers.events import count, event, push_events
from workers.buffer.lanes import LIVE
from workers.cells import Cell
from workers.ingest import ingest
from workers.ingest.ingest import drain
from workers.process import Process
from workers.settings import Settings
from workers.store import Connection, connect, only_row, sql
from workers.store.faults import find_write_fault
from workers.store.migrate import NoRight, NotOurs, migrate
from workers.store.sessions import TransactionPooling
from workers.upkeep import totals


@pytest.fixture(autouse=True)
def _no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "LINGER_SECONDS", 0.001)


@pytest.fixture
def empty_url(database_url: str) -> str:
    """A database with nothing in it."""
    with connect(database_url) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return database_url


def show(connection: Connection, *names: str) -> list[str]:
    return [str(only_row(connection.execute(f"SHOW {name}"))[0]) for name in names]


def with_options(url: str, options: str) -> str:
    return f"{url}&options={quote(options)}"


def test_a_pooler_in_session_mode_changes_nothing(empty_url: str, redis: Redis, settings: Settings) -> None:
    """The schema is made, events are stored and counted, and each session has its limits and its time zone."""
    with pooler(empty_url, "session") as url:
        migrate(url)
        process = Process(Settings(database_url=url, redis_url=settings.redis_url), redis)
        push_events(redis, event(), event(customer_email="joe@example.com"))
        drain(process, LIVE)
        connection = process.connection()
        assert totals.tally(connection)
        assert only_row(connection.execute("SELECT sum(n) FROM event_days")) == (2,)
        assert show(connection, "timezone", "statement_timeout", "lock_timeout") == ["UTC", "50s", "20s"]
        process.disconnect()


@pytest.mark.parametrize(
    "more", ["", "ignore_startup_parameters = extra_float_digits,options", "default_pool_size = 1"]
)
def test_a_pooler_in_transaction_mode_is_refused_in_words(empty_url: str, more: str) -> None:
    with pooler(empty_url, "transaction", more) as url:
        for _ in range(2):
            with pytest.raises(TransactionPooling, match="pool_mode = session"):
                connect(url)
        with pytest.raises(TransactionPooling):
            migrate(url)


def test_a_pooler_in_session_mode_with_few_connections_is_not_refused(empty_url: str) -> None:
    """Nobody can say which mode it is while its only connection is in use: it is taken as it is."""
    with (
        pooler(empty_url, "session", "default_pool_size = 2") as url,
        connect(url) as connection,
    ):
        assert show(connection, "timezone") == ["UTC"]


@pytest.mark.parametrize("way", ["url", "environment"])
def test_a_search_path_is_kept(empty_url: str, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    with connect(empty_url) as connection:
        connection.execute("CREATE SCHEMA wb; CREATE TABLE public.customers (shop text)")
    url = with_options(empty_url, "-csearch_path=wb") if way == "url" else empty_url
    if way == "environment":
        monkeypatch.setenv("PGOPTIONS", "-c search_path=wb")
    migrate(url)
    assert migrate(url) == []
    with connect(url) as connection:
        tables = "SELECT schemaname, count(*) FROM pg_tables WHERE schemaname IN ('wb', 'public') GROUP BY 1"
        counted: dict[str, int] = dict(connection.execute(tables).fetchall())
        assert counted["public"] == 1
        assert counted["wb"] > 20
        assert show(connection, "timezone", "statement_timeout") == ["UTC", "50s"]


def test_limits_of_the_url_are_kept_and_our_time_zone_is_not_asked(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTZ", "America/New_York")
    monkeypatch.setenv("PGDATESTYLE", "German")
    monkeypatch.setenv("PGCLIENTENCODING", "latin1")
    url = with_options(database_url, "-c statement_timeout=7s -c timezone=Asia/Tokyo") + "&application_name=shop"
    with connect(url) as connection:
        shown = show(connection, "statement_timeout", "timezone", "datestyle", "client_encoding", "application_name")
        assert shown == ["7s", "UTC", "ISO, MDY", "UTF8", "shop"]
        assert only_row(connection.execute("SELECT '2026-01-02 23:30+00'::timestamptz::date::text, '☃'")) == (
            "2026-01-02",
            "☃",
        )


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
def test_times_never_depend_on_the_servers_zone(database_url: str, zone: str) -> None:
    with connect(database_url) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET timezone = '{zone}'")
    with connect(database_url) as connection:
        assert only_row(connection.execute("SELECT '2026-01-01 22:00+00'::timestamptz::date::text")) == ("2026-01-01",)


@pytest.mark.parametrize("table", ["customers (id integer)", "schema_migrations (version varchar)"])
def test_tables_of_somebody_else_are_told_in_one_line(empty_url: str, table: str) -> None:
    with connect(empty_url) as connection:
        connection.execute(f"CREATE TABLE {table}")
    with pytest.raises(NotOurs, match="search_path") as error:
        migrate(empty_url)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("missing", ["rights", "schema"])
def test_missing_rights_are_told_in_one_line(empty_url: str, missing: str) -> None:
    role = "stranger_of_" + empty_url.rpartition("/")[2].partition("?")[0]
    with connect(empty_url) as connection:
        connection.execute(f"DROP ROLE IF EXISTS {role}")
        connection.execute(f"CREATE ROLE {role} LOGIN")
        if missing == "schema":
            connection.execute("DROP SCHEMA public")
    try:
        with pytest.raises(NotOurs, match="its role"):
            migrate(empty_url.replace("postgres@", f"{role}@"))
    finally:
        with connect(empty_url) as connection:
            connection.execute(f"DROP ROLE {role}")


@pytest.fixture
def read_only(database_url: str) -> Iterator[str]:
    """As a failover leaves it: it answers, and only reads."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET default_transaction_read_only = on")
    yield database_url
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"ALTER DATABASE {connection.info.dbname} RESET default_transaction_read_only")


def test_a_postgres_that_only_reads_is_named(read_only: str) -> None:
    with connect(read_only) as connection:
        assert "only reads" in (find_write_fault(connection) or "")


def test_a_postgres_that_writes_has_no_fault(connection: Connection) -> None:
    assert find_write_fault(connection) is None
    assert count(connection, "events") == 0


@pytest.fixture
def plain_role(empty_url: str) -> Iterator[str]:
    """The URL of a role that owns a schema, and may make neither schemas nor extensions, as one of a managed server."""
    role = "plain_role_of_" + empty_url.rpartition("/")[2].partition("?")[0]
    with connect(empty_url) as connection:
        connection.execute("GRANT USAGE ON SCHEMA public TO public")
        connection.execute(f"CREATE ROLE {role} LOGIN")
        connection.execute(f"CREATE SCHEMA wb AUTHORIZATION {role}")
    yield with_options(empty_url.replace("postgres@", f"{role}@"), "-csearch_path=wb,public")
    with connect(empty_url) as connection:
        connection.execute(f"DROP OWNED BY {role} CASCADE")
        connection.execute(f"DROP ROLE {role}")


def test_a_role_without_rights_needs_what_it_may_not_make(empty_url: str, plain_role: str) -> None:
    """The extension and, of several cells, the schemas: the errors say so, and made by others they suffice."""
    cell = Cell(plain_role, "", 0, 2)
    with pytest.raises(NoRight, match="once in this database: CREATE EXTENSION pg_trgm"):
        migrate(plain_role)
    with pytest.raises(NoRight, match=r"GRANT CREATE ON DATABASE test_\w+ TO plain_role_of_\w+"):
        migrate(cell)
    with connect(empty_url) as connection:
        connection.execute("CREATE EXTENSION pg_trgm SCHEMA public")
        role = plain_role.partition("//")[2].partition("@")[0]
        connection.execute(f"CREATE SCHEMA cell_000 AUTHORIZATION {role}")
    assert migrate(plain_role)
    assert migrate(cell)


def test_an_extension_that_is_not_looked_for_is_named(empty_url: str, plain_role: str) -> None:
    with connect(empty_url) as connection:
        connection.execute("CREATE EXTENSION pg_trgm SCHEMA public")
    with pytest.raises(NoRight, match="gin_trgm_ops"):
        migrate(plain_role.replace("%2Cpublic", ""))


@pytest.mark.parametrize("level", ["off", "local", "remote_apply"])
def test_a_commit_is_one_that_postgres_does_not_forget(database_url: str, level: str) -> None:
    """Whatever the server, the database or the URL says: the events have left the buffer by then."""
    expected = "on" if level == "off" else level
    with connect(with_options(database_url, f"-c synchronous_commit={level}")) as connection:
        assert show(connection, "synchronous_commit") == [expected]


def test_commits_wait_for_the_disk_again_after_some_that_did_not(database_url: str) -> None:
    """Also where the server's own setting is that they don't."""
    with connect(with_options(database_url, "-c synchronous_commit=off")) as connection:
        connection.execute(sql("commit_later"))
        assert show(connection, "synchronous_commit") == ["off"]
        connection.execute(sql("commit_now"))
        assert show(connection, "synchronous_commit") == ["on"]


def test_what_was_committed_outlives_a_kill_of_postgres(tmp_path: Path) -> None:
    """Though the server is set to write its log only a moment later."""
    packaged_servers.prepare(tmp_path)
    server = packaged_servers.postgres(tmp_path)
    late = ["-c", "synchronous_commit=off", "-c", "wal_writer_delay=10s", "-c", "wal_writer_flush_after=0"]
    with started(server, late) as process:
        with connect(server.url) as connection:
            connection.execute("CREATE TABLE kept (n integer)")
        with connect(server.url) as connection:
            connection.execute("CHECKPOINT")
            connection.execute("INSERT INTO kept VALUES (1)")
            kill_family(process)
    embedded.stop(server)
    with started(server, []), connect(server.url) as connection:
        assert count(connection, "kept") == 1


@contextmanager
def started(server: packaged_servers.Server, options: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with packaged_servers.launching(server) as how:
        process = subprocess.Popen([*server.argv, *options], start_new_session=True, **how)
    try:
        wait_until(lambda: not embedded.trouble(server.url), timeout=60)
        yield process
    finally:
        kill_family(process)


def kill_family(process: subprocess.Popen[bytes]) -> None:
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        parent.suspend()
        for child in [*parent.children(recursive=True), parent]:
            child.kill()
    process.wait()
