import numpy as np
import pytest

from scoring.outages import WEEK_HOURS, hours_back, hours_out, is_back, is_out
from scoring.rollup import Floats

WEEKS = 8


def habit(events_a_day: float = 2400, seed: int = 0) -> Floats:
    """Eight weeks of volumes, busy by day and on weekdays, up to the end of a Friday's 15th hour."""
    hours = np.arange(WEEKS * WEEK_HOURS) + 4 * 24 + 16
    share = np.where((hours % 24 >= 8) & (hours % 24 < 20), 1.0, 0.05) * np.where(hours // 24 % 7 < 5, 1.0, 0.3)
    expected = share / share[-WEEK_HOURS:].sum() * events_a_day * 7
    return np.asarray(np.random.default_rng(seed).poisson(expected), float)


def nothing_known(volumes: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.zeros(len(volumes), dtype=bool)


def stopped(hours: int, volumes: Floats | None = None, left: float = 0.0) -> Floats:
    """Volumes of which only a share is left in the last hours."""
    volumes = habit() if volumes is None else volumes
    volumes[len(volumes) - hours :] = np.floor(volumes[len(volumes) - hours :] * left)
    return volumes


def test_six_silent_hours_are_an_outage_and_five_are_none() -> None:
    assert is_out(stopped(6), nothing_known(habit()))
    assert not is_out(stopped(5), nothing_known(habit()))
    assert hours_out(stopped(6), nothing_known(habit())) == 6


@pytest.mark.parametrize("left", [0.0, 0.05])
def test_little_is_an_outage_as_well(left: float) -> None:
    assert is_out(stopped(7, left=left), nothing_known(habit()))


def test_a_third_of_the_usual_is_no_outage() -> None:
    assert not is_out(stopped(48, left=0.33), nothing_known(habit()))


@pytest.mark.parametrize("seed", range(5))
def test_nights_and_weekends_are_no_outage(seed: int) -> None:
    volumes = habit(seed=seed)
    for end in range(len(volumes) - 2 * WEEK_HOURS, len(volumes)):
        assert not is_out(volumes[:end], nothing_known(volumes[:end]))


def test_accounts_of_little_volume_are_never_out() -> None:
    volumes = stopped(72, habit(events_a_day=40))
    assert not is_out(volumes, nothing_known(volumes))


def test_a_short_history_says_nothing() -> None:
    volumes = stopped(6)
    volumes[: -(2 * WEEK_HOURS - 24)] = 0
    assert not is_out(volumes, nothing_known(volumes))


def test_no_history_at_all_says_nothing() -> None:
    empty = np.zeros(WEEKS * WEEK_HOURS)
    assert not is_out(empty, nothing_known(empty))
    assert is_back(empty, nothing_known(empty))


def test_an_outage_goes_on_until_volume_is_back() -> None:
    volumes, known = stopped(120), nothing_known(habit())
    known[-120:] = True
    assert not is_back(volumes, known)
    volumes[-2:] = habit()[-2:]
    assert is_back(volumes, known)
    assert hours_back(volumes, known) == 2


def test_an_earlier_outage_does_not_become_the_habit() -> None:
    """A tracking that is out for weeks stays out, as long as anything is known of the time before."""
    volumes = stopped(3 * WEEK_HOURS)
    known = nothing_known(volumes)
    known[-3 * WEEK_HOURS :] = True
    assert not is_back(volumes, known)
    assert is_back(volumes, np.ones(len(volumes), dtype=bool))
