"""How psycopg passes on parameters that are in Postgres's binary format already."""

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from workers.buffer.arrays import BinaryArray


class BinaryArrayDumper(Dumper):
    """Passes a BinaryArray on as it is. The query says which type it has."""

    format = Format.BINARY

    def dump(self, obj: BinaryArray) -> bytes:
        """Returns the parameter's bytes."""
        return obj.data


psycopg.adapters.register_dumper(BinaryArray, BinaryArrayDumper)
