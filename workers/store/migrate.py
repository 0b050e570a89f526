"""Migrations: brings a database to the current schema by numbered SQL files, each applied once, in order.

It runs while events come in: a migration waits for a lock of a table for a second at most, because all other statements
wait behind it, and then tries again. A migration is one transaction. If its first line is `-- no transaction`, its
statements run one by one (an index that is built concurrently), so it must be safe to run again.
"""

import random
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import psycopg
from psycopg import errors, sql

from workers.cells import Cell
from workers.logs import first_line
from workers.store import Connection, connect_as_set, only_row
from workers.store.locks import Lock, try_hold
from workers.store.statements import sql as query

T = TypeVar("T")

TAKEN = (
    errors.DuplicateTable,
    errors.DuplicateObject,
    errors.DuplicateFunction,
    errors.InsufficientPrivilege,
    errors.InvalidSchemaName,
    errors.UndefinedObject,  # an extension in a schema that is not looked at
)

EXTENSION = "pg_trgm"
FOLDER = Path(__file__).with_name("migrations")
NO_TRANSACTION = "-- no transaction\n"
LOCK_WAIT_SECONDS = 1  # for a table, during which all others wait for it too
PAUSE_SECONDS = 1.0  # between two attempts
GIVE_UP_SECONDS = 600.0


class MigrationError(Exception):
    """The schema can't be changed. The message names the cause and the remedy."""


class NotOurs(MigrationError):
    """The schema has tables of another application with our names, or the role may not create tables. Give Windback a
    schema of its own, and a role that owns it."""

    def __init__(self, error: psycopg.Error) -> None:
        super().__init__(
            f"the tables can't be made: {first_line(error)}; give Windback a schema of its own: CREATE SCHEMA windback"
            " AUTHORIZATION its role, and ?options=-csearch_path%3Dwindback at the end of DATABASE_URL"
        )


class NoRight(MigrationError):
    """The role may not make an extension or the schema of a cell. Have a role that may do it make it once."""

    def __init__(self, error: psycopg.Error, remedy: str) -> None:
        super().__init__(f"{first_line(error)}; have a role that may do it run once in this database: {remedy}")


class Blocked(MigrationError):
    """Another transaction, or another `windback migrate`, held a lock for GIVE_UP_SECONDS. Migrations that were applied
    stay. Look for it in pg_stat_activity, then run `windback migrate` again."""


class Migration(NamedTuple):
    """A numbered SQL file."""

    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """Returns all migrations, oldest first."""
    return [_migration(path) for path in sorted(FOLDER.glob("*.sql"))]


def _migration(path: Path) -> Migration:
    match = re.fullmatch(r"(\d{4})_(\w+)", path.stem)
    assert match, f"{path.name} is not named like 0001_start.sql"
    return Migration(int(match[1]), match[2], path.read_text())


def migrate(place: Cell | str, *, can_create: bool = True) -> list[str]:
    """Apply the missing migrations to the schema of a cell, or to the one that a URL leads to. Returns their names.
    Safe to run twice, and from two places at once. The schema of a cell is created if `can_create`; one that has been
    moved away this very moment must not come back empty.

    Raises Blocked, NotOurs, and psycopg.OperationalError where Postgres can't be reached.
    """
    give_up = time.monotonic() + GIVE_UP_SECONDS
    with connect_as_set(place) as connection:
        if can_create and not isinstance(place, str) and place.schema:
            _make_schema(connection, place.schema)
        if not pending(connection):
            return []
        _patiently(partial(_alone, connection), give_up)
        _patiently(partial(_share_extension, connection), give_up)
        return [_patiently(partial(_apply, connection, each), give_up) for each in pending(connection)]


def pending(connection: Connection) -> list[Migration]:
    """Returns the migrations that were not applied to this database."""
    done = applied(connection)
    return [migration for migration in migrations() if migration.version not in done]


def applied(connection: Connection) -> set[int]:
    """Returns the versions that were applied to this database."""
    try:
        with connection.transaction():
            schema = only_row(connection.execute("SELECT current_schema()"))[0]
            table = sql.Identifier(*[schema] if schema else [], "schema_migrations")
            rows = connection.execute(sql.SQL("SELECT version, name FROM {}").format(table))
            return {version for version, _ in rows}
    except errors.UndefinedTable:
        return set()
    except (errors.UndefinedColumn, errors.InsufficientPrivilege) as error:  # other tools have a table of this name
        raise NotOurs(error) from None


def _patiently(step: Callable[[], T], give_up: float) -> T:
    while True:
        try:
            return step()
        except TAKEN as error:
            raise _explain(error) from None
        except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
            if time.monotonic() > give_up:
                raise Blocked(f"the schema can't be changed now: {first_line(error)}") from None
        time.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311


def _explain(error: psycopg.Error) -> MigrationError:
    if EXTENSION in str(error) or "gin_trgm_ops" in str(error):
        return NoRight(error, f"CREATE EXTENSION {EXTENSION}, in a schema that the search_path of DATABASE_URL names")
    return NotOurs(error)


def _make_schema(connection: Connection, schema: str) -> None:
    """Make the schema of a cell. One that is there may have been made by another role."""
    if only_row(connection.execute(query("has_schema"), {"schema": schema}))[0]:
        return
    try:
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    except errors.InsufficientPrivilege as error:
        remedy = f"GRANT CREATE ON DATABASE {connection.info.dbname} TO {connection.info.user}"
        raise NoRight(error, remedy) from None


def _alone(connection: Connection) -> None:
    """Hold the lock of migrations until the connection ends. Raises LockNotAvailable if another process holds it: a
    wait within Postgres would hold up an index that is built concurrently."""
    if not try_hold(connection, Lock.SCHEMA):
        raise errors.LockNotAvailable("another process migrates")


def _share_extension(connection: Connection) -> None:
    """Keep the extension where all cells of the database look: the schema of one is hidden from the others."""
    schemas = only_row(connection.execute("SELECT current_schemas(false)"))[0]
    if len(schemas) > 1:  # a cell's own, and the one that the URL leads to
        home = sql.Identifier(schemas[1])
        connection.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA {}").format(home))


def _apply(connection: Connection, migration: Migration) -> str:
    connection.execute("SET statement_timeout = 0")
    if migration.sql.startswith(NO_TRANSACTION):
        connection.execute("SET lock_timeout = 0")  # no other statement waits behind it
        _execute_all(connection, migration.sql)
        _note(connection, migration)
    else:
        with connection.transaction():
            connection.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT_SECONDS}s'")
            _execute_all(connection, migration.sql)
            _note(connection, migration)
    return f"{migration.version:04} {migration.name}"


def _execute_all(connection: Connection, text: str) -> None:
    """Execute statements one by one: Citus sends on the whole text in which a change of a placed table stands."""
    statement = ""
    for part in re.split(r"(?<=;)\s*$", text, flags=re.MULTILINE):
        statement += part
        if statement.strip() and statement.count("$$") % 2 == 0:
            connection.execute(statement)
            statement = ""


def _note(connection: Connection, migration: Migration) -> None:
    connection.execute(
        "INSERT INTO schema_migrations (version, name) VALUES (%s, %s)", [migration.version, migration.name]
    )
