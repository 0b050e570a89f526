"""Rows of customer_days as Postgres packs them, and as `earlier_days` keeps those of a customer: numpy unpacks them
without a Python object a row."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from scoring.rollup import Codes, Floats

PACKED: Final = np.dtype([("key", ">u8"), ("last_at", ">i8")])
"""A key is customer (16 bits), day since 1970 (16), n (31), and 1 where there is a value: it sorts the rows."""
KEPT: Final = np.dtype([("key", "<u8"), ("last_at", "<i8"), ("value", "<f8"), ("line", "<i4")])
"""The same of a single customer, who is 0 in the key; with the value, and the place of its line of words."""
CUSTOMER: Final = np.uint64(48)  # the bit at which the customer begins in a key


class PackedRows(NamedTuple):
    """Rows as columns; keys as in PACKED, words as codes: event, detail and plan of each row."""

    key: NDArray[np.uint64]
    last_at: NDArray[np.int64]
    value: Floats
    words: NDArray[np.int32]

    @property
    def customer(self) -> NDArray[np.intp]:
        """The place of each row's customer."""
        return (self.key >> CUSTOMER).astype(np.intp)

    @property
    def day(self) -> NDArray[np.int32]:
        """The day of each row, since 1970."""
        return (self.key >> np.uint64(32) & np.uint64(0xFFFF)).astype(np.int32)

    @property
    def n(self) -> NDArray[np.int32]:
        """The number of events of each row."""
        return (self.key >> np.uint64(1) & np.uint64(0x7FFFFFFF)).astype(np.int32)

    def take(self, rows: NDArray[Any] | slice) -> Self:
        """Some of the rows."""
        return type(self)(self.key[rows], self.last_at[rows], self.value[rows], self.words[:, rows])

    def in_order(self) -> Self:
        """The rows by customer and day."""
        return self if (self.key[1:] >= self.key[:-1]).all() else self.take(np.argsort(self.key))


class RowWords:
    """The events, details and plans of rows, by their codes; a plan that isn't named is -1."""

    def __init__(self) -> None:
        self.events, self.details, self.plans = Codes(), Codes(), Codes({"": 0})

    def decode(self, text: str) -> NDArray[np.int32]:
        """Returns the codes of lines of words: (3, lines)."""
        codes = [
            (self.events[event], self.details[detail], self.plans[plan] - 1)
            for event, detail, plan in (line.split("\x1f") for line in text.split("\n"))
        ]
        return np.array(codes, np.int32).T

    def encode(self, codes: NDArray[np.int32]) -> str:
        """Returns the lines of words of these codes: (3, lines)."""
        events, details, plans = list(self.events), list(self.details), list(self.plans)
        return "\n".join(
            f"{events[event]}\x1f{details[detail]}\x1f{plans[plan + 1]}" for event, detail, plan in codes.T.tolist()
        )


def unpack(packed: bytes, amounts: bytes | None, sizes: bytes, text: str, words: RowWords) -> PackedRows:
    """Returns the rows of read_days, which adds their words to those that are known."""
    rows, codes = np.frombuffer(packed, PACKED), words.decode(text)
    key = rows["key"].astype(np.uint64)
    value = np.zeros(len(key))
    if amounts is not None:
        value[(key & np.uint64(1)).astype(bool)] = np.frombuffer(amounts, ">f8")
    return PackedRows(key, rows["last_at"].astype(np.int64), value, codes.repeat(np.frombuffer(sizes, ">i4"), axis=1))


def pack_kept(rows: PackedRows, words: RowWords) -> tuple[bytes, str]:
    """Returns rows of one customer, as KEPT has them, and their lines of words."""
    codes, lines = np.unique(rows.words, axis=1, return_inverse=True)
    kept = np.empty(len(rows.key), KEPT)
    kept["key"] = rows.key & np.uint64((1 << 48) - 1)
    kept["last_at"], kept["value"], kept["line"] = rows.last_at, rows.value, lines.ravel()
    return kept.tobytes(), words.encode(codes)


def unpack_kept(kept: bytes, text: str, place: int, words: RowWords) -> PackedRows:
    """Returns the rows of `pack_kept`, of the customer at this place."""
    rows, codes = np.frombuffer(kept, KEPT), words.decode(text)
    key = rows["key"] | np.uint64(place) << CUSTOMER
    return PackedRows(key, rows["last_at"], rows["value"], codes.take(rows["line"], axis=1))


def join(parts: Sequence[PackedRows]) -> PackedRows:
    """Returns the rows of all parts, of which there is at least one."""
    columns = zip(*parts, strict=True)
    return parts[0] if len(parts) == 1 else PackedRows(*(np.concatenate(column, axis=-1) for column in columns))
