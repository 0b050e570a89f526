"""Values as Postgres's binary format has them, in COPY and in arrays: the length, then the bytes."""

from struct import Struct

EPOCH_US = 946_684_800_000_000  # Postgres counts from 2000: microseconds since 1970,
EPOCH_DAYS = 10_957  # and days
NULL = b"\xff\xff\xff\xff"
JSONB_VERSION = b"\x01"

_LENGTH = Struct(">i")


def pack_bytes(value: bytes) -> bytes:
    """Returns the field of these bytes."""
    return _LENGTH.pack(len(value)) + value


def pack_text(text: str | None) -> bytes:
    """Returns the field of a text, or of none. Raises UnicodeEncodeError for half a character."""
    return NULL if text is None else pack_bytes(text.encode())


def pack_uuid(digits: str) -> bytes:
    """Returns the field of a uuid of 32 hexadecimal digits."""
    return pack_bytes(bytes.fromhex(digits))


def pack_jsonb(text: str | None) -> bytes:
    """Returns the field of a JSON text as jsonb, or of none."""
    return NULL if text is None else pack_bytes(JSONB_VERSION + text.encode())
