"""The use of product features by customers: by the details of `feature_used`."""

from collections.abc import Collection
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scoring.events import INVOICE, MAX_DAILY_COUNT
from scoring.group_by import Index, by_owner, ranks
from scoring.rollup import DAY, Floats, Ints, Rollup

USES, PLAN = "uses:", "plan:"  # prefixes of features named after an account's own values
USE_HALF_LIFE: Final = 30.0  # days, of breadth and of the favourite feature
FEATURE_HALF_LIFE: Final = 90.0  # days, of the use of one feature


def measure_use(used: Rollup) -> dict[str, Any]:
    """Breadth, and the feature with the largest decayed use."""
    size = used.customers
    owner, detail, pair = _pairs(used)
    latest = np.zeros(len(owner))
    latest[pair] = used.last_at  # the last one written stays: the latest, where rows come in order of time
    if (latest[pair] < used.last_at).any():
        np.maximum.at(latest, pair, used.last_at)
    last = by_owner(np.maximum, owner, latest, size)
    share = np.exp2((used.last_at - last[used.customer]) / (DAY * USE_HALF_LIFE))
    use = np.bincount(pair, share * np.minimum(used.n, MAX_DAILY_COUNT), len(owner))
    ranked = np.lexsort((ranks(used.details)[detail], use))
    favourite, favourite_at = np.full(size, -1, np.int32), np.full(size, np.nan)
    favourite[owner[ranked]] = detail[ranked]
    favourite_at[owner[ranked]] = latest[ranked]
    freshness = np.exp2((latest - last[owner]) / DAY / USE_HALF_LIFE)
    return {"breadth": np.bincount(owner, freshness, size), "favourite": favourite, "favourite_at": favourite_at}


def find_named_use(rollup: Rollup) -> NDArray[np.bool_]:
    """The rows of features that have a name."""
    named = np.array([detail != "" and not detail.startswith(INVOICE) for detail in rollup.details], dtype=bool)
    used = rollup.of(("feature_used",))
    return used if named.all() else used & named[rollup.detail]


def read_asked(names: Collection[str], used: Rollup, plan: Ints, last_active: Floats) -> dict[str, Floats]:
    """The use of each feature, and membership of each plan, that is among the names; `plan` is each customer's."""
    uses = [name for name in names if name.startswith(USES)]
    out = _uses(uses, used, last_active) if uses else {}
    plans = {PLAN + plan_name: code for code, plan_name in enumerate(used.plans)}
    for name in names:
        if name.startswith(PLAN):
            out[name] = np.asarray(plan == plans.get(name, -2), np.float64)
    return out


def _uses(names: list[str], used: Rollup, last_active: Floats) -> dict[str, Floats]:
    owner, detail, pair = _pairs(used)
    age = (last_active[used.customer] - used.last_at) / DAY
    weight = np.minimum(used.n, MAX_DAILY_COUNT) * np.exp2(-age / FEATURE_HALF_LIFE)
    use = np.bincount(pair, weight, len(owner))
    codes = {USES + feature: code for code, feature in enumerate(used.details)}
    out = {name: np.zeros(used.customers) for name in names}
    for name in names:
        mine = detail == codes.get(name, -1)
        out[name][owner[mine]] = use[mine]
    return out


def _pairs(rows: Rollup) -> tuple[Index, Index, Index]:
    """Distinct (customer, detail), and for each row the position of its own."""
    width = max(len(rows.details), 1)
    keys = rows.customer.astype(np.int64) * width + rows.detail
    if rows.customers * width > 4 * len(keys) + 1_000_000:
        distinct, pair = np.unique(keys, return_inverse=True)
    else:
        seen = np.zeros(rows.customers * width, dtype=bool)
        seen[keys] = True
        distinct = np.flatnonzero(seen)
        pair = (np.cumsum(seen) - 1)[keys]
    return distinct // width, distinct % width, pair
