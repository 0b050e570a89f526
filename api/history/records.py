"""Files of records, as people export them: CSV with any separator, NDJSON, or one JSON array."""

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
from typing import Any, NamedTuple

import msgspec

from api.history.json_arrays import begins_array, list_items
from api.history.text_files import LONGEST_PIECE, UNREADABLE, FileFault, TextFile

JSON_NAMES = (".json", ".jsonl", ".ndjson")
CSV_NAMES = (".csv", ".tsv")
AHEAD = 20  # lines of a file that may be one list
SEPARATORS = ",;\t|"
SEPARATOR_LINE = "sep="  # the first line of some of Excel's files: sep=;
NEVER_CLOSED = "a quoted cell is never closed; write a quote in a cell twice, or remove it"
SWALLOWS = "a quoted cell goes on over the rows that follow; write a quote in a cell twice, or remove it"
LONGEST_ROW = LONGEST_PIECE  # in characters: nothing longer is an event
TOO_LONG = f"the line has over {LONGEST_PIECE:,} characters; no event is that long"

csv.field_size_limit(sys.maxsize)  # rows have their own limit

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Record(NamedTuple):
    """A line of a file: its number, and its fields by name, or why there are none. The values of a row are text."""

    number: int
    fields: dict[str, Any] | None
    fault: str = ""
    is_row: bool = False


class MissingColumns(FileFault):
    """The header of a CSV file doesn't name all that it must; `names` are those that it has."""

    def __init__(self, missing: Sequence[str], names: Sequence[str], number: int) -> None:
        self.names = [name for name in names if name]
        present = ", ".join(self.names)[:200] or "none"
        super().__init__(f"the header has no column {', '.join(missing)}; it names {present}", number)


class Columns(NamedTuple):
    """The columns that a CSV file must name, and all that have a meaning; in any case, with blanks or underscores. Of
    some required ones, another may stand in the place."""

    required: Sequence[str]
    known: Sequence[str]
    instead: Mapping[str, str] = {}


def read_records(file: TextFile, columns: Columns) -> Iterator[Record]:
    """The lines that are not blank. Raises FileFault where the file can't be read any further."""
    lines = file.lines()
    skipped, first = _find_first_line(lines)
    head = [first, *(islice(lines, AHEAD) if first.strip() == "{" else ())]  # no line of NDJSON is only a brace
    everything = chain(head, lines)
    if _is_csv(file.name, first):
        yield from _read_rows(_Numbered(everything, skipped), columns, file)
    elif begins_array("".join(head)):
        yield from _read_array(everything, file)
    else:
        yield from _read_objects(everything, skipped, file)


def _find_first_line(lines: Iterator[str]) -> tuple[int, str]:
    """Returns the number of blank lines at the beginning, and the first line that isn't blank."""
    for number, line in enumerate(lines):
        if line.strip():
            return number, line
    return 0, ""


def _is_csv(name: str, first: str) -> bool:
    """Returns True if a file is CSV: by its name if that is clear, else by its first line."""
    ending = name.lower().removesuffix(".zip").removesuffix(".gz")
    if ending.endswith(CSV_NAMES):
        return True
    return not ending.endswith(JSON_NAMES) and not first.lstrip().startswith(("{", "["))


def _read_objects(lines: Iterator[str], skipped: int, file: TextFile) -> Iterator[Record]:
    number, goes_on = skipped, False
    for text in lines:
        is_rest, goes_on = goes_on, len(text) >= LONGEST_PIECE and not text.endswith("\n")
        if is_rest:
            continue
        number += 1
        if goes_on:
            yield Record(number, None, TOO_LONG)
        elif UNREADABLE in text:
            yield Record(number, None, file.explain_unreadable())
        elif text.strip():
            yield _decode_object(number, text)


def _decode_object(number: int, text: str) -> Record:
    try:
        return Record(number, _decode(text))
    except (ValueError, RecursionError) as error:
        return Record(number, None, f"not a JSON object: {_explain(error, text)}")


def _explain(error: Exception, text: str) -> str:
    """Describes the fault of a line, in words of our own if the decoder's would mislead."""
    message = str(error)
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if "hex escape" in message or "surrogate" in message or ("truncated" in message and _ends(text)):
        return "half of a character (a surrogate like \\ud83d without its other half)"
    return "the line ends too early" if "truncated" in message else message


def _ends(text: str) -> bool:
    return text.rstrip().endswith("}")


def _read_array(lines: Iterator[str], file: TextFile) -> Iterator[Record]:
    """The objects of one array, numbered from 1."""
    for number, item in enumerate(list_items(lines), 1):
        yield Record(number, None, file.explain_unreadable()) if UNREADABLE in item else _decode_object(number, item)


class _Numbered:
    """Lines for a CSV reader. Counts them, and ends a row that grows past all limits."""

    def __init__(self, lines: Iterator[str], skipped: int) -> None:
        self._lines = lines
        self.number = skipped
        self._row_began = skipped
        self._row_length = 0
        self.continuation: list[str] = []  # the further lines of the row

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        self._row_length += len(line)
        if self.number > self._row_began + 1:
            self.continuation.append(line)
            if self._row_length > LONGEST_ROW:
                raise FileFault(NEVER_CLOSED, self._row_began + 1)
        return line

    def begin_row(self) -> int:
        """Returns the number of the row's first line."""
        self._row_began, self._row_length, self.continuation = self.number, 0, []
        return self.number + 1


def _read_rows(lines: _Numbered, columns: Columns, file: TextFile) -> Iterator[Record]:
    header, separator = _find_header(lines, columns)
    spaced = f"{separator} " in header
    rows = _parse(lines, chain([header], lines), separator, spaced, lines.number)
    names: list[str] | None = None
    for number, cells, fault in rows:
        if names is None:
            if fault:
                raise FileFault(f"the header: {fault}", number)
            if any(UNREADABLE in cell for cell in cells):
                raise FileFault(file.explain_unreadable(), number)
            names = _check_header([_recognise(cell, columns) for cell in cells], columns, number)
        elif fault:
            yield Record(number, None, fault)
        elif any(UNREADABLE in cell for cell in cells):
            yield Record(number, None, file.explain_unreadable())
        elif len(cells) > len(names) and any(cells[len(names) :]):
            yield Record(number, None, f"{len(cells)} cells, but the header names {len(names)} columns")
        elif lines.continuation and _holds_rows(lines.continuation, names, separator):
            raise FileFault(SWALLOWS, number)
        elif any(cell.strip() for cell in cells):
            yield Record(number, dict(zip_longest(names, cells[: len(names)], fillvalue="")), is_row=True)


def _holds_rows(continuation: list[str], names: list[str], separator: str) -> bool:
    """Returns True if a row's further lines are rows of their own: as many cells, with an address in its place."""
    emails = [index for index, name in enumerate(names) if "email" in name.casefold()]
    rows = csv.reader(continuation, delimiter=separator, quoting=csv.QUOTE_NONE)
    return any(len(cells) == len(names) and any("@" in cells[index] for index in emails) for cells in rows)


def _find_header(lines: _Numbered, columns: Columns) -> tuple[str, str]:
    """The line that names the columns, and the separator. Blank lines and comments (#) may come before."""
    separator = None
    for line in lines:
        text = line.strip().strip('"').lower()
        if text.startswith(SEPARATOR_LINE) and len(text) <= len(SEPARATOR_LINE) + 1:
            separator = line.strip().strip('"')[len(SEPARATOR_LINE) :] or "\t"
        elif text and not (text.startswith("#") and not _names(line, separator or ",", columns)):
            return line, separator or _guess_separator(line, columns)
    raise FileFault("the file is empty; its first line must name the columns")


def _guess_separator(header: str, columns: Columns) -> str:
    """The separator with which most of the required columns are found, else the most frequent."""
    return max(SEPARATORS, key=lambda separator: (len(_names(header, separator, columns)), header.count(separator)))


def _names(header: str, separator: str, columns: Columns) -> set[str]:
    cells = next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])
    return {_recognise(cell, columns) for cell in cells} & {*columns.required}


def _recognise(cell: str, columns: Columns) -> str:
    """A column's name: one with a meaning in its usual spelling, any other as it stands."""
    name = cell.strip().lstrip("\ufeff")
    spellings = {write_usual(known): known for known in columns.known}
    return spellings.get(write_usual(name), name)


def write_usual(name: str) -> str:
    """A column's name in small letters, with underscores."""
    return name.casefold().replace(" ", "_").replace("-", "_")


def _check_header(names: list[str], columns: Columns, number: int) -> list[str]:
    """Raises FileFault unless all that is required is named, once."""
    if missing := [name for name in columns.required if not {name, columns.instead.get(name)} & {*names}]:
        raise MissingColumns(missing, names, number)
    if twice := [name for name in columns.known if names.count(name) > 1]:
        raise FileFault(f"the header names the column {twice[0]} twice", number)
    return names


def _parse(
    lines: _Numbered, source: Iterator[str], separator: str, spaced: bool, first: int
) -> Iterator[tuple[int, list[str], str]]:
    """Rows with the number of their first line, and why a row can't be read. Raises FileFault at an open quote."""
    reader = csv.reader(source, delimiter=separator, strict=True, skipinitialspace=spaced)
    lines.begin_row()
    number = first
    while True:
        try:
            yield number, next(reader), ""
        except StopIteration:
            return
        except csv.Error as error:
            if lines.number > number or "unexpected end" in str(error):
                raise FileFault(NEVER_CLOSED, number) from None
            yield number, [], "text follows a closing quote; write a quote in a cell twice"
        number = lines.begin_row()
