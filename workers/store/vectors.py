"""Columns of many rows as parameters of a query, packed by numpy into Postgres's binary arrays.

psycopg's own way asks each value of a list for its type, which costs more than the risk that is written. A number that
isn't known is NaN, of which the query makes a null.
"""

from collections.abc import Sequence
from itertools import count
from struct import Struct
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg
from numpy.typing import ArrayLike, NDArray
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEADER: Final = Struct(">iiIii")  # dimensions, 1 if nulls may follow, the type, the length, the first index
_SIZE: Final = Struct(">i")


class Vector(NamedTuple):
    """An array in Postgres's binary format; the query casts it to its type."""

    data: bytes


class _VectorDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Vector) -> bytes:
        return obj.data


psycopg.adapters.register_dumper(Vector, _VectorDumper)


def uuids(ids: Sequence[str]) -> Vector:
    """Returns a uuid[]."""
    return _pack(2950, "V16", np.frombuffer(bytes.fromhex("".join(ids).replace("-", "")), "V16"))


def booleans(values: ArrayLike) -> Vector:
    """Returns a boolean[]."""
    return _pack(16, "?", values)


def integers(values: ArrayLike) -> Vector:
    """Returns an integer[]."""
    return _pack(23, ">i4", values)


def reals(values: ArrayLike) -> Vector:
    """Returns a real[]; None is NaN."""
    return _pack(700, ">f4", np.asarray(values, np.float64))


def doubles(values: ArrayLike) -> Vector:
    """Returns a double precision[]; None is NaN."""
    return _pack(701, ">f8", np.asarray(values, np.float64))


def texts(values: Sequence[bytes]) -> Vector:
    """Returns a text[] of UTF-8."""
    sizes = np.fromiter(map(len, values), ">i4", len(values)).tobytes()
    fields = [sizes[at : at + _SIZE.size] + value for at, value in zip(count(0, _SIZE.size), values, strict=False)]
    return Vector(_HEADER.pack(1, 0, 25, len(values), 1) + b"".join(fields))


def words(values: Sequence[str | None]) -> Vector:
    """Returns a text[] of words that come again and again; None is null."""
    fields = {word: _make_field(word) for word in set(values)}
    return Vector(_HEADER.pack(1, 1, 25, len(values), 1) + b"".join(map(fields.__getitem__, values)))


def _make_field(word: str | None) -> bytes:
    data = b"" if word is None else word.encode()
    return _SIZE.pack(-1 if word is None else len(data)) + data


def _pack(type_oid: int, kind: str, values: ArrayLike) -> Vector:
    column: NDArray[Any] = np.asarray(values)
    rows = np.empty(len(column), [("size", ">i4"), ("value", kind)])
    rows["size"], rows["value"] = np.dtype(kind).itemsize, column
    return Vector(_HEADER.pack(1, 0, type_oid, len(rows), 1) + rows.tobytes())
