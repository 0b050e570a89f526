"""Subscribers with known hazards, and the best that anybody could say about them.

Every customer visits with an own daily chance and leaves for good with an own daily hazard, which complaints raise for
a month. Nobody sees the leaving itself. The `oracle` knows every chance and hazard but, like everybody, not who has
left: its filter over {here, gone} is the optimum for this world, so a score can be measured against it.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.rollup import DAY, Floats, Rollup

START = 19_000  # day number of the first day


@dataclass(frozen=True)
class Kind:
    """A kind of product: typical daily chance of a visit, its spread, monthly churn, effect of complaints, holidays."""

    visits: float = 0.3
    spread: float = 1.0
    monthly_churn: float = 0.08
    complaints: dict[str, tuple[float, float]] | None = None  # event → (chance a day, factor on the hazard)
    weekdays: bool = False
    absences: float = 0.0  # chance a day that a break of two weeks begins


COMPLAINTS = {
    "invoice_overdue": (0.004, 4.0),
    "support_ticket_opened": (0.006, 1.5),
    "subscription_downgraded": (0.002, 5.0),
}


@dataclass(frozen=True)
class World:
    """A simulated log: `visits` and `here` are (customers, days), `oracle` P(no visit ahead) at the end of each day."""

    rollup: Rollup
    visits: NDArray[np.bool_]
    here: NDArray[np.bool_]
    oracle: Floats
    horizon: int

    def snapshots(self, every: int = 15, warm_up: int = 30) -> tuple[Any, Floats, NDArray[np.int64], Floats]:
        """(customers, instants, lapsed, oracle) of who was seen in the 14 days before, at ends of days."""
        days = self.visits.shape[1]
        seen: tuple[list[Any], ...] = ([], [], [], [])
        for day in range(warm_up, days - self.horizon, every):
            risky = np.flatnonzero(self.visits[:, max(0, day - 13) : day + 1].any(axis=1))
            seen[0].append(risky)
            seen[1].append(np.full(len(risky), (START + day + 1) * DAY - 1.0))
            seen[2].append(~self.visits[risky, day + 1 : day + 1 + self.horizon].any(axis=1))
            seen[3].append(self.oracle[risky, day])
        who, at, lapsed, oracle = (np.concatenate(part) for part in seen)
        return who, at, lapsed.astype(np.int64), oracle


def simulate(kind: Kind, customers: int = 1500, days: int = 210, horizon: int = 30, seed: int = 1) -> World:
    """A world of customers who join over the first half of the time."""
    rng = np.random.default_rng(seed)
    shape = (customers, days)
    odds = kind.visits / (1 - kind.visits) * np.exp(rng.normal(0, kind.spread, customers))
    chance = np.broadcast_to((odds / (1 + odds))[:, None], shape).copy()
    if kind.weekdays:
        chance[:, np.isin(np.arange(days) % 7, (5, 6))] *= 0.1
    joined = rng.integers(0, max(days // 2, 1), customers)
    member = np.arange(days) >= joined[:, None]
    away = _lasting(rng.random(shape) < kind.absences, 14)
    hazard = (
        np.full(shape, 1.0)
        * (1 - (1 - kind.monthly_churn) ** (1 / 30))
        * np.exp(rng.normal(0, 0.5, customers))[:, None]
    )
    events = {}
    for event, (rate, factor) in (COMPLAINTS if kind.complaints is None else kind.complaints).items():
        events[event] = member & (rng.random(shape) < rate)
        hazard *= np.where(_lasting(events[event], 30), factor, 1.0)
    hazard = np.minimum(hazard, 0.5)
    left = np.cumsum(member & (rng.random(shape) < hazard), axis=1) > 0
    here = member & ~left
    visits = here & ~away & (rng.random(shape) < chance)
    visits[np.arange(customers), joined] = True
    here[np.arange(customers), joined] = True
    events = {name: happened & here for name, happened in events.items()}
    oracle = _oracle(visits, joined, chance, hazard, horizon)
    return World(_rollup(visits, events, rng), visits, here, oracle, horizon)


def _lasting(begun: NDArray[np.bool_], days: int) -> NDArray[np.bool_]:
    """True from the day on which something began, for so many days."""
    total = np.cumsum(begun, axis=1)
    before = np.zeros_like(total)
    before[:, days:] = total[:, :-days]
    return np.asarray(total > before)


def _oracle(visits: NDArray[np.bool_], joined: Any, chance: Floats, hazard: Floats, horizon: int) -> Floats:
    """The forward filter of the two-state chain here → gone, then the chance of no visit ahead."""
    belief, out = np.ones(len(visits)), np.zeros(visits.shape)
    typical = chance.mean(axis=1)
    for day in range(visits.shape[1]):
        stayed = belief * (1 - hazard[:, day])
        unseen = stayed * (1 - chance[:, day])
        belief = np.where(visits[:, day] | (day <= joined), 1.0, unseen / np.maximum(unseen + 1 - stayed, 1e-300))
        idle, gone_or_idle = np.ones(len(visits)), np.zeros(len(visits))
        for _ in range(horizon):
            gone_or_idle += idle * hazard[:, day]
            idle = idle * (1 - hazard[:, day]) * (1 - typical)
        out[:, day] = 1 - belief + belief * np.minimum(gone_or_idle + idle, 1.0)
    return out


def _rollup(visits: NDArray[np.bool_], events: dict[str, NDArray[np.bool_]], rng: np.random.Generator) -> Rollup:
    rows = []
    for event, happened in {"login": visits, **events}.items():
        who, day = np.nonzero(happened)
        at = (START + day) * DAY + rng.uniform(0, DAY - 2, len(day))
        rows += [
            (c, START + d, event, "", 1, 0.0, t, None)
            for c, d, t in zip(who.tolist(), day.tolist(), at.tolist(), strict=True)
        ]
    return Rollup.from_rows(len(visits), rows)


def with_noise(world: World, names: int, seed: int = 7) -> World:
    """The world with so many events more: they come on some of the days of visits, and mean nothing."""
    rng, rollup = np.random.default_rng(seed), world.rollup
    parts = [np.nonzero(world.visits & (rng.random(world.visits.shape) < rng.uniform(0.01, 0.1))) for _ in range(names)]
    who, day = (np.concatenate(axis) for axis in zip(*parts, strict=True))
    more: dict[str, NDArray[Any]] = {
        "customer": who,
        "day": START + day,
        "event": np.repeat(np.arange(names), [len(part[0]) for part in parts]) + len(rollup.names),
        "detail": np.full(len(who), rollup.details.index("")),
        "n": np.ones(len(who)),
        "value": np.zeros(len(who)),
        "last_at": (START + day) * DAY + rng.uniform(0, DAY - 2, len(who)),
        "plan": np.full(len(who), -1),
    }
    columns: dict[str, Any] = {
        name: np.append(kept := getattr(rollup, name), new.astype(kept.dtype)) for name, new in more.items()
    }
    all_names = [*rollup.names, *(f"noise_{k}" for k in range(names))]
    return replace(world, rollup=replace(rollup, **columns, names=all_names))
