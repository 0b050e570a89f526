"""Stories of customers who leave or nearly leave: most end badly, none always does."""

from typing import Final, NamedTuple


class Story(NamedTuple):
    """Over how many days it goes, the chance that it ends well, and the share of usual visits at its start and end."""

    name: str
    days: tuple[int, int]
    ends_well: float
    use: tuple[float, float]


UNPAID: Final = Story("unpaid", (9, 20), 0.5, (0.9, 0.1))
FRUSTRATED: Final = Story("frustrated", (12, 26), 0.25, (1.0, 0.1))
DRIFTING: Final = Story("drifting", (22, 45), 0.2, (0.8, 0.05))
DOWNGRADED: Final = Story("downgraded", (15, 35), 0.45, (0.7, 0.15))
ABRUPT: Final = Story("abrupt", (1, 1), 0.0, (1.0, 1.0))
NOT_ONBOARDED: Final = Story("not onboarded", (13, 14), 0.15, (0.35, 0.0))
NEVER_CAME: Final = Story("never came", (13, 14), 0.0, (0.0, 0.0))

A_DAY: Final = {DRIFTING: 0.0011, DOWNGRADED: 0.0014, ABRUPT: 0.0003, FRUSTRATED: 0.0003}
"""The chance of each to begin on a day of a customer like most."""


class Chapter:
    """A story that is being lived."""

    def __init__(self, story: Story, days: int) -> None:
        self.story = story
        self.days = days
        self.day = 0

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        return min(self.day / self.days, 1.0)

    @property
    def use(self) -> float:
        """The share of the usual visits."""
        first, last = self.story.use
        return first + (last - first) * self.progress
