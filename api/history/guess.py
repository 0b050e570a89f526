"""Guesses the origin of a file, and which of its columns holds which field. A person confirms the guess."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from api.doors.segment_messages import CALLS
from api.history.event_files import TIME_NAMES
from api.track.rules import FIELDS

Json = Mapping[str, Any]

SYNONYMS: Final[Mapping[str, re.Pattern[str]]] = {
    "event": re.compile(r"event_?name|event_?type|action|activity|event"),
    "customer_email": re.compile(r"(customer_|user_|contact_|account_)?e_?mail(_address)?"),
    "user_id": re.compile(r"(user|customer|account|distinct|person)_?id|uid"),
    "event_id": re.compile(r"(event|message|insert|row)_?id|uuid"),
    "timestamp": TIME_NAMES,
}


def guess_preset(fields: Json) -> str | None:
    """Returns the product whose export has such a record; None for our own shape, and for an unknown one."""
    if fields.get("object") == "event" and isinstance(fields.get("data"), dict):
        return "stripe"
    cells = {name.casefold() for name in fields}
    if {"id", "status", "customer email"} <= cells:
        return "stripe"
    if fields.get("type") in CALLS.values() and {"messageId", "userId", "anonymousId"} & fields.keys():
        return "segment"
    if "event_type" in fields and {"user_id", "device_id", "amplitude_id"} & fields.keys():
        return "amplitude"
    if "distinct_id" in fields and "event" in fields:
        return "posthog" if {"uuid", "properties", "person_properties"} & fields.keys() else "mixpanel"
    properties = fields.get("properties")
    return "mixpanel" if isinstance(properties, dict) and {"distinct_id", "time"} <= properties.keys() else None


def guess_columns(names: Iterable[str]) -> dict[str, str]:
    """Returns which of these columns is which field of ours, where they have other names."""
    free = {name: _fold(name) for name in names if name}
    taken = {field: name for field in FIELDS for name, folded in free.items() if folded == field}
    for field, pattern in SYNONYMS.items():
        if field in taken:
            continue
        match = next((name for name, folded in free.items() if _fits(pattern, folded, name, taken)), None)
        if match is not None:
            taken[field] = match
    return {field: name for field, name in taken.items() if _fold(name) != field}


def _fits(pattern: re.Pattern[str], folded: str, name: str, taken: Mapping[str, str]) -> bool:
    return name not in taken.values() and pattern.fullmatch(folded) is not None


def _fold(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")
