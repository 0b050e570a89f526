"""Reading an account's whole rollup, in bounded memory: Postgres packs the rows of each customer into one value, and
numpy unpacks them without a Python object a row.

Beyond MOST_ROWS whole customers are left out, never parts of their histories: ids are hashes, so those up to a bound
are a fair draw.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.event_roles import PLAIN, Meaning, translate
from scoring.rollup import Codes, Rollup
from workers.risk.days import epoch_of
from workers.store import Connection, only_row, sql

MOST_ROWS: Final = 8_000_000  # of 40 bytes
CUSTOMERS_AT_A_TIME: Final = 500
DEMO = "%@demo.example"  # addresses of the simulated company: a reserved domain, where nobody has one
EVER: Final = (date(1970, 1, 1), date(2200, 1, 1))
DETAILED: Final = ["feature_used", "nps_response"]  # events whose detail a risk depends on
INVOICED: Final = ["invoice_paid", "invoice_overdue"]  # … whose invoice it does

PACKED: Final = np.dtype([("day", ">i4"), ("n", ">i4"), ("value", ">f8"), ("last_at", ">i8"), ("word", ">i8")])


class AccountRollup(NamedTuple):
    """A rollup, and the customer_id of each of its customers."""

    rollup: Rollup
    customer_ids: list[str]


class _Words(NamedTuple):
    """Codes of events, details and plans, by the numbers that stand for them in read_packed; sorted by number."""

    numbers: NDArray[np.int64]
    codes: NDArray[np.int32]  # (3, numbers)
    names: tuple[list[str], list[str], list[str]]
    rows: int


def read_account(
    cells: Connection | Sequence[Connection],
    account_id: int,
    days: tuple[date, date] = EVER,
    meaning: Meaning = PLAIN,
    most_rows: int = MOST_ROWS,
) -> AccountRollup:
    """An account's rows of the days from the first up to, but not including, the second; as of one moment in each cell.

    Customers of `windback demo` are left out where there are others: they must not teach a real account.
    """
    detailed, invoiced = ([*events, *meaning.names_of(events)] for events in (DETAILED, INVOICED))
    parameters: dict[str, Any] = {"account_id": account_id, "detailed": detailed, "since": days[0], "until": days[1]}
    parameters |= {"demo": DEMO, "invoiced": invoiced}
    connections = cells if isinstance(cells, Sequence) else [cells]
    with ExitStack() as stack:
        for connection in connections:
            stack.enter_context(connection.transaction())
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            connection.execute("SET LOCAL statement_timeout = '30min'")
        answers = [only_row(connection.execute(sql("is_demo_only"), parameters)) for connection in connections]
        parameters["with_demo"] = all(is_demo_only for (is_demo_only,) in answers)
        rows = [connection.execute(sql("read_words"), parameters).fetchall() for connection in connections]
        words = _decode_words([row for part in rows for row in part])
        share = min(1.0, most_rows / max(words.rows, 1))
        account = _unpack(connections, parameters, words, share)
    return account._replace(rollup=translate(account.rollup, meaning))


def day_of(epoch: float) -> date:
    """The day, UTC, of an instant in epoch seconds."""
    return EVER[0] + timedelta(days=int(epoch // 86400))


def _id_bound(share: float, cell: int = 0, cells: int = 1) -> str:
    """The id up to which this share of a cell's customers lies: its ids are a range."""
    return f"{min(int((cell + share) / cells * 2**32), 2**32 - 1):08x}-ffff-ffff-ffff-ffffffffffff"


def _decode_words(rows: list[Any]) -> _Words:
    events, details, plans = Codes(), Codes(), Codes({None: -1})
    codes = np.array([(events[event], details[detail], plans[plan]) for _, event, detail, plan, _ in rows], np.int32)
    codes = codes.reshape(-1, 3).T
    codes[2] = np.maximum(codes[2] - 1, -1)
    numbers = np.array([row[0] for row in rows], np.int64)
    order = np.argsort(numbers)
    names = (list(events), list(details), [plan for plan in plans if plan is not None])
    return _Words(numbers[order], codes[:, order], names, sum(row[4] for row in rows))


def _unpack(
    connections: Sequence[Connection], parameters: dict[str, Any], words: _Words, share: float
) -> AccountRollup:
    room = min(words.rows, int(words.rows * share * 1.05) + 100_000)
    columns = {name: np.empty(room, kind) for name, kind in _COLUMNS.items()}
    ids: list[str] = []
    filled = 0
    for number, connection in enumerate(connections):
        bound = {"last": _id_bound(share, number, len(connections))}
        with connection.cursor(name="rollup") as cursor:
            cursor.itersize = CUSTOMERS_AT_A_TIME
            cursor.execute(sql("read_packed"), parameters | bound, binary=True)
            while block := cursor.fetchmany(CUSTOMERS_AT_A_TIME):
                filled = _add(columns, filled, block, len(ids), words)
                ids += [customer_id for customer_id, _ in block]
    cut = {name: column[:filled] for name, column in columns.items()}
    events, details, plans = words.names
    return AccountRollup(Rollup(customers=len(ids), **cut, names=events, details=details, plans=plans), ids)


_COLUMNS: Final[dict[str, Any]] = {
    "customer": np.int32,
    "day": np.int32,
    "event": np.int32,
    "detail": np.int32,
    "n": np.int32,
    "value": np.float64,
    "last_at": np.float64,
    "plan": np.int32,
}


def _add(columns: dict[str, NDArray[Any]], filled: int, block: list[Any], first: int, words: _Words) -> int:
    """Unpack a block of customers, numbered from `first`, into the columns; returns how far these are filled."""
    packed = np.frombuffer(b"".join(rows for _, rows in block), PACKED)
    packed = packed[: len(columns["day"]) - filled]  # a draw may exceed its share by chance
    sizes = [len(rows) // PACKED.itemsize for _, rows in block]
    place = slice(filled, filled + len(packed))
    for name in ("day", "n", "value"):
        columns[name][place] = packed[name]
    columns["last_at"][place] = epoch_of(packed["last_at"])
    columns["customer"][place] = np.repeat(np.arange(first, first + len(block)), sizes)[: len(packed)]
    word = np.searchsorted(words.numbers, packed["word"].astype(np.int64))
    for name, codes in zip(("event", "detail", "plan"), words.codes, strict=True):
        columns[name][place] = codes[word]
    return filled + len(packed)
