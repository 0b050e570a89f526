"""Columns of many rows as parameters of a query: arrays in Postgres's binary format, of fields that are there already.

psycopg's own way asks each value for its type, which costs more than Postgres takes to store it. It passes these on as
workers/store/parameters.py says.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workers.buffer.fields import EPOCH_DAYS, EPOCH_US

_HEADER = Struct(">iiIii")  # dimensions, whether nulls may follow, the type of the elements, how many, the first index
_EMPTY = Struct(">iiI")


class BinaryArray(NamedTuple):
    """An array in Postgres's binary format. The query casts it to its type."""

    data: bytes


def uuids(fields: Sequence[bytes]) -> BinaryArray:
    """Returns a uuid[] of these fields."""
    return _make_array(2950, len(fields), b"".join(fields))


def texts(fields: Sequence[bytes]) -> BinaryArray:
    """Returns a text[] of these fields."""
    return _make_array(25, len(fields), b"".join(fields))


def jsonbs(fields: Sequence[bytes]) -> BinaryArray:
    """Returns a jsonb[] of these fields."""
    return _make_array(3802, len(fields), b"".join(fields))


def integers(values: ArrayLike) -> BinaryArray:
    """Returns an integer[]."""
    return _pack(23, ">i4", np.asarray(values, np.int64))


def bigints(values: ArrayLike) -> BinaryArray:
    """Returns a bigint[]."""
    return _pack(20, ">i8", np.asarray(values, np.int64))


def doubles(values: ArrayLike) -> BinaryArray:
    """Returns a double precision[]."""
    return _pack(701, ">f8", np.asarray(values, np.float64))


def dates(days: ArrayLike) -> BinaryArray:
    """Returns a date[] of days since 1970."""
    return _pack(1082, ">i4", np.asarray(days, np.int64) - EPOCH_DAYS)


def moments(microseconds: ArrayLike) -> BinaryArray:
    """Returns a timestamptz[] of microseconds since 1970."""
    return _pack(1184, ">i8", np.asarray(microseconds, np.int64) - EPOCH_US)


def _pack(type_oid: int, kind: str, values: NDArray[Any]) -> BinaryArray:
    fields = np.empty(len(values), [("length", ">i4"), ("value", kind)])
    fields["length"] = fields.dtype["value"].itemsize
    fields["value"] = values
    return _make_array(type_oid, len(values), fields.tobytes())


def _make_array(type_oid: int, count: int, fields: bytes) -> BinaryArray:
    if not count:
        return BinaryArray(_EMPTY.pack(0, 0, type_oid))
    return BinaryArray(_HEADER.pack(1, 1, type_oid, count, 1) + fields)
