"""A model: a sum of terms in log-odds, so that every contribution is exact.

    logit(risk) = baseline + Σ_terms (f(x) - offset)

`baseline` is the log-odds of the customer of whom nothing is known: the account's base rate. Each f is piecewise
linear, a straight line where there are no knots.
"""

from functools import lru_cache
from typing import Final, Self

import msgspec
import numpy as np

from scoring import features
from scoring.features import View
from scoring.prior import BASE_RATE
from scoring.rollup import Floats


class Term(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """f(x) = weights[0] · x + Σ weights[k] · max(0, x - knots[k - 1]) of one feature."""

    feature: str
    weights: tuple[float, ...]
    knots: tuple[float, ...] = ()
    offset: float = 0.0

    def at(self, x: Floats) -> Floats:
        """f(x) - offset, in log-odds."""
        out = self.weights[0] * x - self.offset
        for weight, knot in zip(self.weights[1:], self.knots, strict=True):
            out = out + weight * np.maximum(x - knot, 0.0)
        return np.asarray(out)


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Turns features into a risk. `msgspec.json` writes and reads it."""

    version: str
    kind: str
    baseline: float
    terms: tuple[Term, ...]

    @property
    def signals(self) -> tuple[str, ...]:
        """The names of the contributions, in the order of their columns."""
        return _signals_of(self.features)[0]

    @property
    def features(self) -> tuple[str, ...]:
        """The features that the terms read."""
        return tuple(term.feature for term in self.terms)

    def contributions(self, view: View) -> Floats:
        """(customers, signals) in log-odds; with the baseline they add up to the logit of the risk."""
        signals, columns = _signals_of(self.features)
        out = np.zeros((len(view.history.first), len(signals)))
        for term, column in zip(self.terms, columns, strict=True):
            out[:, column] += term.at(features.read(term.feature, view))
        out[np.isnan(view.history.first)] = 0.0
        return out

    def moving(self) -> Self:
        """The same baseline and only the terms whose features change while nothing but time passes."""
        return msgspec.structs.replace(
            self, terms=tuple(term for term in self.terms if term.feature in features.MOVING)
        )


@lru_cache(maxsize=256)
def _signals_of(names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Returns the signals of the features, and for each feature the place of its signal among them."""
    reported = [features.signal_of(name) for name in names]
    signals = tuple(dict.fromkeys(reported))
    return signals, tuple(signals.index(signal) for signal in reported)


def sigmoid(logit: Floats) -> Floats:
    """1 / (1 + exp(-logit)), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logit)))


def logit(probability: float) -> float:
    """Log-odds of a probability between 0 and 1."""
    return float(np.log(probability / (1.0 - probability)))


def points(baseline: float, contributions: Floats) -> Floats:
    """Contributions as percentage points that add up to risk - baseline risk, each within ±100; shape as given.

    What raises the risk and what lowers it are two players whose shares are Shapley's: the mean of what each changes
    when it comes first and when it comes last. Within a side, shares are in proportion to the log-odds. So signs,
    order within a side and the sum are kept. Shapley (1953), "A value for n-person games".
    """
    up, down = np.maximum(contributions, 0.0), np.minimum(contributions, 0.0)
    rise, fall = up.sum(axis=1), down.sum(axis=1)
    before, after = float(sigmoid(np.array(baseline))), sigmoid(baseline + rise + fall)
    risen, fallen = sigmoid(baseline + rise), sigmoid(baseline + fall)
    up_share = (risen - before + after - fallen) / 2 / np.maximum(rise, 1e-12)
    down_share = (fallen - before + after - risen) / 2 / np.minimum(fall, -1e-12)
    return np.asarray(100.0 * (up_share[:, None] * up + down_share[:, None] * down))


PRIOR: Final = Model(
    version="prior-1",
    kind="prior",
    baseline=logit(BASE_RATE),
    terms=(
        Term("activity", (1.0,), offset=logit(BASE_RATE)),
        Term("silence", (1.0,)),
        Term("newcomer", (0.8,)),
        Term("invoice_overdue", (1.2,)),
        Term("invoice_paid", (-0.2,)),
        Term("detractor", (0.8,)),
        Term("promoter", (-0.8,)),
        Term("subscription_downgraded", (1.3,)),
        Term("subscription_upgraded", (-0.8,)),
        Term("subscription_renewed", (-0.8,)),
        Term("refund_requested", (1.2,)),
        Term("churned", (3.0,)),
        Term("support_ticket_opened", (0.1,)),
        Term("ticket_waiting", (0.3,)),
        Term("support_ticket_resolved", (-0.05,)),
    ),
)
"""The day-one formula as a model; its weights were measured or, for subscriptions, refunds and churn, judged."""
