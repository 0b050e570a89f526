"""Invoices: when overdue ones were settled, the amount of the last one paid, and payments as signs of life.

A payment settles the overdue invoice with the same `invoice_id`, in whatever order the two came. If no overdue invoice
has its id, it settles the latest one without an id; a payment without an id settles the latest of all. Each settles
one. A renewal settles all that came before it. Overdue notices without an id that follow each other within REMINDER,
with no payment between, are reminders of one invoice.

All of it depends on what happened and when, never on the order of rows, so late and repeated events change nothing.
"""

from collections.abc import Collection
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from scoring.events import ENGAGEMENT, INVOICE, MAX_DAILY_COUNT, SIGNS_OF_LIFE
from scoring.group_by import SPAN, Index, Times, gaps_of, median_gap, ranks, sort_distinct
from scoring.rollup import DAY, Floats, Rollup

REMINDER: Final = 3 * DAY  # seconds
SIGNS: Final = ("signs", "signs_cadence")  # the features that ask for signs
PAYMENTS_NEEDED: Final = 50  # days with a payment, before their company is looked at
IN_PERSON: Final = 0.25  # of the days with a payment must be days of use …
_TIMES: Final = 4.0  # … and this much more than of the days around
_AROUND: Final = (-3, -2, 2, 3)  # days


class Signs(NamedTuple):
    """Days with use or with a payment, whichever came; arrays of length customers.

    Where much of what an account sends is lost, a payment shows that a customer was there on a day whose use is
    missing. The formula leaves payments out once a customer has been engaged, since many are taken without the
    customer; a model that learns what they are worth looks at both.
    """

    days: Floats
    cadence: Floats  # median days from one to the next; NaN below two

    def take(self, rows: NDArray[Any]) -> Self:
        """The same of some of the customers."""
        return type(self)(self.days[rows], self.cadence[rows])


def measure_signs(rollup: Rollup) -> Signs:
    """The signs of each customer of a rollup."""
    keys = _days(rollup, ENGAGEMENT | SIGNS_OF_LIFE)
    owner, size = keys // SPAN, rollup.customers
    days = np.bincount(owner, minlength=size).astype(np.float64)
    return Signs(days, median_gap(*gaps_of(owner, keys % SPAN), size))


def no_signs(customers: int) -> Signs:
    """No signs, for models that do not need them."""
    return Signs(np.zeros(customers), np.full(customers, np.nan))


def is_paid_in_person(rollup: Rollup) -> bool:
    """True if an account's customers use the product when they pay, as in a shop: then a payment without a visit is one
    of a guest, or its visit was lost. Where bills are taken by a clock, use falls on their days as on any."""
    paid, used = (_days(rollup, events) for events in (SIGNS_OF_LIFE, ENGAGEMENT))
    if len(paid) < PAYMENTS_NEEDED:
        return False
    together, *around = (_share_in(used, paid + days) for days in (0, *_AROUND))
    return bool(together >= max(IN_PERSON, _TIMES * sum(around) / len(around)))


def _share_in(keys: Index, wanted: Index) -> float:
    """The share of the wanted keys that are among these; both are sorted, which makes this ten times as fast as a
    table of them."""
    if not len(keys):
        return 0.0
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return float((keys[place] == wanted).mean())


def _days(rollup: Rollup, events: Collection[str]) -> Index:
    rows = rollup.where(rollup.of(events), "day")
    return sort_distinct(rows.customer.astype(np.int64) * SPAN + rows.day)


def find_last_amount(rollup: Rollup) -> Floats:
    """The amount of each customer's last paid invoice, in whole units of its currency; NaN where none is known."""
    paid = rollup.where(rollup.of(("invoice_paid",)) & (rollup.value > 0), "n", "value", "last_at")
    amounts = np.full(rollup.customers, np.nan)
    order: NDArray[np.intp] = np.argsort(paid.last_at, kind="stable")
    amounts[paid.customer[order]] = (paid.value / np.maximum(paid.n, 1))[order]  # the last one written wins
    return amounts


def settle_invoices(rollup: Rollup) -> tuple[Rollup, Floats]:
    """The rows of overdue invoices, and when each was settled (epoch seconds); infinity where it is still owed."""
    overdue = rollup.where(rollup.of(("invoice_overdue",)))
    settled = Times.of(rollup, ("subscription_renewed",)).first(overdue.customer, overdue.last_at)
    paid = rollup.where(rollup.of(("invoice_paid",)), "detail", "n", "last_at")
    if not len(overdue.n) or not len(paid.n):
        return overdue, settled
    invoice, payment = _find_invoices(overdue), _find_invoices(paid)
    by_id = _settle_same(invoice, overdue.last_at, payment, paid.last_at)
    spare = (payment >= 0) & ~np.isin(payment, invoice)
    for payments, latest_of in ((spare, invoice < 0), (payment < 0, invoice == invoice)):
        rows = np.flatnonzero(latest_of & np.isinf(by_id))
        by_id[rows] = _settle_latest(
            overdue.where(rows, "last_at"), invoice[rows], paid.where(payments, "n", "last_at")
        )
    return overdue, np.minimum(settled, by_id)


def _find_invoices(rows: Rollup) -> Index:
    """A number for each row's (customer, invoice id), in their order, the same in all rows of a rollup; -1 where no id
    is known."""
    named = np.array([detail.startswith(INVOICE) for detail in rows.details], dtype=bool)
    keys = rows.customer.astype(np.int64) * max(len(rows.details), 1) + ranks(rows.details)[rows.detail]
    return np.where(named[rows.detail], keys, -1)


def _settle_same(invoice: Index, overdue_at: Floats, payment: Index, paid_at: Floats) -> Floats:
    """Returns the time at which a payment with the same id settled each overdue invoice; an invoice that was paid
    before is settled."""
    order = np.lexsort((paid_at, payment))
    ids, first = np.unique(payment[order], return_index=True)
    place = np.minimum(np.searchsorted(ids, invoice), len(ids) - 1)
    same = (invoice >= 0) & (ids[place] == invoice)
    return np.where(same, np.maximum(overdue_at, paid_at[order][first][place]), np.inf)


def _settle_latest(overdue: Rollup, invoice: Index, paid: Rollup) -> Floats:
    """Returns the time at which each overdue invoice was settled, by payments that each settle the latest one owed at
    the time."""
    times = np.minimum(paid.n, MAX_DAILY_COUNT)
    owner = np.append(overdue.customer, np.repeat(paid.customer, times)).astype(np.int64)
    at = np.append(overdue.last_at, np.repeat(paid.last_at, times))
    owes = np.arange(len(owner)) < len(invoice)
    named = np.append(invoice, np.full(len(owner) - len(invoice), -1))
    order = np.lexsort((named, ~owes, at, owner))  # a payment of the same moment comes after
    owner, at, owes = owner[order], at[order], owes[order]
    ids = invoice[order[owes]]
    unit = _number_notices(owner, at, owes, ids)
    last = np.zeros(unit.max(initial=-1) + 1, np.intp)
    last[unit] = np.flatnonzero(owes)  # the last one written wins
    step = np.where(owes, 0, -1)
    step[last] = 1
    settled = np.empty(len(invoice))
    settled[order[owes]] = _find_partners(owner, at, step)[last][unit]
    return settled


def _number_notices(owner: Index, at: Floats, owes: NDArray[np.bool_], ids: Index) -> Index:
    """A number for the invoice of each notice (`owes`), whose ids are given; rows come sorted by owner and time."""
    nameless = np.zeros(len(owner), dtype=bool)
    nameless[owes] = ids < 0
    repeats = nameless[1:] & nameless[:-1] & (owner[1:] == owner[:-1]) & (at[1:] - at[:-1] <= REMINDER)
    run = np.cumsum(np.append(True, ~repeats))[owes]
    return np.asarray(np.unique(np.where(ids < 0, -run, ids), return_inverse=True)[1])


def _find_partners(owner: Index, at: Floats, step: NDArray[Any]) -> Floats:
    """For rows sorted by owner and time, of which some open (1) and some close (-1) what was opened last: when each was
    closed; infinity where it never was."""
    level = np.cumsum(step) + (step < 0)  # the openings and closings of an invoice are neighbours on their level
    moves = np.flatnonzero(step)
    moves = moves[np.lexsort((moves, level[moves], owner[moves]))]
    first, second = moves[:-1], moves[1:]
    pairs = (step[first] > 0) & (owner[first] == owner[second]) & (level[first] == level[second])
    closed = np.full(len(owner), np.inf)
    closed[first[pairs]] = at[second[pairs]]
    return closed
