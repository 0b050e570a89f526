"""The time of year, in accounts that have seen it twice."""

from functools import cache

import numpy as np

from scoring.features import SEASON, View, read
from scoring.history import history_of
from scoring.learning.metrics import log_loss
from scoring.learning.outcomes import at_risk, lapsed_within
from scoring.learning.samples import Sample, columns_of, sample
from scoring.learning.training import fit
from scoring.rollup import DAY, Rollup, Row
from tests.scoring.simulator import START

YEAR = 365.2425


@cache
def school(days: int = 800) -> Rollup:
    """Teachers who come weekly, but for July and August; a quarter of them leave in each of the summers."""
    rng = np.random.default_rng(5)
    rows: list[Row] = []
    for customer in range(250):
        leaves = int(rng.geometric(0.25))
        for day in range(int(rng.integers(0, 200)), days):
            away = 181 < (START + day) % YEAR < 243
            leaves -= away and not 181 < (START + day - 1) % YEAR < 243
            if leaves < 1:
                break
            if not away and rng.random() < 1 / 7:
                rows.append((customer, START + day, "login", "", 1, 0.0, (START + day) * DAY + 43_200, None))
    return Rollup.from_rows(250, rows)


def test_a_season_is_looked_at_once_it_was_there_twice() -> None:
    assert SEASON in columns_of(school())
    assert SEASON not in columns_of(school(700))


def test_the_summer_is_expected_by_those_who_have_seen_it() -> None:
    """Fitted on the first two years, the third summer is foretold better with the seasons than without."""

    world = school(1150)
    midnights = [(START + day) * DAY for day in range(60, 1110, 15)]
    parts = [(at_risk(world, at), at) for at in midnights]
    who = np.concatenate([part for part, _ in parts])
    at = np.concatenate([np.full(len(part), moment) for part, moment in parts])
    lapsed = lapsed_within(world, who, at, 30)
    taken = sample(world, who, at, lapsed, columns=columns_of(world), horizon_days=30)
    plain = taken._replace(
        columns=tuple(name for name in taken.columns if name != SEASON),
        x=taken.select([name for name in taken.columns if name != SEASON]),
    )
    split = (START + 760) * DAY

    def loss(whole: Sample) -> float:
        later = whole.rows(whole.at > split)
        return log_loss(later.lapsed, later.probability(fit(whole.rows(whole.at < split - 30 * DAY))))

    assert loss(taken) < loss(plain) - 0.02


def test_the_time_of_year_stands_still_in_silence() -> None:

    now = (START + 400) * DAY
    history = history_of(school().until(now), now)
    values = [read(SEASON, View(history, now + days * DAY, 30)) for days in (0, 40, 90)]
    assert (values[0] == values[1]).all()
    assert (values[0] == values[2]).all()
    assert (values[0] < 366).all()
