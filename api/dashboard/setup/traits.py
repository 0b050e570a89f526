"""Traits on a customer's page: those that have no line of their own."""

from collections.abc import Mapping
from typing import Any, Final

from api.dashboard.timeline import text_of

OWN_LINES: Final = frozenset({"name", "company", "mrr", "plan", "currency", "email"})
MOST: Final = 20


def list_other_traits(traits: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The other traits, as text, by name."""
    return [(name, text_of(value)) for name, value in sorted(traits.items()) if name not in OWN_LINES][:MOST]
