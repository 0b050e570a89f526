"""Customers who are bound for a term: the days since they renewed or paid, and silences longer than ever before."""

from functools import cache

import numpy as np
import pytest

from scoring.features import LATEST, LONGEST_WAIT, View, read
from scoring.history import PAID, history_of
from scoring.invoices import SIGNS
from scoring.learning.fit import fit_regression
from scoring.learning.metrics import auc
from scoring.learning.outcomes import at_risk, lapsed_within
from scoring.learning.samples import columns_of, sample
from scoring.rollup import DAY, Rollup, Row
from scoring.score import score
from tests.scoring.simulator import START
from tests.scoring.world import NOW, logins, rollup, row

YEAR = 365


@cache
def licences(days: int = 1000) -> Rollup:
    """Customers of yearly licences who come every other day; a third leave at the end of each year."""
    rng = np.random.default_rng(7)
    rows: list[Row] = []
    for customer in range(400):
        begin = int(rng.integers(0, days - 100))
        end = min(days, begin + YEAR * int(rng.geometric(1 / 3)))
        for day in range(begin, end):
            at = (START + day) * DAY + 43_200
            if rng.random() < 0.5 or day == begin:
                rows.append((customer, START + day, "login", "", 1, 0.0, at, None))
            if day > begin and (day - begin) % YEAR == 0:
                rows.append((customer, START + day, "subscription_renewed", "", 1, 0.0, at, None))
    return Rollup.from_rows(400, rows)


def test_those_who_leave_with_the_end_of_a_term_are_found_before_it() -> None:
    """Nothing but the day on which they joined or last renewed tells them from others."""
    world = licences()
    parts = [(at_risk(world, at), at) for at in [(START + day) * DAY for day in range(60, 960, 30)]]
    customers = np.concatenate([part for part, _ in parts])
    at = np.concatenate([np.full(len(part), moment) for part, moment in parts])
    lapsed = lapsed_within(world, customers, at, 30)
    taken = sample(world, customers, at, lapsed, columns=columns_of(world), horizon_days=30)
    without = [name for name in taken.columns if name not in ("since_renewal", "recency")]
    learnt, unseen = taken.rows(customers % 2 == 0), taken.rows(customers % 2 == 1)
    blind, aware = (fit_regression(learnt, names, "a") for names in (without, [*without, "since_renewal"]))
    assert auc(unseen.lapsed, unseen.probability(aware)) > auc(unseen.lapsed, unseen.probability(blind)) + 0.03
    now = (START + 900) * DAY
    risks = [score(world.until(now), now + days * DAY, model=aware).probability for days in (0, 10, 50, 400)]
    assert (np.diff(risks, axis=0) >= -1e-9).all()


@pytest.mark.parametrize(
    ("feature", "event"), [("since_renewal", "subscription_renewed"), ("since_payment", "invoice_paid")]
)
def test_the_wait_begins_anew_with_each_renewal_and_has_a_cap(feature: str, event: str) -> None:
    """It begins with the first event of a customer who has never renewed."""
    world = rollup(
        *logins(300, 2), row(event, 40), *logins(300, 2, customer=1), *logins(900, 2, customer=2), customers=3
    )
    history = history_of(world, NOW)
    assert read(feature, View(history, NOW, 30)) == pytest.approx([40, 300, LONGEST_WAIT])
    assert read(feature, View(history, NOW + 30 * DAY, 30)) == pytest.approx([70, 330, LONGEST_WAIT])


def test_an_account_without_renewals_or_payments_learns_nothing_of_them() -> None:
    assert not {"since_renewal", "since_payment"} & set(columns_of(rollup(*logins(300, 2))))
    assert "since_payment" in columns_of(rollup(*logins(300, 2), row("invoice_paid", 3)))


def test_a_silence_is_compared_with_the_longest_so_far() -> None:
    """Of 20 days for a customer whose longest gap was 40, of 30 for a newcomer; it has a cap."""
    world = rollup(*logins(90, 50, 30, 20), *logins(60, customer=1), customers=2)
    history = history_of(world, NOW, ("beyond",))
    assert read("beyond", View(history, NOW, 30)) == pytest.approx(np.log1p([20 / 40, 60 / 30]))
    assert read("beyond", View(history, NOW + 9000 * DAY, 30)) == pytest.approx(np.log1p([LATEST, LATEST]))


def test_payments_are_signs_of_customers_whose_use_was_lost() -> None:
    """They count once a day, with use or without; time alone changes nothing."""
    paid = [row("invoice_paid", days) for days in (70, 40, 10)]
    world = rollup(*logins(70, 40), *paid, *logins(70, 40, 10, customer=1), customers=2)
    history = history_of(world, NOW, SIGNS)
    assert history.active_days.tolist() == [2, 3]
    for at in (NOW, NOW + 300 * DAY):
        assert read("signs", View(history, at, 30)) == pytest.approx(np.log1p([3, 3]))
        assert read("signs_cadence", View(history, at, 30)) == pytest.approx(np.log([30, 30]))
    assert history.signs.take(np.array([1])).days.tolist() == [3]


def test_half_of_the_days_lost_costs_less_where_customers_pay_as_they_come() -> None:
    """Lost use and lost payments are seldom those of the same day. A third of customers leave after a few visits."""
    rng = np.random.default_rng(8)
    rows: list[Row] = []
    for customer in range(900):
        gap, day, leaving = float(rng.gamma(2, 12)), int(rng.integers(0, 300)), float(rng.beta(0.4, 0.8))
        while day < 500:
            noon = (START + day) * DAY + 43_200
            rows += [(customer, START + day, event, "", 1, 0.0, noon, None) for event in ("login", "invoice_paid")]
            day += 1 + int(rng.exponential(gap))
            if rng.random() < leaving:
                break
    whole = Rollup.from_rows(900, rows)
    thinned = Rollup.from_rows(900, [each for each in rows if rng.random() < 0.5])
    parts = [(at_risk(thinned, at), at) for at in [(START + day) * DAY for day in range(100, 460, 30)]]
    customers = np.concatenate([part for part, _ in parts])
    instants = np.concatenate([np.full(len(part), moment) for part, moment in parts])
    lapsed = lapsed_within(whole, customers, instants, 30)
    every = columns_of(thinned)
    assert PAID in every

    def quality(columns: tuple[str, ...]) -> float:
        taken = sample(thinned, customers, instants, lapsed, columns=columns, horizon_days=30)
        learnt, unseen = taken.rows(customers % 2 == 0), taken.rows(customers % 2 == 1)
        return auc(unseen.lapsed, unseen.probability(fit_regression(learnt, columns, "a"))) or 0.0

    assert quality(every) > quality(tuple(name for name in every if name not in (*SIGNS, PAID))) + 0.003
