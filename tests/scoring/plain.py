"""The day-one formula, customer by customer and in plain words: what the vectorised code has to say to the last digit.

Nothing here is fast, shared with that code or clever. Histories are shorter than the year that a risk looks back at.
"""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from math import exp, expm1, gamma, inf, log, log1p, log2, pi, sqrt
from statistics import mean, median, pvariance

from scoring.rollup import DAY, Row

HALF_LIVES = (7.0, 30.0, 90.0)
USE, PAID = ("login", "feature_used"), ("subscription_renewed", "invoice_paid")
BEGINNINGS = (*USE, *PAID, "trial_started", "trial_ended", "subscription_upgraded")
FROZEN = {"subscription_downgraded": (1.3, 90.0), "refund_requested": (1.2, 60.0)}  # weight, half-life in days
FADING = {
    "invoice_paid": (-0.2, 30.0),
    "subscription_upgraded": (-0.8, 90.0),
    "subscription_renewed": (-0.8, 30.0),
    "support_ticket_resolved": (-0.05, 30.0),
}
LEAVING = -log(0.9) / 50


def risk_of(rows: Iterable[Row], now: float, horizon_days: float = 30.0) -> float:
    """The risk of one customer as of `now` (epoch seconds), 0 to 1."""
    times: dict[str, list[tuple[float, int, str]]] = defaultdict(list)
    for _, _, event, detail, n, _, at, _ in rows:
        times[event].append((at, n, detail))
    if not times:
        return 0.1
    free = _last_plan(rows) == "free"
    first = min(at for happened in times.values() for at, _, _ in happened)
    life = _life(times)
    seen = max(life, default=None)
    days = sorted({int(at // DAY) for at in life})
    began = min((at for event in BEGINNINGS for at, _, _ in times[event]), default=None)
    tenure = max(seen - began, 0.0) / DAY if seen is not None and began is not None else 0.0
    pays = bool(life) and not any(times[event] for event in USE)
    horizon = _own_horizon(days, horizon_days, pays)
    silent = (now - (first if seen is None else seen)) / DAY
    standing = _no_return(days, tenure, 0.0, horizon, pays)
    total = standing + max(_no_return(days, tenure, silent, horizon, pays) - standing, 0.0)
    total += 0.8 / len(days) if days else 0.0
    total += _signals(times, seen, now) + _tickets(times, seen, now) + _answers(times["nps_response"], seen, now)
    floor = _floor(times, seen, free)
    return max(1 / (1 + exp(-_held(total))), floor)


def _life(times: dict[str, list[tuple[float, int, str]]]) -> list[float]:
    """When the customer was there: the use of the product, and before the first use the payments."""
    use = [at for event in USE for at, _, _ in times[event]]
    return use + [at for event in PAID for at, _, _ in times[event] if at < min(use, default=inf)]


def _own_horizon(days: list[int], horizon: float, pays: bool) -> float:
    gaps = [later - earlier for earlier, later in pairwise(days)]
    if len(days) < (1 if pays else 3):
        return horizon
    usual = max(median(gaps or [31]), 1.0)
    least = 2 * min(usual, 90.0 if usual <= 120 else 365.0)
    horizons = (14.0, 30.0, 60.0, 90.0, 180.0, 365.0, 730.0)
    return horizon if least <= horizon else next(h for h in horizons if h >= least)


def _no_return(days: list[int], tenure: float, silent: float, horizon: float, pays: bool) -> float:
    """Log-odds of no active day within the horizon: the mean over the half-lives, short ones weighing less where the
    gaps are long."""
    logits, worth = [], []
    gap, shape = _rhythm(days, pays)
    own_silent = min(_warp(silent, gap, shape), 2 * silent) if horizon < 3 * gap else silent
    own_horizon = _warp(horizon, gap, shape) if horizon < 3 * gap else horizon
    for half_life in HALF_LIVES:
        active = sum(2 ** ((day - days[-1]) / half_life) for day in days)
        gone = _gone(active, len(days), _exposure(tenure, half_life), silent, own_silent, _own_break(days, silent))
        faded = active * 2 ** (-silent / half_life)
        idle = _idle(faded, _exposure(tenure + silent, half_life), horizon, own_horizon)
        stays = 1 / (1 + gone) * (1 - idle)
        logits.append(log((1 - stays) / stays))
        worth.append(half_life / (half_life + gap))
    return sum(logit * weight for logit, weight in zip(logits, worth, strict=True)) / sum(worth)


def _rhythm(days: list[int], pays: bool) -> tuple[float, float]:
    """The mean gap (0 below two gaps) and how regular the gaps are, from 1 to 4; of bills to 6, expected to be so."""
    gaps = [later - earlier for earlier, later in pairwise(days)]
    if len(gaps) < 2:
        return (mean([*gaps] or [31]), 6.0) if pays else (0.0, 1.0)
    proof, expected, most = len(gaps) - 1, 6.0 if pays else 1.0, 6.0 if pays else 4.0
    variance = pvariance([log(gap) for gap in gaps]) * len(gaps) / proof + 0.15**2
    shape = exp((2 * log(expected) + proof * (log(pi / sqrt(6)) - log(variance) / 2)) / (2 + proof))
    return mean(gaps), 1 + round(20 * (min(max(shape, 1.0), most) - 1)) / 20


def _warp(days: float, gap: float, shape: float) -> float:
    """Days of a Weibull renewal process as days of a Poisson process with the same mean gap."""
    return float(gap * gamma(1 + 1 / shape) ** shape * (days / gap) ** shape)


def _exposure(days: float, half_life: float) -> float:
    return 10 + half_life / log(2) * (1 - 2 ** (-days / half_life))


def _own_break(days: list[int], silent: float) -> float:
    """The chance of a break like those that the customer took at least twice, if it may have lasted so long."""
    gaps = [later - earlier for earlier, later in pairwise(days)]
    breaks = [gap for gap in gaps if gap >= 10 and gap >= 3 * median(gaps)]
    if len(breaks) < 2:
        return 0.0
    return len(breaks) / (20 + len(gaps)) * exp(-max(silent / mean(breaks) - 1, 0.0))


def _gone(
    active: float, active_days: int, exposure: float, silent: float, own_silent: float, own_break: float
) -> float:
    """The odds of having left since the last active day."""
    regular = min((1 + active) / exposure, 1.0)
    evidence = (0.7 + 0.4 * regular) * (1 + active)
    stretch = log1p(own_silent / exposure)
    spare = max(evidence - 1, 1e-3)
    by_time = LEAVING * exposure / spare * -expm1(-spare * stretch)
    unseen = exp(-min(evidence * stretch, 600.0))
    unseen += (1 - unseen) * max(0.015 * regular * exp(-silent / 10), own_break)
    return (by_time + 0.07 / max(active_days, 1)) / max(unseen, 1e-280) * exp(LEAVING * silent)


def _idle(active: float, exposure: float, horizon: float, own_horizon: float) -> float:
    """The chance of no active day in the horizon, of a customer who is still here."""
    none = exp(-(1 + active) * log1p(own_horizon / exposure) - LEAVING * horizon)
    either = LEAVING + (1 + active) / exposure
    return min(none + LEAVING / either * -expm1(-either * horizon), 1 - 1e-6)


def _signals(times: dict[str, list[tuple[float, int, str]]], seen: float | None, now: float) -> float:
    total = sum(w * _damp(_faded(times[event], h, seen)) for event, (w, h) in FROZEN.items())
    total += sum(w * _damp(_faded(times[event], h, now)) for event, (w, h) in FADING.items())
    return total + 1.2 * _damp(_faded(_owed(times), 30.0, seen))


def _owed(times: dict[str, list[tuple[float, int, str]]]) -> list[tuple[float, int, str]]:
    """Overdue notices that nobody has settled: a payment settles the latest invoice, a renewal all before it."""
    renewed = max((at for at, _, _ in times["subscription_renewed"]), default=-inf)
    moves = [(notice[0], 0, notice) for notice in times["invoice_overdue"]]
    moves += [(at, 1, (at, n, "")) for at, n, _ in times["invoice_paid"] for _ in range(n)]
    invoices: list[list[tuple[float, int, str]]] = []
    last = -inf  # when the last notice came, with no payment since
    for at, pays, notice in sorted(moves):
        if pays:
            invoices[-1:] = []
        elif at - last <= 3 * DAY:
            invoices[-1].append(notice)  # a reminder
        else:
            invoices.append([notice])
        last = -inf if pays else at
    return [notice for notices in invoices for notice in notices if notice[0] > renewed]


def _faded(happened: list[tuple[float, int, str]], half_life: float, until: float | None) -> float:
    return sum(n * 2 ** (-max((until or -inf) - at, 0.0) / DAY / half_life) for at, n, _ in happened)


def _damp(count: float) -> float:
    return log2(1 + min(count, 3.0))


def _tickets(times: dict[str, list[tuple[float, int, str]]], seen: float | None, now: float) -> float:
    """Tickets that are open, the first opened being the first resolved; none older than 90 days of use."""
    moves = [(at, -n) for at, n, _ in times["support_ticket_opened"]]
    moves += [(at, n) for at, n, _ in times["support_ticket_resolved"]]
    waiting: list[float] = []
    for at, resolved in sorted(moves):
        waiting = waiting[resolved:] if resolved > 0 else waiting + [at] * -resolved
    waiting = [at for at in waiting if seen is None or at >= seen - 90 * DAY]
    return 0.1 * _damp(len(waiting)) + 0.3 * bool(waiting and now - waiting[0] > 7 * DAY)


def _answers(answers: list[tuple[float, int, str]], seen: float | None, now: float) -> float:
    """The last NPS answer with a score; the lowest of several at once."""
    valid = [(at, -int(detail)) for at, _, detail in answers if detail.isdigit()]
    if not valid:
        return 0.0
    at, score = max(valid)
    if -score <= 6:
        return 0.8 * 2 ** (-max((seen or -inf) - at, 0.0) / DAY / 90)
    return -0.8 * 2 ** (-(now - at) / DAY / 90) if -score >= 9 else 0.0


def _last_plan(rows: Iterable[Row]) -> str | None:
    return max(((at, plan) for *_, at, plan in rows if plan), default=(0.0, None))[1]


def _held(total: float) -> float:
    most, bend = log(0.99 / 0.01), log(0.95 / 0.05)
    return total if total <= bend else most - (most - bend) * exp(-(total - bend) / (most - bend))


def _floor(times: dict[str, list[tuple[float, int, str]]], seen: float | None, free: bool) -> float:
    """The least risk of open matters."""

    def last(*events: str) -> float:
        return max((at for event in events for at, _, _ in times[event]), default=-inf)

    def is_open(since: float, use_days: float, settled_from: float, settled: float) -> bool:
        used = seen is not None and seen - since > use_days * DAY
        return since > -inf and not used and not settled > settled_from

    paid = last("subscription_renewed", "subscription_upgraded", "invoice_paid")
    refund, trial, downgraded = last("refund_requested"), last("trial_ended"), last("subscription_downgraded")
    kept = 0.5 if is_open(refund, 14, refund, last("subscription_renewed")) else 1.0
    kept *= 0.75 if is_open(trial, 30, trial - 14 * DAY, paid) else 1.0
    kept *= 0.5 if free and is_open(downgraded, 30, downgraded, paid) else 1.0
    return 1 - kept if kept < 1 else 0.0
