"""Sentences about alerts and their effect, for the pages."""

from collections.abc import Iterator

from api.alerts.effect import AlertEffect


def describe_effect(effect: AlertEffect, horizon_days: int) -> list[str]:
    """Sentences about the effect of alerts, without statistical terms."""
    return list(_sentences(effect, horizon_days))


def _sentences(effect: AlertEffect, horizon_days: int) -> Iterator[str]:
    alerted, held_out = effect.alerted, effect.held_out
    if not alerted.customers and not held_out.customers:
        yield f"No alert is old enough yet. The effect of an alert is known {horizon_days} days later."
        return
    yield f"Of {alerted.customers:,} customers who were alerted, {alerted.customers - alerted.lapsed:,} came back."
    if not held_out.customers:
        yield (
            "No customer was left alone, so there is nothing to compare with. "
            "Leave a share of them alone to find out if alerts help."
        )
        return
    yield f"Of {held_out.customers:,} who were left alone, {held_out.customers - held_out.lapsed:,} came back."
    assert effect.difference is not None
    assert effect.interval is not None
    if effect.needed:
        yield f"That is too few to tell. It takes about {effect.needed:,} more customers."
        return
    low, high = sorted(abs(bound) * 100 for bound in effect.interval)
    what = "keeps" if effect.difference < 0 else "loses"
    yield f"Alerting {what} between {low:.0f} and {high:.0f} customers of a hundred."
