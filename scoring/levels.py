"""Risk levels: low, medium, high and critical, and the probabilities at which they begin."""

from typing import NamedTuple

NAMES = ("low", "medium", "high", "critical")


class LevelBounds(NamedTuple):
    """The probabilities (0 to 1) at which a risk becomes medium, high and critical."""

    medium: float = 0.20
    high: float = 0.50
    critical: float = 0.75

    def name(self, probability: float) -> str:
        """The level of a probability."""
        return NAMES[sum(probability >= bound for bound in self)]
