"""The items of one JSON array, read piece by piece: a file of any length costs the memory of its longest item.

The array may be inside a list as APIs answer with, `{"object": "list", "data": […]}`; fields before it are left out.
"""

import json
import re
from collections.abc import Iterator

from api.history.text_files import LONGEST_PIECE, FileFault

LEAST_READ = 65_536  # characters
BLANK = re.compile(r"[ \t\n\r]*")
WRAPPED = re.compile(
    r'\s*\{\s*(?:"(?:object|url|has_more|next|previous|count|status)"\s*:\s*(?:"[^"\\]*"|[\w.+-]+)\s*,\s*)*'
    r'"(?:data|results|events|batch)"\s*:\s*(?=\[\s*(?:\{|\]|$))'
)
FAULT = "the file begins like a JSON array, and can't be read as one"

_scan = json.JSONDecoder(strict=False).raw_decode


def begins_array(head: str) -> bool:
    """Returns whether a file that begins so is one array, bare or inside a list."""
    return head.lstrip().startswith("[") or WRAPPED.match(head) is not None


def list_items(pieces: Iterator[str]) -> Iterator[str]:
    """The texts of the items. Raises FileFault where there is none any more that can be read."""
    return _Items(pieces).read()


class _Items:
    """Text of which the beginning is read and forgotten."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self._text, self._at = "", 0

    def read(self) -> Iterator[str]:
        self._peek()
        if wrapped := WRAPPED.match(self._text, self._at):
            self._at = wrapped.end()
        self._at += 1
        if self._peek() == "]":
            return
        while True:
            yield self._take()
            following = self._peek()
            self._at += 1
            if following == "]":
                return
            if following != ",":
                raise FileFault(f"{FAULT}: {'it ends too early' if not following else 'a comma is missing'}")
            self._peek()

    def _peek(self) -> str:
        """Returns the next character that isn't blank; empty at the end."""
        while True:
            self._at = _skip_blank(self._text, self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_on():
                return ""

    def _take(self) -> str:
        """Returns the next item; one that is cut off is tried again with twice as much text."""
        while True:
            end, fault = self._scan_item()
            if 0 <= end < len(self._text):  # at the very end, a number may go on
                item, self._at = self._text[self._at : end], end
                return item
            if len(self._text) - self._at > LONGEST_PIECE or not self._read_on():
                raise FileFault(f"{FAULT}: {fault or 'it ends too early'}")

    def _scan_item(self) -> tuple[int, str]:
        """Returns where the item ends; -1 and what is wrong where it doesn't."""
        try:
            return _scan(self._text, self._at)[1], ""
        except RecursionError:
            return -1, "an item is nested too deeply"
        except ValueError as error:
            return -1, getattr(error, "msg", "")

    def _read_on(self) -> bool:
        """Reads as much again as there is, forgets what is done. Returns whether there was more."""
        parts = [self._text[self._at :]]
        wanted, read = max(LEAST_READ, len(parts[0])), 0
        for piece in self._pieces:
            parts.append(piece)
            read += len(piece)
            if read >= wanted:
                break
        self._text, self._at = "".join(parts), 0
        return read > 0


def _skip_blank(text: str, at: int) -> int:
    match = BLANK.match(text, at)
    assert match
    return match.end()
