"""Payments that count as use, and customers of whom nothing came."""

import msgspec
import numpy as np
import pytest

from scoring.features import View, read
from scoring.history import PAID, history_of
from scoring.invoices import is_paid_in_person
from scoring.learning.early import Silences
from scoring.learning.fit import recalibrate
from scoring.learning.outcomes import at_risk, lapsed_within, snapshots
from scoring.learning.samples import columns_of, sample
from scoring.model import PRIOR, Term
from scoring.prior import BASE_RATE
from scoring.rollup import DAY, Rollup
from scoring.score import STATES, score
from tests.scoring.simulator import START
from tests.scoring.world import NOW, logins, rollup, row


def visits(*, together: float, of: int = 60) -> Rollup:
    """Customers who come every 9 days and pay every 30, this share of the payments on a day of use."""
    rng, rows = np.random.default_rng(1), []
    for customer in range(of):
        used = {customer % 9 + 9 * k for k in range(20)}
        paid = {customer % 30 + 30 * k for k in range(6)}
        paid = {day // 9 * 9 + customer % 9 if rng.random() < together else day for day in paid}
        for event, on in (("login", used), ("invoice_paid", paid)):
            rows += [(customer, START + day, event, "", 1, 0.0, (START + day) * DAY, None) for day in on]
    return Rollup.from_rows(of, rows)


def test_payments_count_as_use_where_customers_use_the_product_when_they_pay() -> None:
    assert is_paid_in_person(visits(together=1.0))
    assert is_paid_in_person(visits(together=0.5))
    assert not is_paid_in_person(visits(together=0.0))
    assert not is_paid_in_person(visits(together=1.0, of=5))
    assert PAID in columns_of(visits(together=0.5))
    assert PAID not in columns_of(visits(together=0.0))


def test_a_payment_of_a_guest_ends_a_silence_for_a_model_that_asks_for_it() -> None:
    """Without that, payments count until the first use alone."""
    world = rollup(*logins(70, 40), row("invoice_paid", 70), row("invoice_paid", 10))
    asks = msgspec.structs.replace(PRIOR, terms=(*PRIOR.terms, Term(PAID, (0.0,))))
    plain, person = (score(world, NOW, model=model) for model in (PRIOR, asks))
    assert person.probability[0] < plain.probability[0]
    assert STATES[person.state[0]] == "active"
    for model, days, seen in ((PRIOR, 2, 40), (asks, 3, 10)):
        history = history_of(world, NOW, model.features)
        assert (history.active_days.tolist(), history.seen.tolist()) == ([days], [NOW - seen * DAY])
        later = score(world, NOW + 60 * DAY, model=model)
        assert later.probability[0] >= score(world, NOW, model=model).probability[0]
    assert read(PAID, View(history_of(world, NOW, (PAID,)), NOW, 30)) == pytest.approx(np.log1p([1]))


def test_a_payment_in_person_is_a_return_whose_visit_was_lost() -> None:
    """Where bills are taken by a clock, it is not."""
    world = rollup(*logins(70, 40), row("invoice_paid", 45), row("invoice_paid", 25))
    customer, at = np.zeros(1, np.intp), np.full(1, NOW - 38 * DAY)
    assert lapsed_within(world, customer, at, 30).tolist() == [1]
    assert lapsed_within(world, customer, at, 30, paid_in_person=True).tolist() == [0]
    later = NOW + 30 * DAY
    assert at_risk(world, later).tolist() == []
    assert at_risk(world, NOW - 5 * DAY, paid_in_person=True).tolist() == [0]


def test_early_and_recalibrated_models_ask_for_payments_too() -> None:
    shop = visits(together=1.0)
    now = (START + 170) * DAY
    customers, instants = snapshots(shop, now, 14)
    lapsed = lapsed_within(shop, customers, instants, 14)
    taken = sample(shop, customers, instants, lapsed, columns=columns_of(shop), horizon_days=14)
    assert PAID in Silences(shop, now, 14).fit(now).features
    assert PAID in recalibrate(taken, PRIOR, "a").features
    assert PAID not in Silences(visits(together=0.0), now, 14).fit(now).features


def test_a_snapshot_before_any_event_is_that_of_a_silent_newcomer() -> None:
    """Somebody asks about a customer of whom nothing came: not a customer who has come just now."""
    world = rollup(*logins(3), customers=2)
    taken = sample(
        world, np.array([0, 1]), np.full(2, NOW), np.zeros(2, np.int8), columns=PRIOR.features, horizon_days=30
    )
    known, unknown = taken.probability(PRIOR)
    assert unknown > known
    once = sample(
        rollup(*logins(100)),
        np.zeros(1, int),
        np.full(1, NOW),
        np.zeros(1, np.int8),
        columns=PRIOR.features,
        horizon_days=30,
    )
    assert unknown > once.probability(PRIOR)[0]  # seen at least once, and silent for longer than a horizon
    assert score(world, NOW).probability[1] == pytest.approx(BASE_RATE)
