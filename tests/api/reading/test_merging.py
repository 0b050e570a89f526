"""Rows of several cells as those of one."""

import ast
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as some

from api.reading.merging import add_up, first_found, put_in_order
from tests.workers.store.test_home import places_of
from tests.workers.store.test_store import ROOT
from workers.store import sql

ROWS = some.lists(some.fixed_dictionaries({"key": some.integers(0, 3), "n": some.integers(0, 9)}))


def fetches() -> Iterator[tuple[str, str]]:
    """The queries that the web process asks, by the name of the function that does."""
    for path in (ROOT / "api").rglob("*.py"):
        if "fetch" not in (source := path.read_text()):
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.startswith("fetch"):
                match node.args:
                    case [_, ast.Call(func=ast.Name(id="sql"), args=[ast.Constant(value=str(name))]), *_]:
                        yield node.func.id, name


FETCHES = sorted(set(fetches()))


@pytest.mark.parametrize(("function", "name"), FETCHES)
def test_what_is_in_cells_is_asked_of_them(function: str, name: str) -> None:
    """Of all of them, or of the one of a customer."""
    place = places_of(sql(name))
    if function in ("fetch_all", "fetch_merged"):
        assert place == {"cell"}
    else:
        assert place != {"cell"} or "%(customer_id)s" in sql(name)


def test_queries_of_both_kinds_are_found() -> None:
    assert {function for function, _ in FETCHES} >= {"fetch", "fetch_all", "fetch_merged"}


@given(some.lists(ROWS, min_size=1, max_size=4))
def test_sums_are_those_of_all_rows(cells: list[list[dict[str, Any]]]) -> None:
    by_key = [
        [{"key": key, "n": sum(row["n"] for row in rows if row["key"] == key)} for key in _keys(rows)] for rows in cells
    ]
    every = list(chain.from_iterable(cells))
    expected = [{"key": key, "n": sum(row["n"] for row in every if row["key"] == key)} for key in _keys(every)]
    assert add_up(by_key, ("key",)) == expected


def _keys(rows: list[dict[str, Any]]) -> list[int]:
    return sorted({row["key"] for row in rows})


def test_others_than_sums_are_said_by_name() -> None:
    first, last = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC)
    cells = [
        [{"event": "login", "n": 1, "at": last, "by": None}],
        [{"event": "login", "n": 2, "at": first, "by": None}],
    ]
    assert add_up(cells, ("event",), at=min) == [{"event": "login", "n": 3, "at": first, "by": None}]


@given(some.lists(ROWS, min_size=1, max_size=4), some.booleans(), some.integers(1, 5))
def test_a_page_holds_the_first_of_all(cells: list[list[dict[str, Any]]], descending: bool, limit: int) -> None:
    def order(row: dict[str, Any]) -> tuple[int, int]:
        return row["key"], row["n"]

    expected = sorted(chain.from_iterable(cells), key=order, reverse=descending)[:limit]
    pages = [sorted(rows, key=order, reverse=descending)[:limit] for rows in cells]
    assert put_in_order(pages, ("key", "n"), limit, descending=descending) == expected


def test_null_is_in_order_as_0() -> None:
    one, two = ({"mrr": mrr, "customer_id": UUID(int=number)} for mrr, number in ((None, 2), (0, 1)))
    assert put_in_order([[one], [two]], ("mrr", "customer_id")) == [two, one]


def test_the_first_cell_that_knows_answers() -> None:
    assert first_found([[], [{"a": 1}], [{"a": 2}]]) == [{"a": 1}]
    assert first_found([[], []]) == []
