"""Combines the rows of several cells into the rows that one cell would return.

A customer is in one cell with everything, so counts of customers add up, and a page of a list is the first rows of the
cells' pages. Text is compared as the collation "C" does it, which is Python's order.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from itertools import chain, groupby, islice
from typing import Any

Row = dict[str, Any]
Cells = Sequence[Sequence[Row]]


def add_up(cells: Cells, keys: Sequence[str] = (), **others: Callable[[Iterable[Any]], Any]) -> list[Row]:
    """Returns a row for each combination of the keys, in their order. The other columns are summed, or joined by the
    function of their name, without what is null."""
    if len(cells) == 1:
        return list(cells[0])
    key = _values_of(keys)
    rows = sorted(chain.from_iterable(cells), key=key)
    return [_join(list(equal), keys, others) for _, equal in groupby(rows, key)]


def put_in_order(cells: Cells, keys: Sequence[str], limit: int | None = None, *, descending: bool = False) -> list[Row]:
    """Returns the first rows of all, where the rows of each cell are in the order of the keys, as in `merge_rows`."""
    return list(cells[0] if len(cells) == 1 else islice(merge_rows(cells, keys, descending=descending), limit))


def merge_rows(cells: Sequence[Iterable[Row]], keys: Sequence[str], *, descending: bool = False) -> Iterator[Row]:
    """Yields the rows of all in the order of the keys, in which those of each cell are; null counts as 0."""
    return merge(*cells, key=_values_of(keys), reverse=descending)


def _values_of(keys: Sequence[str]) -> Callable[[Row], tuple[Any, ...]]:
    return lambda row: tuple(0 if row[key] is None else row[key] for key in keys)


def _join(rows: Sequence[Row], keys: Sequence[str], others: dict[str, Callable[[Iterable[Any]], Any]]) -> Row:
    if len(rows) == 1:
        return rows[0]
    return {
        name: value if name in keys else _join_values([row[name] for row in rows], others.get(name, sum))
        for name, value in rows[0].items()
    }


def _join_values(values: Iterable[Any], how: Callable[[Iterable[Any]], Any]) -> Any:
    present = [value for value in values if value is not None]
    return how(present) if present else None


def first_found(cells: Cells) -> list[Row]:
    """Returns the rows of the first cell that has any."""
    return list(next(filter(None, cells), ()))
