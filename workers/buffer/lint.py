"""Hints about valid events: names that are nearly another name, and properties that look like personal data."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from redis import Redis

from scoring.events import RECOGNISED
from workers.redis import PREFIX
from workers.warnings import Warnings

NAMES = f"{PREFIX}:names:{{}}"  # by account: a hash, the name without its spelling → the name that was seen first
MOST_NAMES = 10_000  # of an account
REMEMBERED_NAMES = 100_000  # of all accounts, by one worker
DEEPEST = 10
MOST_PATHS = 3
# The values that are looked at of an event: whatever a producer sends, it must cost little.
MOST_VALUES = 200
MOST_CHARACTERS = 2_000
VALUE_CHARACTERS = 1_000
MOST_SIGNS = 5  # @ of a value

DOMAIN = re.compile(r"[^\s@.]{1,63}(?:\.[^\s@.]{1,63})*\.[^\s@]")
CARD = re.compile(r"(?<!\d)(?:\d[ -]?){12,18}\d(?!\d)")
SECRET_KEY = re.compile(r"passw|secret|cvv|cvc|card_?number|\bssn\b|iban|api_?key|access_?token", re.IGNORECASE)
DIGITS = re.compile(rb"(?:\d[ -]?){12}\d")
HINTS = (b"@", b"passw", b"secret", b"cvv", b"cvc", b"card", b"ssn", b"iban", b"api", b"token")  # lower case
HINT_BYTES = 8_192  # of the properties, in which hints are looked for


def find_personal_data(raw: bytes, properties: dict[str, Any]) -> tuple[str, ...]:
    """Returns the paths of properties that look like personal data: cards, secrets, addresses. At most three, and of
    the first values only."""
    if not properties or not _may_hold_personal_data(raw[:HINT_BYTES].lower()):
        return ()
    paths: list[str] = []
    characters = MOST_CHARACTERS
    for path, key, value in islice(_walk_leaves(properties, "properties", DEEPEST), MOST_VALUES):
        text = _as_text(value)[: min(VALUE_CHARACTERS, characters)]
        if _is_personal(key, text):
            paths.append(path)
        characters -= len(text)
        if characters <= 0 or len(paths) == MOST_PATHS:
            break
    return tuple(paths)


def _may_hold_personal_data(raw: bytes) -> bool:
    return any(hint in raw for hint in HINTS) or DIGITS.search(raw) is not None


def _walk_leaves(value: Any, path: str, depth: int, key: str = "") -> Iterator[tuple[str, str, Any]]:
    if isinstance(value, dict) and depth:
        for name, inner in value.items():
            yield from _walk_leaves(inner, f"{path}.{name[:50]}", depth - 1, name)
    elif isinstance(value, list) and depth:
        for inner in value:
            yield from _walk_leaves(inner, f"{path}[]", depth - 1, key)
    else:
        yield path, key, value


def _as_text(value: Any) -> str:
    """Returns a value that may be personal as text, "" for any other."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _is_personal(key: str, text: str) -> bool:
    if not text:
        return False
    if SECRET_KEY.search(key[:VALUE_CHARACTERS]):
        return True
    return _holds_address(text) or any(_is_card(match[0]) for match in CARD.finditer(text))


def _holds_address(text: str) -> bool:
    at = 0
    for _ in range(MOST_SIGNS):
        at = text.find("@", at) + 1
        if not at:
            return False
        if at > 1 and not text[at - 2].isspace() and text[at - 2] != "@" and DOMAIN.match(text, at):
            return True
    return False


def _is_card(text: str) -> bool:
    """Luhn's check, which card numbers pass and most other long numbers don't."""
    digits = [int(digit) for digit in text if digit.isdigit()]
    doubled = [digit if place % 2 == 0 else (digit * 2 - 9 if digit > 4 else digit * 2)
               for place, digit in enumerate(reversed(digits))]  # fmt: skip
    return sum(doubled) % 10 == 0 and len(set(digits)) > 1


def strip_spelling(name: str) -> str:
    """Returns a name without its spelling: `featureUsed`, `feature-used` and `feature_used` give the same."""
    return re.sub(r"[\W_]+", "", name).lower()


RECOGNISED_PLAIN = {strip_spelling(name): name for name in RECOGNISED}


class SeenNames:
    """Names that a worker has seen, so that each is looked at once."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, str]] = set()

    def warn_of_near_names(self, redis: Redis, events: Iterable[tuple[int, str]], warnings: Warnings) -> None:
        """Warn of names that are nearly others of the same account. `events`: account and name."""
        names: defaultdict[int, list[str]] = defaultdict(list)
        for account_id, name in set(events) - self._seen:
            names[account_id].append(name)
        for account_id, new in names.items():
            for name, other in _find_others(redis, account_id, sorted(new)).items():
                message = f"`{name}` is nearly `{other}`; the two are counted as different events."
                warnings.add(account_id, "near_duplicate_name", "event", message, name)
            if len(self._seen) + len(new) > REMEMBERED_NAMES:
                self._seen.clear()
            self._seen.update((account_id, name) for name in new)


def _find_others(redis: Redis, account_id: int, names: Sequence[str]) -> dict[str, str]:
    """Returns, for each of these names that has one, the name that was there first and is spelt differently."""
    bare = {name: strip_spelling(name) for name in names}
    first = {spelt: RECOGNISED_PLAIN[spelt] for spelt in bare.values() if spelt in RECOGNISED_PLAIN}
    unknown = sorted({spelt for spelt in bare.values() if spelt and spelt not in first})
    first |= _find_firsts(redis, NAMES.format(account_id), unknown) if unknown else {}
    new: dict[str, str] = {}
    for name, spelt in bare.items():
        if spelt and spelt not in first:
            first[spelt] = new[spelt] = name
    _save_firsts(redis, NAMES.format(account_id), new)
    return {name: first[spelt] for name, spelt in bare.items() if first.get(spelt, name) != name}


def _find_firsts(redis: Redis, key: str, spelt: Sequence[str]) -> dict[str, str]:
    names: Any = redis.hmget(key, spelt)
    return {bare: name.decode() for bare, name in zip(spelt, names, strict=True) if name is not None}


def _save_firsts(redis: Redis, key: str, new: Mapping[str, str]) -> None:
    if new and (room := MOST_NAMES - int(redis.hlen(key))) > 0:
        redis.hset(key, mapping=dict(islice(new.items(), room)))
