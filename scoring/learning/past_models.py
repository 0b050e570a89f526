"""The models that an account would have had: learnt anew every MODEL_DAYS from what was known by then.

Each is judged against the one before, as a training does. So a risk of the past comes from a model that had not seen
what happened afterwards.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.learning.outcomes import SETTLED
from scoring.learning.training import learn
from scoring.model import PRIOR, Model
from scoring.pauses import Pause
from scoring.rollup import DAY, Floats, Rollup
from scoring.score import PastScores, scores_at

MODEL_DAYS: Final = 90
_CHUNK_ROWS: Final = 2_000_000  # of the rollup, expanded at a time


class PastModels(NamedTuple):
    """The model of each stretch of time; the first is in use before the first boundary (epoch seconds)."""

    boundaries: Floats
    models: list[Model]


def learn_past_models(
    rollup: Rollup,
    since: float,
    now: float,
    horizon_days: int,
    pauses: Sequence[Pause],
    progress: Callable[[], None],
) -> PastModels:
    """The models from `since` to `now` (epoch seconds), each learnt from what was known at its boundary."""
    boundaries = np.arange(now - DAY, since, -MODEL_DAYS * DAY)[::-1]
    models = [PRIOR]
    last = float(rollup.last_at.max(initial=-np.inf))
    for boundary in boundaries.tolist():
        progress()
        if last + SETTLED + (horizon_days + MODEL_DAYS) * DAY < boundary:  # nothing has become known since the last one
            models.append(models[-1])
            continue
        earlier = [Pause(pause.began, min(pause.ended, boundary)) for pause in pauses if pause.began < boundary]
        models.append(learn(rollup, boundary, models[-1], horizon_days=horizon_days, pauses=earlier).training.model)
    return PastModels(boundaries, models)


def score_past(
    rollup: Rollup,
    customer: NDArray[np.intp],
    at: Floats,
    horizon_days: int,
    models: PastModels,
    pauses: Sequence[Pause],
) -> PastScores:
    """The scores of customers as of past instants (epoch seconds), each by the model of its time."""
    probability, state, horizons = np.zeros(len(at)), np.zeros(len(at), np.int8), np.zeros(len(at))
    stretch = np.searchsorted(models.boundaries, at, side="right")
    mean = max(1, len(rollup.day) // max(rollup.customers, 1))
    for number in np.unique(stretch).tolist():
        for part in split(np.flatnonzero(stretch == number), max(1, _CHUNK_ROWS // mean)):
            scores = scores_at(rollup, customer[part], at[part], horizon_days, models.models[number], pauses)
            probability[part], state[part], horizons[part] = scores
    return PastScores(probability, state, horizons)


def split(places: NDArray[np.intp], size: int) -> Iterator[NDArray[np.intp]]:
    """Parts of so many places."""
    for start in range(0, len(places), size):
        yield places[start : start + size]
