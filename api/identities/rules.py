"""The rules of an identity: its ids, its address, its traits."""

import re
from collections.abc import Iterator
from typing import Any

from api.track.rules import (
    Fault,
    check_email,
    check_properties,
    check_timestamp,
    check_user_id,
)

CURRENCY = re.compile(r"[A-Za-z]{3}")
MOST_MRR = 10**15  # minor units


def find_faults(identity: dict[str, Any], now: float) -> Iterator[Fault]:
    """Yields what is wrong with an identity, as of `now` (epoch seconds)."""
    user_id, email = identity.get("user_id"), identity.get("customer_email")
    if user_id is None and email is None:
        yield Fault("user_id", "user_id_invalid", "`user_id` or `customer_email` is required, or both.")
    if user_id is not None:
        yield from check_user_id(user_id)
    if email is not None:
        yield from check_email(email)
    yield from _check_traits(identity.get("traits"))
    yield from check_timestamp(identity.get("timestamp"), now)


def _check_traits(traits: object) -> Iterator[Fault]:
    if traits is None:
        return
    if not isinstance(traits, dict):
        yield Fault("traits", "traits_invalid", "`traits` must be an object.")
        return
    try:
        check_properties(traits)
    except ValueError as error:
        yield Fault("traits", "traits_invalid", str(error).replace("properties", "traits"))


def find_unread_traits(traits: dict[str, Any]) -> Iterator[Fault]:
    """Yields traits that are kept and can't be read: they count for nothing."""
    mrr, currency = traits.get("mrr"), traits.get("currency")
    if mrr is not None and (type(mrr) is not int or not 0 <= mrr <= MOST_MRR):
        yield Fault("mrr", "traits_invalid", "`mrr` must be a whole number from 0 on, in minor units (cents).")
    if currency is not None and not (isinstance(currency, str) and CURRENCY.fullmatch(currency)):
        yield Fault("currency", "traits_invalid", "`currency` must be three letters of ISO 4217, like EUR.")
