"""Passes on parameters that are in Postgres's binary format already."""

from typing import Any

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format


class BinaryArrayDumper(Dumper):
    """Passes a BinaryArray on as it is. The query says which type it has."""

    format = Format.BINARY

    def dump(self, obj: Any) -> bytes:
        """Returns the parameter's bytes."""
        data: bytes = obj.data
        return data


# By its name: processes that pass none need no numpy.
psycopg.adapters.register_dumper("workers.buffer.arrays.BinaryArray", BinaryArrayDumper)
