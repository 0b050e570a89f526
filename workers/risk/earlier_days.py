"""Earlier days of customers with many rows of daily counts, kept as a score reads them.

Each score would read thousands of rows again, nearly all of them as they were. So what a score looks at of the days
before a bound is kept as one row of the table `earlier_days`, and the next score reads the days since. Whatever changes
earlier days deletes that row, or leaves a mark of the customer in `rebuilds`: then the row doesn't hold, until the
rebuild deletes both. It is written only by who holds the row of the customer, without which no rebuild ends: so none
ends between the reading of the days and the writing.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Self

import numpy as np

from scoring.event_roles import Meaning
from scoring.events import ENGAGEMENT
from scoring.look_back import LASTING
from scoring.rollup import DAY
from workers.risk.packed_rows import CUSTOMER, KEPT, PackedRows, RowWords, pack_kept, unpack_kept
from workers.store import Connection, sql, vectors

MOST_SINCE: Final = 500  # rows since the bound: with more of them too soon all would be read again


class Reach(NamedTuple):
    """The bounds of the rows that are read of customers with many.

    The number of days before the last engagement; the custom events that are read whatever their date; and the first
    instant, in epoch seconds, as of which a risk is computed. Of earlier events without a role, only the first and
    the last time and the plan are read.
    """

    days: int
    custom_events: list[str]
    since: float


class Scope(NamedTuple):
    """A reach in an account's own names: the events that are read whatever their date, those that are engagement, days
    before the last one, and the first day (since 1970) of which everything is read."""

    lasting: list[str]
    engagement: list[str]
    days: int
    since: int

    @classmethod
    def of(cls, reach: Reach, meaning: Meaning) -> Self:
        """Returns the scope of a reach."""
        lasting = [*LASTING, *reach.custom_events, *meaning.names_of(LASTING)]
        return cls(lasting, [*ENGAGEMENT, *meaning.names_of(ENGAGEMENT)], reach.days, int(reach.since // DAY))

    @property
    def digest(self) -> bytes:
        """What was kept under another digest is of no use: other events, other days, or another format."""
        return hashlib.blake2b(repr((*self[:3], KEPT)).encode(), digest_size=16).digest()


class KeptDays(NamedTuple):
    """All that is read of a customer's days before `until` (since 1970)."""

    until: int
    rows: PackedRows


def find_kept_days(
    connection: Connection, customer_ids: Sequence[str], places: Sequence[int], scope: Scope, words: RowWords
) -> dict[int, KeptDays]:
    """Returns the kept days of the customers at these places, by place, for those whose days hold."""
    parameters = {
        "customer_ids": vectors.uuids([customer_ids[place] for place in places]),
        "numbers": vectors.integers(places),
        "scope": scope.digest,
        "since": scope.since,
    }
    found = connection.execute(sql("find_earlier_days"), parameters, binary=True)
    return {place: KeptDays(until, unpack_kept(rows, text, place, words)) for place, until, rows, text in found}


def keep_days(
    connection: Connection,
    customer_ids: Sequence[str],
    places: Iterable[int],
    scope: Scope,
    rows: PackedRows,
    words: RowWords,
) -> None:
    """Keep the rows of days before the scope's of the customers at these places. Rows are sorted; the caller's
    transaction holds the rows of the customers."""
    for place in places:
        first, end = np.searchsorted(rows.key, np.array([place, place + 1], np.uint64) << CUSTOMER).tolist()
        theirs = rows.take(slice(first, end))
        earlier = theirs.take(theirs.day < scope.since)
        if not len(earlier.key) or len(theirs.key) - len(earlier.key) > MOST_SINCE:
            continue
        kept, text = pack_kept(earlier, words)
        parameters = {
            "customer_id": customer_ids[place],
            "until": scope.since,
            "oldest": int(earlier.day[0]),
            "scope": scope.digest,
            "rows": kept,
            "words": text,
        }
        connection.execute(sql("keep_earlier_days"), parameters)
