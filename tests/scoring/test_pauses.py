import numpy as np
import pytest

from scoring.learning.samples import sample
from scoring.pauses import Pause, bridge
from scoring.rollup import DAY, Rollup
from scoring.score import score
from tests.scoring.simulator import START, Kind, simulate
from tests.scoring.world import NOW, logins, rollup, row

DAYS = 5
TOLERANCE = 0.10


def ago(days: float) -> float:
    return NOW - days * DAY


def test_without_an_outage_nothing_is_changed() -> None:
    history = rollup(*logins(1, 2, 3))
    assert bridge(history, [], NOW)[0] is history
    assert bridge(history, [], NOW)[1].tolist() == [NOW]


def test_who_is_unseen_since_is_scored_as_of_the_beginning() -> None:
    history, instants = bridge(rollup(*logins(6, 9)), [Pause(ago(4), NOW)], NOW)
    assert instants.tolist() == [ago(4)]
    assert history.last_at.tolist() == [ago(6), ago(9)]


def test_silence_goes_on_from_there_when_the_outage_is_over() -> None:
    assert bridge(rollup(*logins(6)), [Pause(ago(4), ago(1.5))], NOW)[1].tolist() == [ago(2.5)]


def test_who_was_seen_since_loses_nothing_by_the_days_out_and_keeps_dates() -> None:
    rows = [*logins(0.5, 7), row("invoice_overdue", 7)]
    history, instants = bridge(rollup(*rows), [Pause(ago(4), ago(1.5))], NOW)
    assert instants.tolist() == [NOW]
    assert history.last_at.tolist() == [ago(0.5), ago(5), ago(7)]
    assert (history.day == history.last_at // DAY).all()


def simulated() -> Rollup:
    """Hundreds of customers over 200 days."""
    return simulate(Kind(), customers=400, days=200, seed=3).rollup


def mean_risk(history: Rollup, pauses: list[Pause], day: float) -> float:
    now = (START + day) * DAY
    whole, instants = bridge(history.until(now), pauses, now)
    risks = [score(whole.at(np.flatnonzero(instants == at), instants[instants == at]), at).probability
             for at in sorted(set(instants.tolist()))]  # fmt: skip
    return float(np.concatenate(risks).mean())


@pytest.mark.parametrize("later", [0.5, 2, DAYS, DAYS + 0.5, DAYS + 3])
def test_five_days_out_move_the_mean_risk_by_less_than_a_tenth(later: float) -> None:
    """While it lasts and afterwards, beside the same customers whose tracking worked."""
    history = simulated()
    began = 150.0
    out = (history.last_at >= (START + began) * DAY) & (history.last_at < (START + began + DAYS) * DAY)
    pause = Pause((START + began) * DAY, (START + began + DAYS) * DAY)
    then = mean_risk(history, [], began)
    assert mean_risk(history.where(~out), [pause], began + later) == pytest.approx(then, rel=TOLERANCE)
    unheeded = mean_risk(history.where(~out), [], began + DAYS)
    assert unheeded > then * (1 + TOLERANCE)


def test_each_customer_may_be_looked_at_at_an_own_moment() -> None:
    """As a training does: what it learns from has the clock of what is served, and no pause comes before its time."""
    pauses = [Pause(ago(10), ago(6))]
    rows = [each for customer in range(3) for each in logins(12, 15, customer=customer)]
    history, instants = bridge(rollup(*rows, customers=3), pauses, np.array([ago(11), ago(8), ago(2)]))
    assert instants.tolist() == [ago(11), ago(10), ago(6)]
    assert sorted(history.last_at.tolist()) == sorted(each[6] for each in rows)


def test_a_training_does_not_learn_that_silence_in_an_outage_means_nothing() -> None:
    """Days on which nobody could be seen are no silence in the samples that come after them."""
    company = simulate(Kind(visits=0.6, spread=0.7), customers=400, days=120)
    out = (START + 60, START + 65)
    cut = company.rollup.where((company.rollup.day < out[0]) | (company.rollup.day >= out[1]))
    at = np.full(400, (out[1] + 1) * DAY - 1.0)
    joined = np.flatnonzero(np.isin(np.arange(400), company.rollup.customer[company.rollup.day < out[0] - 14]))
    nothing, columns = np.zeros(len(joined), np.int8), ("silence",)
    pauses = [Pause(out[0] * DAY, out[1] * DAY)]
    plain, bridging, whole = (
        sample(days, joined, at[joined], nothing, columns=columns, horizon_days=30, pauses=paused).x.mean()
        for days, paused in ((cut, ()), (cut, pauses), (company.rollup, ()))
    )
    assert abs(bridging - whole) < abs(plain - whole) / 2
