"""JSON that is cut into its parts as they were sent.

A body may hold a million values, so nothing is decoded before its size is known. Cutting builds nothing; only the
fields that are read are decoded, one part after another.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from api.errors import Refused
from api.surrogates import has_half
from scoring.events import MAX_BATCH, MAX_PROPERTIES_BYTES

ESCAPED_BYTES = 6  # of a character, at most: \u0041
HALF_CHARACTER = "The body holds half of a character: a surrogate like \\ud83d without its other half."
TOO_DEEP = "The body is nested too deeply."
NOT_TEXT = object()
TOO_LONG = {"": "x" * (MAX_PROPERTIES_BYTES + 1)}  # in place of an object that is too long to be decoded

RawField = Raw | UnsetType
FirstItems = msgspec.defstruct(
    "FirstItems", [(f"item_{n}", RawField, UNSET) for n in range(MAX_BATCH + 1)], array_like=True, gc=False
)

_decode_items: Callable[[Raw], Any] = msgspec.json.Decoder(FirstItems).decode
_decode_text = msgspec.json.Decoder(str | None).decode
_decode_any = msgspec.json.Decoder().decode


def decode_whole(decode: Callable[[bytes], Any], body: bytes, shape: str = "") -> Any:
    """Returns decoded JSON. Raises Refused, malformed_json, unless it is JSON in UTF-8 of the expected shape, which
    `shape` describes for people."""
    try:
        return decode(body)
    except msgspec.ValidationError:
        raise Refused("malformed_json", shape) from None
    except UnicodeDecodeError:
        raise Refused("malformed_json", "The body is not UTF-8.") from None
    except ValueError as error:
        raise Refused(
            "malformed_json", HALF_CHARACTER if has_half(body) else f"The body can't be read: {error}."
        ) from None
    except RecursionError:
        raise Refused("malformed_json", TOO_DEEP) from None


def cut_list(raw: Raw) -> list[bytes] | None:
    """Returns the items of a list, the first MAX_BATCH + 1 of them; None if it is no list."""
    try:
        return [bytes(item) for item in msgspec.structs.astuple(_decode_items(raw)) if item is not UNSET]
    except msgspec.ValidationError:
        return None


def decode_text(raw: RawField) -> Any:
    """Returns a text, or None; NOT_TEXT for anything else."""
    if raw is UNSET:
        return None
    try:
        return _decode_text(raw)
    except msgspec.ValidationError:
        return NOT_TEXT


def decode_object(raw: RawField) -> Any:
    """Returns what should be an object of at most MAX_PROPERTIES_BYTES; one that is longer, too, in place of one that
    is far too long; NOT_TEXT if a number in it can't be read."""
    if raw is UNSET:
        return None
    try:
        return _decode_short(bytes(raw))
    except msgspec.ValidationError:
        return NOT_TEXT


def _decode_short(raw: bytes) -> Any:
    if len(raw) > MAX_PROPERTIES_BYTES:
        raw = msgspec.json.format(raw, indent=-1)  # without blanks
        if len(raw) > MAX_PROPERTIES_BYTES * ESCAPED_BYTES:
            return TOO_LONG
    return _decode_any(raw)
