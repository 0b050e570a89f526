"""Columns of many rows as parameters of a query: arrays in Postgres's binary format, of fields that are there already.

psycopg's own way asks each value for its type, which costs more than Postgres takes to store it. It passes these on as
workers/store/parameters.py says.
"""

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import NamedTuple

from workers.buffer.fields import EPOCH_DAYS, EPOCH_US

_HEADER = Struct(">iiIii")  # dimensions, whether nulls may follow, the type of the elements, how many, the first index
_EMPTY = Struct(">iiI")
_LENGTH_BYTES = 4


class BinaryArray(NamedTuple):
    """An array in Postgres's binary format. The query casts it to its type."""

    data: bytes


def uuids(fields: Sequence[bytes]) -> BinaryArray:
    """Returns a uuid[] of these fields."""
    return _make_array(2950, fields)


def texts(fields: Sequence[bytes]) -> BinaryArray:
    """Returns a text[] of these fields."""
    return _make_array(25, fields)


def jsonbs(fields: Sequence[bytes]) -> BinaryArray:
    """Returns a jsonb[] of these fields."""
    return _make_array(3802, fields)


def integers(values: Iterable[int]) -> BinaryArray:
    """Returns an integer[]."""
    return _make_array(23, _pack_few("i", values))


def bigints(values: Iterable[int]) -> BinaryArray:
    """Returns a bigint[]."""
    return _make_array(20, _pack("q", values))


def doubles(values: Iterable[float]) -> BinaryArray:
    """Returns a double precision[]."""
    return _make_array(701, _pack_few("d", values))


def dates(days: Iterable[int]) -> BinaryArray:
    """Returns a date[] of days since 1970."""
    return _make_array(1082, _pack_few("i", (day - EPOCH_DAYS for day in days)))


def moments(microseconds: Iterable[int]) -> BinaryArray:
    """Returns a timestamptz[] of microseconds since 1970."""
    return _make_array(1184, _pack("q", [moment - EPOCH_US for moment in microseconds]))


def _pack(kind: str, values: Iterable[float]) -> list[bytes]:
    field = Struct(f">i{kind}")
    pack, size = field.pack, field.size - _LENGTH_BYTES
    return [pack(size, value) for value in values]


def _pack_few(kind: str, values: Iterable[float]) -> list[bytes]:
    """As `_pack`, for values that come again and again."""
    values = list(values)
    distinct = list(set(values))
    fields = dict(zip(distinct, _pack(kind, distinct), strict=True))
    return [fields[value] for value in values]


def _make_array(type_oid: int, fields: Sequence[bytes]) -> BinaryArray:
    if not fields:
        return BinaryArray(_EMPTY.pack(0, 0, type_oid))
    return BinaryArray(_HEADER.pack(1, 1, type_oid, len(fields), 1) + b"".join(fields))
