"""Text files in any Unicode encoding, plain, gzip or zip, line by line. A line past all measure comes in pieces.

Bytes that the encoding doesn't know cost their line alone: they become UNREADABLE, a character that no text holds.
"""

import codecs
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scoring.events import MAX_BODY_BYTES

LONGEST_PIECE = MAX_BODY_BYTES  # in characters: no event is longer
UNREADABLE = "\udcff"
GZIP = b"\x1f\x8b"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # the second: it holds nothing
MARKS = {  # the longer ones first: the mark of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
PACKED = {
    b"PAR1": "a Parquet file; export JSON lines or CSV",
    b"BZh": "packed with bzip2; unpack it, or pack it with gzip",
    b"\xfd7zXZ": "packed with xz; unpack it, or pack it with gzip",
    b"\x28\xb5\x2f\xfd": "packed with Zstandard; unpack it, or pack it with gzip",
    b"Obj\x01": "an Avro file; export JSON lines or CSV",
}
NOT_TEXT = "the line holds bytes that are not {}; save the file as UTF-8"


class FileFault(ValueError):
    """A file can't be read, at all or from a line on. The message names the cause and the remedy."""

    def __init__(self, reason: str, number: int | None = None) -> None:
        super().__init__(reason)
        self.number = number


class TextFile:
    """An open file. `share` is the part of its bytes that was read so far, from 0 to 1."""

    def __init__(self, path: Path) -> None:
        self._bytes = path.open("rb")
        self._size = path.stat().st_size
        self.encoding = "utf-8"
        self.name = path.name
        self._plain = self._open_packed()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._plain.close()
        self._bytes.close()

    def _open_packed(self) -> io.BufferedReader:
        if self._bytes.peek(4)[:4].startswith(ZIP):
            return io.BufferedReader(ZippedFiles(self._bytes))
        return _unpack_gzip(self._bytes)

    @property
    def share(self) -> float:
        return min(1.0, self._bytes.tell() / self._size) if self._size and not self._bytes.closed else 1.0

    def lines(self) -> Iterator[str]:
        """The lines, each with its end, in pieces of at most LONGEST_PIECE. Raises FileFault where a packed file is
        damaged, or this is no text at all."""
        try:
            head = self._plain.peek(8)[:8]
            _refuse_packed(head)
            self.encoding = _find_encoding(head[:4])
            with io.TextIOWrapper(self._plain, self.encoding, errors="windback-unreadable", newline="") as text:
                while line := text.readline(LONGEST_PIECE):
                    yield line
        except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, NotImplementedError):
            raise FileFault("the packed file is damaged or cut off; unpack it, or make it anew") from None

    def explain_unreadable(self) -> str:
        """Why a line with UNREADABLE in it is refused."""
        return NOT_TEXT.format(self.encoding.removesuffix("-sig").upper())


def _unpack_gzip(file: io.BufferedReader) -> io.BufferedReader:
    return io.BufferedReader(gzip.GzipFile(fileobj=file)) if file.peek(2)[:2] == GZIP else file


class ZippedFiles(io.RawIOBase):
    """The files of a zip archive, one after the other; each may be packed with gzip itself."""

    def __init__(self, archive: io.BufferedReader) -> None:
        self._archive: zipfile.ZipFile | None = None
        self._bytes = archive
        self._waiting: list[zipfile.ZipInfo] = []
        self._open: io.BufferedReader | None = None

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; a line's end goes between two files. Raises FileFault where this is a workbook."""
        if self._archive is None:
            self._archive = zipfile.ZipFile(self._bytes)
            self._waiting = _list_files(self._archive)[::-1]
        while self._open or self._waiting:
            if self._open is None:
                self._open = _unpack_gzip(io.BufferedReader(self._archive.open(self._waiting.pop())))  # type: ignore[arg-type]
            if data := self._open.read(len(buffer)):
                buffer[: len(data)] = data
                return len(data)
            self._open = None
            if self._waiting:
                buffer[:1] = b"\n"
                return 1
        return 0


def _list_files(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    files = [info for info in archive.infolist() if not info.is_dir() and not info.filename.startswith("__MACOSX/")]
    if any(info.filename == "[Content_Types].xml" for info in files):
        raise FileFault("it is an Excel workbook; save the sheet as CSV")
    if any(info.flag_bits & 1 for info in files):
        raise FileFault("it is a zip archive with a password; unpack it")
    return sorted(files, key=lambda info: info.filename)


def _refuse_packed(head: bytes) -> None:
    for magic, description in PACKED.items():
        if head.startswith(magic):
            raise FileFault(f"it is {description}")


def _find_encoding(head: bytes) -> str:
    """The encoding by the byte order mark, or by where its first characters have zero bytes."""
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding
    if head[1:2] == b"\0" and head[:1] != b"\0":
        return "utf-32-le" if head[2:4] == b"\0\0" else "utf-16-le"
    if head[:1] == b"\0":
        return "utf-32-be" if head[:3] == b"\0\0\0" else "utf-16-be"
    return "utf-8"


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return UNREADABLE, error.end


codecs.register_error("windback-unreadable", _replace)
