"""Customers as a customer-success manager tells of them, and what the service should say of each, untrained.

The table is `stories.txt`. A story is a list of what happened, separated by semicolons:

    login every 7 days for 180 days, last 14 days ago
    trial_ended 6 days ago
    nps_response 2, 5 days ago
    subscription_downgraded to free, 2 days ago
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from scoring.events import detail_of, plan_of
from scoring.rollup import Row
from tests.scoring.world import row

TABLE = Path(__file__).with_name("stories.txt")
CLAUSE = re.compile(
    r"(?P<event>\w+)(?: to (?P<plan>\w+),)?(?: (?P<score>\d+),)?"
    r"(?: every (?P<every>[\d.]+) days? for (?P<span>\d+) days, last)? (?P<last>[\d.]+) days? ago"
)
FORBIDDEN = ("last 1 day", "Activity is falling", "nan", "inf", "None", "100.0")


class Happening(NamedTuple):
    """An event of a story."""

    event: str
    days_ago: float
    properties: dict[str, Any]


class Story(NamedTuple):
    """A line of the table; the risk in percent."""

    story: str
    lowest: float
    highest: float
    state: str
    strategy: str

    def happenings(self) -> list[Happening]:
        """The events of a story, latest first within a clause."""
        return [happening for clause in self.story.split("; ") for happening in _happenings(clause)]

    def rows(self) -> list[Row]:
        """The same as rows of the rollup."""
        return [
            row(h.event, h.days_ago, detail_of(h.event, h.properties), plan=plan_of(h.properties))
            for h in self.happenings()
        ]


def read_stories() -> list[Story]:
    """The lines of the table."""
    lines = [line for line in TABLE.read_text().splitlines() if line and not line.startswith(("#", "-"))]
    stories = []
    for line in lines[1:]:
        story, risk, state, strategy = (cell.strip() for cell in line.split("|"))
        lowest, highest = risk.split("-")
        stories.append(Story(story, float(lowest), float(highest), state, strategy))
    return stories


def _happenings(clause: str) -> list[Happening]:
    match = CLAUSE.fullmatch(clause.strip())
    assert match, clause
    properties: dict[str, Any] = {}
    if match["plan"]:
        properties["plan"] = match["plan"]
    if match["score"]:
        properties["score"] = int(match["score"])
    if match["event"] == "feature_used":
        properties["feature"] = "exports"
    last, every = float(match["last"]), float(match["every"] or 1)
    times = int(float(match["span"] or 0) // every) + 1
    return [Happening(match["event"], last + every * time, properties) for time in range(times)]
