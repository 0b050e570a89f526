"""The overdue invoice that a payment settles."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.events import detail_of
from scoring.invoices import REMINDER, find_last_amount, settle_invoices
from scoring.rollup import DAY, Row
from scoring.score import score
from tests.scoring.world import NOW, logins, rollup, row


class Bill(NamedTuple):
    """A notice of an overdue invoice, a payment or a renewal."""

    event: str
    days_ago: float
    invoice_id: str = ""
    customer: int = 0
    n: int = 1

    def row(self) -> Row:
        detail = detail_of(self.event, {"invoice_id": self.invoice_id})
        return row(self.event, self.days_ago, detail, customer=self.customer, n=self.n)

    @property
    def at(self) -> float:
        return self.row()[6]


def overdue(days_ago: float, invoice_id: str = "") -> Bill:
    return Bill("invoice_overdue", days_ago, invoice_id)


def paid(days_ago: float, invoice_id: str = "", n: int = 1) -> Bill:
    return Bill("invoice_paid", days_ago, invoice_id, n=n)


def renewed(days_ago: float) -> Bill:
    return Bill("subscription_renewed", days_ago)


def owed(*bills: Bill) -> list[float]:
    """The ages in days of the notices of unpaid invoices."""
    rows, settled = settle_invoices(rollup(*(bill.row() for bill in bills)))
    return sorted(round((NOW - at) / DAY, 6) for at in rows.last_at[np.isinf(settled)])


@pytest.mark.parametrize(
    ("bills", "left"),
    [
        ([overdue(30, "a"), overdue(20, "b"), paid(10, "a")], [20]),
        ([overdue(30, "a"), overdue(20, "b"), paid(10, "b")], [30]),
        ([overdue(30, "a"), paid(10, "b")], [30]),
        ([overdue(30, "a"), paid(10, "a"), paid(9, "b")], []),
        ([overdue(30, "a"), overdue(25, "a"), paid(10, "a")], []),  # a reminder
        ([overdue(30, "a"), overdue(5, "a"), paid(10, "a")], []),  # one that came late
        ([overdue(30, "a"), paid(30, "a")], []),
        ([overdue(30, "a"), paid(30.01, "a")], []),  # the payment overtook the notice
        ([overdue(30), overdue(20), paid(10)], [30]),  # without ids: the latest
        ([overdue(30), overdue(20), paid(10), paid(9)], []),
        ([overdue(30), overdue(20), paid(10, n=2)], []),
        ([overdue(30), overdue(10), paid(20)], [10]),
        ([overdue(30), paid(40)], [30]),
        ([overdue(30), overdue(20, "a"), paid(10)], [30]),
        ([overdue(30, "a"), overdue(20), paid(10)], [30]),
        ([overdue(30, "a"), overdue(20), paid(10, "b")], [30]),  # one with another id can only be the nameless
        ([overdue(30), overdue(20, "a"), paid(10, "a")], [30]),
        ([overdue(30), overdue(20, "a"), paid(10, "a"), paid(9, "b")], []),
        ([overdue(30, "a"), overdue(28, "a"), paid(10)], []),  # both notices are of one invoice
        ([overdue(30), overdue(28), overdue(26), paid(10)], []),  # so are these, by all that is known
        ([overdue(30), overdue(28), paid(27), overdue(26)], [26]),
        ([overdue(30), overdue(26), paid(10)], [30]),
        ([overdue(30, "a"), overdue(20), overdue(10, "b"), renewed(15)], [10]),
        ([overdue(30, "a"), renewed(40)], [30]),
        ([overdue(30), renewed(30)], []),
        ([paid(3), paid(2, "a"), renewed(1)], []),
        ([], []),
    ],
)
def test_a_payment_settles_its_own_invoice_or_else_the_latest(bills: list[Bill], left: list[float]) -> None:
    assert owed(*bills) == left
    assert owed(*reversed(bills)) == left
    first = min((at for at in left), default=None, key=lambda days_ago: -days_ago)
    assert score(rollup(*logins(1), *(bill.row() for bill in bills)), NOW).overdue_since == [
        None if first is None else pytest.approx(NOW - first * DAY)
    ]


def test_when_an_invoice_was_settled_is_when_it_was_paid() -> None:
    bills = [overdue(30, "a"), paid(10, "a"), overdue(40), paid(35), overdue(50, "c"), renewed(48), overdue(1)]
    rows, settled = settle_invoices(rollup(*(bill.row() for bill in bills)))
    days = {
        round((NOW - at) / DAY): round((NOW - then) / DAY, 3) for at, then in zip(rows.last_at, settled, strict=True)
    }
    assert days == {30: 10, 40: 35, 50: 48, 1: -np.inf}


bills_of_anybody = st.lists(
    st.builds(
        Bill,
        st.sampled_from(["invoice_overdue", "invoice_overdue", "invoice_paid", "subscription_renewed"]),
        st.sampled_from([0.5, 1, 2, 3.5, 5, 8, 13, 21, 34, 55]) | st.integers(0, 6000).map(lambda days: days / 100),
        st.sampled_from(["", "", "a", "b", "7"]),
        st.integers(0, 2),
        st.integers(1, 2),
    ),
    max_size=14,
)


@given(bills_of_anybody, st.randoms(use_true_random=False))
def test_it_is_as_one_would_go_through_the_bills_by_hand(bills: list[Bill], random: object) -> None:
    """The order of the rows makes no difference."""
    by_hand = {bill: when for customer in range(3) for bill, when in settle_by_hand(bills, customer).items()}
    shuffled = sorted(bills, key=lambda bill: random.random())  # type: ignore[attr-defined]
    rows, settled = settle_invoices(rollup(*(bill.row() for bill in shuffled), customers=3))
    notices = [bill for bill in shuffled if bill.event == "invoice_overdue"]
    assert len(rows.n) == len(notices)
    for bill, when in zip(notices, settled, strict=True):
        assert when == pytest.approx(by_hand[bill], abs=0.002)


def settle_by_hand(bills: list[Bill], customer: int) -> dict[Bill, float]:
    """When each notice was settled, by loops."""
    mine = sorted((bill for bill in bills if bill.customer == customer), key=lambda bill: bill.at)
    notices = [bill for bill in mine if bill.event == "invoice_overdue"]
    payments = [bill for bill in mine if bill.event == "invoice_paid"]
    ids = {bill.invoice_id for bill in notices} - {""}
    settled: dict[Bill, float] = {}
    for notice in notices:
        own = [bill.at for bill in payments if bill.invoice_id and bill.invoice_id == notice.invoice_id]
        if own:
            settled[notice] = max(notice.at, min(own))
    nameless = [bill for bill in notices if not bill.invoice_id]
    settle_latest(settled, nameless, [bill for bill in payments if bill.invoice_id and bill.invoice_id not in ids])
    settle_latest(settled, [bill for bill in notices if bill not in settled], [b for b in payments if not b.invoice_id])
    renewals = [bill.at for bill in mine if bill.event == "subscription_renewed"]
    return {
        notice: min([settled.get(notice, np.inf), *(at for at in renewals if at >= notice.at)]) for notice in notices
    }


def settle_latest(settled: dict[Bill, float], notices: list[Bill], payments: list[Bill]) -> None:
    open_invoices: list[list[Bill]] = []
    before: Bill | None = None
    for bill in sorted([*notices, *payments], key=order_of):
        if bill.event == "invoice_paid":
            for _ in range(bill.n):
                for notice in open_invoices.pop() if open_invoices else ():
                    settled[notice] = bill.at
        elif not bill.invoice_id and before and is_reminder(before, bill):
            open_invoices[-1].append(bill)
        elif not bill.invoice_id:
            open_invoices.append([bill])
        elif bill is max((b for b in notices if b.invoice_id == bill.invoice_id), key=order_of):  # of equals, once
            open_invoices.append([b for b in notices if b.invoice_id == bill.invoice_id])
        before = bill


def order_of(bill: Bill) -> tuple[float, bool, str]:
    return bill.at, bill.event == "invoice_paid", bill.invoice_id


def is_reminder(before: Bill, bill: Bill) -> bool:
    nameless = before.event == "invoice_overdue" and not before.invoice_id
    return nameless and bill.at - before.at <= REMINDER


def test_the_last_amount_is_that_of_the_last_invoice_paid() -> None:
    known = rollup(
        row("invoice_paid", 9, value=90), row("invoice_paid", 2, value=50, n=2), row("invoice_overdue", 1, value=7)
    )
    assert find_last_amount(known).tolist() == [25]
    assert np.isnan(find_last_amount(rollup(row("invoice_overdue", 1, value=7)))).all()
