"""Bring a database to the current schema: numbered SQL files, each applied once, in order, under one lock."""

import re
from pathlib import Path
from typing import NamedTuple

import psycopg

from workers.store import Connection, connect

LOCK = 0x77696E646261636B  # "windback": the advisory lock under which schema changes happen


class Migration(NamedTuple):
    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """All migrations, oldest first."""
    paths = sorted(Path(__file__).with_name("migrations").glob("*.sql"))
    return [_migration(path) for path in paths]


def _migration(path: Path) -> Migration:
    match = re.fullmatch(r"(\d{4})_(\w+)", path.stem)
    assert match, f"{path.name} is not named like 0001_start.sql"
    return Migration(int(match[1]), match[2], path.read_text())


def migrate(database_url: str) -> list[str]:
    """Apply what is missing and return the names of what was applied. Safe to run twice, and from two places at once.

    Raises psycopg.OperationalError where Postgres can't be reached.
    """
    with connect(database_url) as connection:
        connection.execute("SET statement_timeout = 0; SET lock_timeout = 0")
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            return [_apply(connection, migration) for migration in pending(connection)]


def pending(connection: Connection) -> list[Migration]:
    """The migrations that this database has not seen."""
    done = applied(connection)
    return [migration for migration in migrations() if migration.version not in done]


def applied(connection: Connection) -> set[int]:
    """The versions that this database has seen."""
    try:
        with connection.transaction():
            return {version for (version,) in connection.execute("SELECT version FROM schema_migrations")}
    except psycopg.errors.UndefinedTable:
        return set()


def _apply(connection: Connection, migration: Migration) -> str:
    connection.execute(migration.sql)
    connection.execute(
        "INSERT INTO schema_migrations (version, name) VALUES (%s, %s)", [migration.version, migration.name]
    )
    return f"{migration.version:04} {migration.name}"
