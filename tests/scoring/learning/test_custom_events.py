"""Custom events: of many that merely follow activity, and a few that matter, those that matter enter the model."""

from functools import cache

import msgspec
import numpy as np

from scoring.learning.samples import Sample, columns_of, sample
from scoring.learning.training import DOUBTS, Candidate, Learnt, candidates_of, learn
from scoring.model import PRIOR, Term
from scoring.rollup import DAY
from tests.scoring.simulator import START, Kind, simulate, with_noise

DAYS = 210
MATTER = {"export_failed": 4.0, "seat_removed": 4.0, "card_declined": 5.0, "import_failed": 3.5, "owner_left": 4.5}
NOISE = 60


@cache
def learnt() -> Learnt:
    """5,000 customers, five events that raise the hazard for a month, and 60 that come with visits and mean nothing."""
    kind = Kind(complaints={name: (0.004, factor) for name, factor in MATTER.items()})
    world = with_noise(simulate(kind, customers=5000, days=DAYS), NOISE)
    return learn(world.rollup, (START + DAYS) * DAY, horizon_days=30)


def test_what_matters_is_found_and_noise_stays_out() -> None:
    entered = {term.feature.removeprefix("event:") for term in learnt().training.model.terms} & {
        candidate.event for candidate in learnt().training.candidates
    }
    assert len(entered & MATTER.keys()) >= 4
    assert len(entered - MATTER.keys()) <= 3


def test_all_of_them_had_the_volume() -> None:
    """Noise stays out because it tells nothing, not because it is rare."""
    candidates = learnt().training.candidates
    assert len(candidates) == NOISE + len(MATTER)
    assert all(candidate.p_value is not None for candidate in candidates)


def test_what_matters_raises_the_risk() -> None:
    weights = {term.feature: term.weights[0] for term in learnt().training.model.terms}
    assert all(weights.get(f"event:{name}", 1) > 0 for name in MATTER)


def standing(x: Sample, doubts: int) -> Candidate:
    """The state of `noise` in the model after so many doubtful fits."""
    model = msgspec.structs.replace(PRIOR, terms=(*PRIOR.terms, Term("event:noise", (0.3,))))
    (found,) = candidates_of(x, model, {"noise": doubts})
    return found


def test_an_event_leaves_the_model_after_two_doubtful_fits_in_a_row() -> None:
    """One bad sample is not the end of it, and a good one begins the count anew."""
    world = simulate(Kind(), customers=1000)
    who, at, lapsed, _ = world.snapshots()
    taken = sample(world.rollup, who, at, lapsed.astype(np.int8), columns=columns_of(world.rollup), horizon_days=30)
    rng = np.random.default_rng(4)
    noise = (rng.random(len(taken.x)) < 0.3) * 1.0
    useful = (rng.random(len(taken.x)) < np.where(taken.lapsed == 1, 0.6, 0.2)) * 1.0
    columns = (*taken.columns, "event:noise")
    doubtful = taken._replace(columns=columns, x=np.column_stack([taken.x, noise]))
    first = standing(doubtful, 0)
    assert (first.in_use, first.doubts) == (True, 1)
    assert first.p_value is not None
    assert first.p_value > 0.3
    second = standing(doubtful, first.doubts)
    assert (second.in_use, second.doubts) == (False, DOUBTS)
    good = standing(taken._replace(columns=columns, x=np.column_stack([taken.x, useful])), 1)
    assert (good.in_use, good.doubts) == (True, 0)
