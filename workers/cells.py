"""Cells: ranges of customers, each with tables and a buffer of its own.

A customer's id is a hash, and its cell follows from it. A cell is a schema in Postgres and, in Redis, keys with a hash
tag. No transaction, script or job goes from one cell to another, so each promise stays the promise of one transaction
and one script. Accounts, keys and models belong to none: they have a home, the schema that DATABASE_URL leads to. Where
there is a single cell, it is at home too.
"""

from typing import NamedTuple

from workers.redis import PREFIX

MOST_CELLS = 256


class Cell(NamedTuple):
    """A range of customers, and where its tables and its buffer are. Home has no number."""

    database_url: str
    buffer_url: str
    number: int | None = None
    cells: int = 1  # how many there are
    staged: bool = False  # its schema is being made, see growth.py

    @property
    def name(self) -> str:
        """Its name in labels and messages: `007`, or `home`."""
        return "home" if self.number is None else f"{self.number:03}"

    @property
    def schema(self) -> str | None:
        """Its schema in Postgres; None: the one that the URL leads to."""
        stage = "staged_" if self.staged else ""
        return None if self.number is None else f"{stage}cell_{self.number:03}"

    @property
    def prefix(self) -> str:
        """The beginning of its keys in Redis. A Redis Cluster looks at the part in braces alone: they share a slot."""
        return PREFIX if self.number is None else f"{PREFIX}:{{c{self.number:03}}}"


def cell_of(customer_id: str, cells: int) -> int:
    """Returns the number of a customer's cell. `customer_id`: hexadecimal digits, with dashes or without."""
    return int(customer_id[:8], 16) * cells >> 32
