"""Sentences about alerts and their effect, for the pages."""

from collections.abc import Iterator

from api.alerts.effect import AlertEffect


def describe_effect(effect: AlertEffect) -> list[str]:
    """Sentences about the effect of alerts, without statistical terms."""
    return list(_sentences(effect))


def _sentences(effect: AlertEffect) -> Iterator[str]:
    alerted, held_out = effect.alerted, effect.held_out
    if not alerted.customers and not held_out.customers:
        yield "No alert is old enough yet: an effect shows when the horizon of an alert is over."
        return
    yield f"Of {alerted.customers:,} customers who were alerted, {alerted.customers - alerted.lapsed:,} came back."
    if not held_out.customers:
        yield "Nobody is held out, so there is nothing to compare with: set a holdout to find out whether alerts help."
        return
    yield f"Of {held_out.customers:,} left alone, {held_out.customers - held_out.lapsed:,} came back."
    assert effect.difference is not None
    assert effect.interval is not None
    if effect.needed:
        yield f"That is too few to tell: it takes about {effect.needed:,} more customers."
        return
    low, high = sorted(abs(bound) * 100 for bound in effect.interval)
    what = "keeps" if effect.difference < 0 else "loses"
    yield f"Alerting {what} between {low:.0f} and {high:.0f} customers of a hundred."
