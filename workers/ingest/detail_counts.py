"""The number of details that a worker has seen of a customer, day and name: roughly, in bounded memory, and without a
Python object for each.

A table of bits, by a hash of the row of daily counts, says which rows were seen; a table of counts, by a hash of the
customer, day and name, how many there were of it. Rows that share a place by chance make a count a little wrong: the
bound is there against hundreds of details, not against one.
"""

import numpy as np
from numpy.typing import NDArray

from workers.buffer.fold import Fold

BITS = 20  # of a place
MOST_ROWS = 1 << 17  # that are remembered; one place in eight is taken then
ODD = np.uint64(0x9E37_79B9_7F4A_7C15)  # 2⁶⁴ divided by the golden ratio: multiplied by it, numbers spread evenly
IDS = np.dtype([("length", ">i4"), ("high", "<u8"), ("low", "<u8")])

Hashes = NDArray[np.uint64]


class DetailCounts:
    """Counts of details since the last time that they were forgotten."""

    def __init__(self) -> None:
        self._seen = np.zeros(1 << BITS, np.bool_)
        self._counts = np.zeros(1 << BITS, np.uint32)
        self._rows = 0

    def add(self, added: Fold) -> NDArray[np.uint32]:
        """Count the rows of daily counts that have a detail. Returns the count for each row; 0 where it has none."""
        if self._rows > MOST_ROWS:
            self._seen[:] = False
            self._counts[:] = 0
            self._rows = 0
        has_detail = np.array([detail != "" for _, detail in added.words], np.bool_)[added.days.words]
        names = _spread(_spread(_hash_days(added)) + _hash([event for event, _ in added.words])[added.days.words])
        rows = _spread(names + _hash([detail for _, detail in added.words])[added.days.words])
        name_places, row_places = names >> np.uint64(64 - BITS), rows >> np.uint64(64 - BITS)
        new = has_detail & ~self._seen[row_places]
        self._seen[row_places[new]] = True
        np.add.at(self._counts, name_places[new], 1)
        self._rows += int(new.sum())
        return np.where(has_detail, self._counts[name_places], np.uint32(0))


def _hash_days(added: Fold) -> Hashes:
    """Returns a hash of customer and day for each row."""
    ids = np.frombuffer(b"".join(customer.id_field for customer in added.customers), IDS)["high"]
    return np.asarray(ids[added.days.customer] + _spread(added.days.day.astype(np.uint64)), np.uint64)


def _hash(words: list[str]) -> Hashes:
    return np.array([hash(word) for word in words], np.int64).astype(np.uint64)


def _spread(hashes: Hashes) -> Hashes:
    return (hashes ^ (hashes >> np.uint64(32))) * ODD
