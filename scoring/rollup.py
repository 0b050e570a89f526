"""The daily rollup as columns: scoring, training and backtests read it instead of events."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Floats = NDArray[np.float64]

DAY = 86400.0  # seconds

Row = tuple[int, int, str, str, int, float, float, str | None]
"""customer index, day number, event, detail, n, value, last_at (epoch seconds), plan."""


class Codes(dict[Any, int]):
    """Numbers values 0, 1, 2 … in the order in which they are first looked up."""

    def __missing__(self, value: Any) -> int:
        code = self[value] = len(self)
        return code


@dataclass(frozen=True, slots=True)
class Rollup:
    """Rows of `customer_days`, each array of length rows; row order carries no meaning.

    Several rows of one (customer, day, event, detail) are allowed and count together.
    """

    customers: int
    customer: Ints  # 0 … customers - 1
    day: Ints  # days since 1970-01-01 UTC
    event: Ints  # index into names
    detail: Ints  # index into details
    n: Ints
    value: Floats
    last_at: Floats  # epoch seconds of the last such event of the day
    plan: Ints  # index into plans, -1 for none
    names: list[str]
    details: list[str]
    plans: list[str]

    @classmethod
    def from_rows(cls, customers: int, rows: Iterable[Row]) -> Self:
        """Columns from rows; some 1 µs a row."""
        columns = list(zip(*rows, strict=True)) or [()] * 8
        size = len(columns[0])
        names, details, plans = Codes(), Codes(), Codes({None: -1})

        def ints(values: Iterable[int]) -> Ints:
            return np.fromiter(values, np.int32, size)

        def floats(values: Iterable[float]) -> Floats:
            return np.fromiter(values, np.float64, size)

        event = ints(map(names.__getitem__, columns[2]))
        detail = ints(map(details.__getitem__, columns[3]))
        plan = ints(map(plans.__getitem__, columns[7]))
        return cls(
            customers=customers,
            customer=ints(columns[0]),
            day=ints(columns[1]),
            event=event,
            detail=detail,
            n=ints(min(n, 2**31 - 1) for n in columns[4]),
            value=floats(columns[5]),
            last_at=floats(columns[6]),
            plan=np.maximum(plan - 1, -1),
            names=list(names),
            details=list(details),
            plans=[name for name in plans if name is not None],
        )

    def of(self, events: Iterable[str]) -> NDArray[np.bool_]:
        """The mask of the rows of these events."""
        wanted = set(events)
        return np.array([name in wanted for name in self.names], dtype=bool).take(self.event)

    def where(self, rows: NDArray[np.bool_] | NDArray[np.intp], *columns: str) -> Self:
        """The rows of a mask or of positions; customers stay as they are numbered.

        With `columns`, only these and `customer` are carried over and others may be empty: copies cost time.
        """
        if rows.dtype == bool and rows.all():
            return self
        positions = np.flatnonzero(rows) if rows.dtype == bool else rows
        return self._with(self.customers, self.customer.take(positions), positions, columns)

    def until(self, now: float) -> Self:
        """The rows up to `now`: a row whose last event is later is dropped whole."""
        late = (self.last_at > now) | (self.day > now // DAY)
        return self.where(~late) if late.any() else self

    def in_order(self) -> Self:
        """The same rows by customer and day, so that many readings of them are quicker."""
        return self.where(np.lexsort((self.last_at, self.day, self.customer)))

    def at(self, customers: NDArray[np.intp], instants: Floats) -> Self:
        """A virtual customer for each (customer, instant): its rows up to that instant.

        `customers` are indices of this rollup, `instants` epoch seconds of the same length. This is how a backtest
        sees the same customer at many moments through the same code as serving does.
        """
        if np.array_equal(customers, np.arange(self.customers)):
            return self.where(self.last_at <= instants[self.customer])
        is_sorted = bool((self.customer[1:] >= self.customer[:-1]).all())
        order = None if is_sorted else np.argsort(self.customer, kind="stable")
        start = np.searchsorted(self.customer if order is None else self.customer[order], np.arange(self.customers + 1))
        sizes = (start[1:] - start[:-1])[customers]
        owner = np.repeat(np.arange(len(customers)), sizes)
        rows = np.arange(len(owner)) + np.repeat(start[customers] - (np.cumsum(sizes) - sizes), sizes)
        rows = rows if order is None else order[rows]
        is_past = self.last_at[rows] <= instants[owner]
        return self._with(len(customers), owner[is_past].astype(np.int32), rows[is_past])

    def _with(self, customers: int, customer: Ints, rows: NDArray[Any], columns: tuple[str, ...] = ()) -> Self:
        def column(name: str) -> Any:
            values = getattr(self, name)
            return values.take(rows) if not columns or name in columns else values[:0]

        return type(self)(
            customers,
            customer,
            column("day"),
            column("event"),
            column("detail"),
            column("n"),
            column("value"),
            column("last_at"),
            column("plan"),
            self.names,
            self.details,
            self.plans,
        )
