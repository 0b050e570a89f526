"""Reductions and look-ups by customer: numpy's, without a Python loop, fast where rows come sorted as they do from the
database."""

from collections.abc import Iterable
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from scoring.rollup import Floats, Rollup

SPAN: Final = 1 << 21  # more days than there will ever be

Index = NDArray[np.int64]


def by_owner(extreme: np.ufunc, owner: NDArray[Any], values: Floats, size: int) -> Floats:
    """The largest or smallest value of each owner, NaN where there is none; rows mostly come sorted by owner."""
    out = np.full(size, np.nan)
    if not len(owner):
        return out
    if (owner[1:] < owner[:-1]).any():
        order = np.argsort(owner, kind="stable")
        owner, values = owner[order], values[order]
    start = np.flatnonzero(np.append(True, owner[1:] != owner[:-1]))
    out[owner[start]] = extreme.reduceat(values, start)
    return out


def sort_distinct(keys: Index) -> Index:
    """Sorted distinct keys; cheap where they come sorted, as they do from the database."""
    if not (keys[1:] >= keys[:-1]).all():
        keys = np.sort(keys)
    return keys[np.append(True, keys[1:] != keys[:-1])] if len(keys) else keys


def gaps_of(owner: Index, day: Index) -> tuple[Index, Index]:
    """The gaps in days between consecutive active days, and the owner of each; owner and day come sorted."""
    same = owner[1:] == owner[:-1]
    return owner[1:][same], (day[1:] - day[:-1])[same]


def median_gap(owner: Index, gaps: Index, size: int) -> Floats:
    """The median gap of each owner, NaN without any; owners come sorted."""
    span = int(gaps.max(initial=0)) + 1
    keys = owner * span + gaps
    gaps = np.sort(keys.astype(np.int32) if size * span < 1 << 31 else keys)  # half the width, half the time
    count = np.bincount(owner, minlength=size)
    start = np.cumsum(count) - count
    out = np.full(size, np.nan)
    has_gaps = count > 0
    low, high = start + (count - 1) // 2, start + count // 2
    out[has_gaps] = (gaps[low[has_gaps]] % span + gaps[high[has_gaps]] % span) / 2
    return out


def ranks(values: list[str]) -> Index:
    """Alphabetical ranks: ties must not hang on the order in which values were met."""
    out = np.empty(len(values), np.int64)
    out[sorted(range(len(values)), key=values.__getitem__)] = np.arange(len(values))
    return out


def sum_above_zero(owner: Index, delta: Floats, size: int) -> Floats:
    """Returns the final value of a running sum that is held at 0 from below, for each owner; owners come sorted."""
    total = np.bincount(owner, delta, size)
    before = np.cumsum(total) - total
    so_far = np.cumsum(delta) - before[owner]
    lowest = np.zeros(size)
    np.minimum.at(lowest, owner, so_far)
    return np.asarray(np.round(np.maximum(total - lowest, 0.0), 6), np.float64)


class Times:
    """Times by customer, for look-ups of many (customer, instant) pairs at once; in milliseconds."""

    def __init__(self, customer: NDArray[Any], at: Floats) -> None:
        self._keys = np.sort(_key(customer, at))

    @classmethod
    def of(cls, rollup: Rollup, events: Iterable[str]) -> Self:
        """Returns the times of these events in a rollup: the last time of each day."""
        rows = rollup.of(events)
        return cls(rollup.customer[rows], rollup.last_at[rows])

    def within(self, customer: NDArray[Any], after: Floats, until: Floats) -> NDArray[np.bool_]:
        """Returns True for each customer with a time in (after, until]."""
        first = np.searchsorted(self._keys, _key(customer, after), side="right")
        return np.asarray(first < np.searchsorted(self._keys, _key(customer, until), side="right"))

    def first(self, customer: NDArray[Any], since: Floats) -> Floats:
        """The first time at or after an instant, in epoch seconds; infinity where there is none."""
        if not len(self._keys):
            return np.full(len(customer), np.inf)
        key = self._keys[np.minimum(np.searchsorted(self._keys, _key(customer, since)), len(self._keys) - 1)]
        mine = (key >= _key(customer, since)) & (key >> _BITS == customer)
        return np.where(mine, (key & _MASK) / 1000.0, np.inf)

    def last(self, customer: NDArray[Any], until: Floats) -> Floats:
        """The last time at or before an instant, in epoch seconds; minus infinity where there was none."""
        if not len(self._keys):
            return np.full(len(customer), -np.inf)
        place = np.searchsorted(self._keys, _key(customer, until), side="right") - 1
        key = self._keys[np.maximum(place, 0)]
        mine = (place >= 0) & (key >> _BITS == customer)
        return np.where(mine, (key & _MASK) / 1000.0, -np.inf)


_BITS: Final = 42  # of milliseconds, until 2109; the customer's index lies above
_MASK: Final = (1 << _BITS) - 1


def _key(customer: NDArray[Any], at: Floats) -> NDArray[np.int64]:
    moment = np.clip(np.floor(at * 1000.0), 0, _MASK).astype(np.int64)
    return np.asarray(customer.astype(np.int64) << _BITS | moment)
