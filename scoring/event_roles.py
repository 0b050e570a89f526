"""The roles of an account's own events: use of the product, churn, or a recognised event.

An event of the account's own stands for one of the thirteen, counts as use of the product, or means that a customer
has left. A rollup is translated by renaming: the rest of this room knows recognised names alone. An event that counts
as use becomes a `feature_used`; an event that means churn becomes CHURNED. A payment that counts as use stays a payment
beside it: the bills still need it. Nothing that is stored changes, so a mapping holds for the past as well.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple, Self

import numpy as np

from scoring.events import CHURNED, MAX_EVENT_NAME, RECOGNISED, SIGNS_OF_LIFE
from scoring.rollup import Codes, Rollup

USE: Final = "feature_used"
ENGAGEMENT_ROLE: Final = "engagement"
CHURN_ROLE: Final = "churn"
ROLES: Final = (*RECOGNISED, ENGAGEMENT_ROLE, CHURN_ROLE)
"""The roles that a name can be mapped to."""


class Meaning(NamedTuple):
    """Events that count as engagement, those that mean churn, and what others stand for (name → recognised)."""

    engagement: tuple[str, ...] = ()
    churn: tuple[str, ...] = ()
    stands_for: Mapping[str, str] = {}

    @classmethod
    def of_mappings(cls, mappings: Mapping[str, str]) -> Self:
        """The meaning that these mappings (name → one of ROLES) give."""
        named = sorted(mappings.items())
        return cls(
            tuple(name for name, role in named if role == ENGAGEMENT_ROLE),
            tuple(name for name, role in named if role == CHURN_ROLE),
            {name: role for name, role in named if role in RECOGNISED},
        )

    @property
    def mappings(self) -> dict[str, str]:
        """Each name and what it is mapped to."""
        use, left = dict.fromkeys(self.engagement, ENGAGEMENT_ROLE), dict.fromkeys(self.churn, CHURN_ROLE)
        return {**use, **left, **self.stands_for}

    def of(self, event: str) -> str:
        """The name under which an event is read."""
        if event in self.churn:
            return CHURNED
        if event in self.engagement and event not in SIGNS_OF_LIFE:
            return USE
        return self.stands_for.get(event, event)

    def names_of(self, roles: Collection[str]) -> list[str]:
        """The account's own names that are read as one of these events."""
        return [name for name in self.mappings if self.of(name) in roles]


PLAIN = Meaning()


def explain_bad_mapping(name: str, role: str) -> str | None:
    """Returns why this name can't be mapped so, or None where it can."""
    if role not in ROLES:
        return f"{name!r} can't stand for {role!r}; choose one of {', '.join(ROLES)}."
    if role == ENGAGEMENT_ROLE and name in SIGNS_OF_LIFE:
        return None
    if name in RECOGNISED:
        return f"{name!r} is recognised and has its own meaning already; map a name of your own."
    if not name.strip() or not name.isprintable() or len(name) > MAX_EVENT_NAME:
        return f"{name!r} can't be the name of an event: 1 to {MAX_EVENT_NAME} printable characters."
    return None


def translate(rollup: Rollup, meaning: Meaning) -> Rollup:
    """The rollup with its events under the names that scoring, labels and training know."""
    if meaning == PLAIN:
        return rollup
    names = Codes()
    codes = np.array([names[meaning.of(name)] for name in rollup.names], np.int32)
    renamed = replace(rollup, event=codes[rollup.event] if len(codes) else rollup.event, names=list(names))
    payments = SIGNS_OF_LIFE.intersection(meaning.engagement)
    return _count_twice(renamed, payments) if payments else renamed


def _count_twice(rollup: Rollup, payments: frozenset[str]) -> Rollup:
    """With a use of the product beside each of these payments."""
    paid = rollup.where(rollup.of(payments))
    names, details = [*rollup.names, USE], [*rollup.details, ""]
    code = names.index(USE)
    uses = replace(paid, event=np.full_like(paid.event, code), detail=np.full_like(paid.detail, details.index("")))
    columns = ("customer", "day", "event", "detail", "n", "value", "last_at", "plan")
    both: dict[str, Any] = {name: np.append(getattr(rollup, name), getattr(uses, name)) for name in columns}
    return replace(rollup, **both, names=names[: max(code + 1, len(rollup.names))], details=details)
