"""Churn by month: the columns add up from one month to the next."""

from itertools import pairwise

from scoring.learning.churn_months import count_months
from scoring.learning.departures import find_absences
from tests.scoring.simulator import Kind, simulate
from tests.scoring.world import NOW, logins, rollup


def test_months_add_up() -> None:
    history = simulate(Kind(visits=0.4, monthly_churn=0.15, absences=0.01), customers=200, days=300).rollup
    now = float(history.last_at.max()) + 1
    months = count_months(history, find_absences(history, now, 30), now)
    assert len(months) >= 9
    for month, following in pairwise(months):
        assert month.customers + month.joined + month.came_back - month.lapsed == following.customers
    assert sum(month.joined for month in months) > 0
    assert sum(month.came_back for month in months) > 0
    assert sum(month.lapsed for month in months) > 0


def test_a_month_by_hand() -> None:
    """NOW is 15 June, 12:00. Daily customers: one stopped on 10 May, so lapsed on 24 May; one began on 6 May; one was
    away from 26 April to 26 May: lapsed on 10 May and back."""
    stopped = logins(*range(36, 90))
    began = logins(*range(40), customer=1)
    back = logins(*range(50, 90), *range(20), customer=2)
    history = rollup(*stopped, *began, *back, customers=3)
    may = count_months(history, find_absences(history, NOW, 30), NOW)[-1]
    assert (may.start.month, may.customers, may.joined, may.came_back, may.lapsed) == (5, 2, 1, 1, 2)


def test_an_empty_account_has_no_months() -> None:
    history = rollup()
    assert count_months(history, find_absences(history, NOW, 30), NOW) == []
