"""Hints about valid events: names that are nearly another name, and properties that look like personal data."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from redis import Redis

from scoring.events import RECOGNISED
from workers.warnings import Warnings

NAMES = "windback:names:{}"  # by account: a hash, the name without its spelling → the name that was seen first
MOST_NAMES = 10_000
DEEPEST = 10
LOOKED_AT = 1_000  # characters of a value

EMAIL = re.compile(r"[^\s@]{1,64}@[^\s@]{1,255}\.[^\s@]")
CARD = re.compile(r"(?<!\d)(?:\d[ -]?){12,18}\d(?!\d)")
SECRET_KEY = re.compile(r"passw|secret|cvv|cvc|card_?number|\bssn\b|iban|api_?key|access_?token", re.IGNORECASE)
HINT = re.compile(rb"@|(?:\d[ -]?){12}\d|passw|secret|cvv|cvc|card_?number|ssn|iban|api_?key|token", re.IGNORECASE)


def find_personal_data(raw: bytes, properties: dict[str, Any]) -> tuple[str, ...]:
    """Returns the paths of properties that look like personal data: cards, secrets, addresses. At most three."""
    if not properties or not HINT.search(raw):
        return ()
    paths = (path for path, key, value in _walk_leaves(properties, "properties", DEEPEST) if _is_personal(key, value))
    return tuple(islice(paths, 3))


def _walk_leaves(value: Any, path: str, depth: int, key: str = "") -> Iterator[tuple[str, str, Any]]:
    if isinstance(value, dict) and depth:
        for name, inner in value.items():
            yield from _walk_leaves(inner, f"{path}.{name[:50]}", depth - 1, name)
    elif isinstance(value, list) and depth:
        for inner in value:
            yield from _walk_leaves(inner, f"{path}[]", depth - 1, key)
    else:
        yield path, key, value


def _is_personal(key: str, value: Any) -> bool:
    if isinstance(value, bool) or value is None or not isinstance(value, str | int):
        return False
    text = str(value)[:LOOKED_AT]
    if SECRET_KEY.search(key) and text:
        return True
    return bool("@" in text and EMAIL.search(text)) or any(_is_card(match[0]) for match in CARD.finditer(text))


def _is_card(text: str) -> bool:
    """Luhn's check, which card numbers pass and most other long numbers don't."""
    digits = [int(digit) for digit in text if digit.isdigit()]
    doubled = [digit if place % 2 == 0 else (digit * 2 - 9 if digit > 4 else digit * 2)
               for place, digit in enumerate(reversed(digits))]  # fmt: skip
    return sum(doubled) % 10 == 0 and len(set(digits)) > 1


def strip_spelling(name: str) -> str:
    """A name without its spelling: `featureUsed`, `feature-used` and `feature_used` are the same."""
    return re.sub(r"[\W_]+", "", name).lower()


RECOGNISED_PLAIN = {strip_spelling(name): name for name in RECOGNISED}


class SeenNames:
    """Names that a worker has seen, so that each is looked at once."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, str]] = set()

    def warn_of_near_names(self, redis: Redis, events: Iterable[tuple[int, str]], warnings: Warnings) -> None:
        """Warn of names that are nearly others of the same account. `events`: account and name."""
        for account_id, name in set(events) - self._seen:
            if other := _find_other(redis, account_id, name):
                message = f"`{name}` is nearly `{other}`; the two are counted as different events."
                warnings.add(account_id, "near_duplicate_name", "event", message, name)
            if len(self._seen) < MOST_NAMES:
                self._seen.add((account_id, name))


def _find_other(redis: Redis, account_id: int, name: str) -> str | None:
    """The name that was there first and is spelt differently."""
    key, bare = NAMES.format(account_id), strip_spelling(name)
    if recognised := RECOGNISED_PLAIN.get(bare):
        return recognised if recognised != name else None
    first: Any = redis.hget(key, bare)
    if first is None:
        if bare and redis.hlen(key) < MOST_NAMES:
            redis.hset(key, bare, name)
        return None
    return str(first.decode()) if first.decode() != name else None
