"""Cells: ranges of customers, each with tables and a buffer of its own.

A customer's id is a hash, and its cell follows from it. A cell is a schema in Postgres and, in Redis, keys with a hash
tag. No transaction, script or job goes from one cell to another, so each promise stays the promise of one transaction
and one script. Accounts, keys and models belong to none: they have a home, the schema that DATABASE_URL leads to. Where
there is a single cell, it is at home too.
"""

from typing import NamedTuple

from workers.redis import KEY_MARK, PREFIX

MOST_CELLS = 256


class Cell(NamedTuple):
    """A range of customers, and the URLs of its tables and its buffer, see sessions.py and redis.py. Home has no
    number."""

    database_url: str
    buffer_url: str
    number: int | None = None
    cells: int = 1  # how many there are
    staged: bool = False  # its schema is being made, see growth.py

    @property
    def is_single(self) -> bool:
        """True for home where there is a single cell, which is there too."""
        return self.number is None and self.cells == 1

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

    @property
    def copy_prefix(self) -> str:
        """The prefix of keys that are copies of home's, in another Redis."""
        return f"{self.prefix}:home"

    @property
    def buffer_server(self) -> str:
        """The URL of its buffer, or the URLs of the cluster that holds it."""
        return self.buffer_url.partition(KEY_MARK)[0]


def lead_to_slot(cell: Cell) -> Cell:
    """Returns a cell with the URL of its buffer such that it leads to the right node, should the server be one of a
    cluster."""
    if cell.buffer_url.startswith("unix:"):
        return cell
    return cell._replace(buffer_url=f"{cell.buffer_url}{KEY_MARK}{cell.prefix}")


def cell_of(customer_id: str, cells: int) -> int:
    """Returns the number of a customer's cell. `customer_id`: hexadecimal digits, with dashes or without."""
    return int(customer_id[:8], 16) * cells >> 32
