"""The named queries."""

import re
from pathlib import Path

import psycopg
import pytest

from workers import store
from workers.store import QueryMissing, sql

ROOT = Path(store.__file__).parents[2]
TEXTS = [path.read_text() for path in Path(store.__file__).with_name("queries").glob("*.sql")]
NAMES = [name for text in TEXTS for name in re.findall(r"^-- name: (\w+)$", text, re.MULTILINE)]
CODE = "\n".join(path.read_text() for folder in ("api", "workers") for path in (ROOT / folder).rglob("*.py"))
MADE = tuple(re.findall(r'f"(\w+_)\{', CODE))  # the beginnings of names that are put together


def test_every_query_has_a_name_of_its_own() -> None:
    assert sorted(NAMES) == sorted(set(NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_every_query_is_used(name: str) -> None:
    assert f'"{name}"' in CODE or name.startswith(MADE)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_sent_does_not_end_with_a_comment(name: str) -> None:
    """A comment that stands above a name belongs to nobody, and would be sent with the query before it."""
    assert not sql(name).splitlines()[-1].startswith("--")


@pytest.mark.parametrize("name", NAMES)
def test_psycopg_remembers_how_to_send_it(name: str) -> None:
    """What is longer is taken apart at each execution, which takes as long as a small query."""
    assert len(sql(name)) <= psycopg._queries.MAX_CACHED_STATEMENT_LENGTH


def test_a_query_that_is_not_there_is_named() -> None:
    with pytest.raises(QueryMissing, match="no_such_query"):
        sql("no_such_query")
