import numpy as np
import pytest

from scoring.learning.backtest import BacktestEvent, Log, Snapshot, backtest
from scoring.learning.early import Silences
from scoring.model import PRIOR
from scoring.rollup import DAY
from scoring.score import score
from tests.scoring.simulator import Kind, simulate

T0 = 1_600_000_000.0 // DAY * DAY


def log(customers: int = 60, days: int = 150) -> list[BacktestEvent]:
    """Customers who come every few days until they stop."""
    rng = np.random.default_rng(4)
    events = []
    for customer in range(customers):
        stop = rng.integers(30, 2 * days)
        for day in range(0, min(days, int(stop)), int(rng.integers(1, 5))):
            properties = {"feature": f"f{day % 3}", "duration_seconds": 60}
            events.append(BacktestEvent(f"c{customer}@example.com", "feature_used", T0 + day * DAY + 3600, properties))
    return events


def test_an_event_one_second_after_a_snapshot_changes_nothing() -> None:
    """Not even on the same day, and not of the same name and feature."""
    events, snapshot = log(), Snapshot("c1@example.com", T0 + 40 * DAY + 4000, 1)
    late = [
        BacktestEvent("c1@example.com", name, snapshot.at + 1, {"feature": "f1", "score": 1})
        for name in ("feature_used", "login", "invoice_overdue", "nps_response")
    ]
    before, after = backtest(events, [snapshot])[1], backtest([*late, *events, *late], [snapshot])[1]
    assert before == after


def test_a_snapshot_is_scored_as_a_live_score_would_have_been() -> None:
    """Events up to the moment itself count, through the same code."""
    events, at = log(), T0 + 40 * DAY + 3600
    known = Log((), ())
    known.read(event for event in events if event.at <= at)
    model = Silences(known.rollup(), at, 30).adjust(at) or PRIOR
    live = score(known.rollup(), at, model=model).probability[known.customers["c7@example.com"]]
    assert backtest(events, [Snapshot("c7@example.com", at, 0)])[1][0].untrained == pytest.approx(live)


def test_the_same_event_again_changes_nothing() -> None:
    """As in the store: an import that was run twice adds nothing."""
    events = [*log(), BacktestEvent("c3@example.com", "invoice_overdue", T0 + 20 * DAY, {"invoice": 7})]
    wanted = [Snapshot("c3@example.com", T0 + 40 * DAY, 1)]
    assert backtest(events, wanted)[1] == backtest(events + events, wanted)[1]


def test_the_order_of_events_carries_no_meaning() -> None:
    """A log may come in any order."""
    events = log()
    wanted = [Snapshot(f"c{k}@example.com", T0 + 45 * DAY, k % 2) for k in range(9)]
    assert [s.untrained for s in backtest(events, wanted)[1]] == pytest.approx(
        [s.untrained for s in backtest(events[::-1], wanted)[1]]
    )


def test_without_snapshots_outcomes_are_derived() -> None:
    """Everybody at risk at each cutoff is scored, and who stopped has lapsed."""
    events = log()
    report, scored = backtest(events, cutoffs=[T0 + 60 * DAY, T0 + 90 * DAY], horizon_days=30)
    assert {s.at for s in scored} == {T0 + 60 * DAY, T0 + 90 * DAY}
    last = {event.customer: event.at for event in events}
    lapsed = sum(last[s.customer] <= s.at for s in scored)
    assert report.untrained.lapses == lapsed > 0
    assert len(backtest(events, horizon_days=30)[1]) > len(scored)


def test_with_few_lapses_nothing_is_trained() -> None:
    """The trained figures are missing rather than made up."""
    report, scored = backtest(log(20), cutoffs=[T0 + 60 * DAY])
    assert report.untrained.lapses < 20
    assert report.trained is None
    assert scored[0].trained is None
    assert report.baselines["recency"] is None


def test_what_cannot_be_scored_is_an_error_that_says_so() -> None:
    """No customers, or no outcome yet."""
    with pytest.raises(ValueError, match="whole horizon"):
        backtest(log(), cutoffs=[T0 + 149 * DAY])
    with pytest.raises(ValueError, match="nothing to score"):
        backtest([])
    with pytest.raises(ValueError, match="horizon"):
        backtest(log(), horizon_days=0)


def test_a_backtest_beats_its_baselines_where_there_is_something_to_know() -> None:
    """On simulated subscribers the report's order is: base rate, recency, trained."""
    world = simulate(Kind(), customers=600)
    r = world.rollup
    events = [
        BacktestEvent(f"c{c}", r.names[e], t, {})
        for c, e, t in zip(r.customer.tolist(), r.event.tolist(), r.last_at.tolist(), strict=True)
    ]
    report, _ = backtest(events)
    recency = report.baselines["recency"]
    assert report.trained is not None
    assert recency is not None
    assert report.trained.log_loss < recency.log_loss
    assert (report.trained.auc or 0) > (recency.auc or 1)
