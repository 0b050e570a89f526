from itertools import pairwise

import numpy as np
import pytest

from scoring.learning.effect import Group, compare, customers_needed, newcombe, wilson


def test_the_intervals_are_those_of_the_paper() -> None:
    """Newcombe (1998), table II, of method 10, and table I of the Wilson interval."""
    for first, second, low, high in (
        (Group(70, 56), Group(80, 48), 0.0524, 0.3339),
        (Group(10, 9), Group(10, 3), 0.1705, 0.8090),
        (Group(10, 10), Group(20, 0), 0.6791, 1.0),
    ):
        assert list(newcombe(first, second)) == pytest.approx([low, high], abs=2e-4)
    assert list(wilson(Group(263, 81))) == pytest.approx([0.2553, 0.3662], abs=2e-4)


def test_an_empty_group_says_nothing() -> None:
    assert compare(Group(0, 0), Group(9, 3)) == (None, None, None)
    assert compare(Group(9, 3), Group(0, 0)) == (None, None, None)


def test_few_customers_need_more() -> None:
    """Of 31 contacted 12 came back, of 9 left alone 2: too few to tell."""
    effect = compare(Group(31, 19), Group(9, 7))
    assert effect.interval is not None
    assert effect.interval[0] < 0 < effect.interval[1]
    assert effect.needed is not None
    assert effect.needed > 0


def test_more_customers_need_fewer() -> None:
    needed = [compare(Group(30 * k, 18 * k), Group(10 * k, 8 * k)).needed for k in (1, 2, 3, 20)]
    assert all(more >= less for more, less in pairwise(n or 0 for n in needed))
    assert needed[-1] == 0


def shares(rng: np.random.Generator, customers: int, alerted: float, held_out: float) -> tuple[Group, Group]:
    """A fifth of them is held out."""
    out = customers // 5
    return (
        Group(customers - out, int(rng.binomial(customers - out, alerted))),
        Group(out, int(rng.binomial(out, held_out))),
    )


@pytest.mark.parametrize("lapse", [0.1, 0.4, 0.7])
def test_without_an_effect_the_interval_holds_0(lapse: float) -> None:
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(2000):
        effect = compare(*shares(rng, 400, lapse, lapse))
        assert effect.interval is not None
        held += effect.interval[0] <= 0 <= effect.interval[1]
    assert 0.93 <= held / 2000 <= 0.97


@pytest.mark.parametrize(("alerted", "held_out"), [(0.3, 0.5), (0.5, 0.62), (0.1, 0.25)])
def test_an_effect_is_found_at_the_size_that_was_foretold(alerted: float, held_out: float) -> None:
    rng = np.random.default_rng(7)
    customers = customers_needed(alerted, held_out, 0.2)
    found = 0
    for _ in range(1000):
        effect = compare(*shares(rng, customers, alerted, held_out))
        assert effect.interval is not None
        found += effect.interval[1] < 0
    assert 0.74 <= found / 1000 <= 0.88
