"""What an account's own events mean beyond being counted: some are engagement, one may say that a customer has left.

A rollup is understood by renaming: the rest of this room knows recognised names alone. An engagement event becomes a
`feature_used`; the event that means churn becomes CHURNED.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from scoring.events import CHURNED
from scoring.rollup import Codes, Rollup


class Meaning(NamedTuple):
    """Custom events that count as engagement, and the one that means churn."""

    engagement: tuple[str, ...] = ()
    churn: str | None = None

    def of(self, event: str) -> str:
        """The name under which an event is understood."""
        if event == self.churn:
            return CHURNED
        return "feature_used" if event in self.engagement else event


PLAIN = Meaning()


def translate(rollup: Rollup, meaning: Meaning) -> Rollup:
    """The rollup with its events under the names that scoring, labels and training know."""
    if meaning == PLAIN:
        return rollup
    names = Codes()
    codes = np.array([names[meaning.of(name)] for name in rollup.names], np.int32)
    return replace(rollup, event=codes[rollup.event] if len(codes) else rollup.event, names=list(names))
