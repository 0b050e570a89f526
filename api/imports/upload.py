"""Receives a form with files, part by part: nothing but a piece of it is ever in memory.

The form's own token comes first, and no file is written before it is right. Writing to the disk is done in a thread.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

SLICE_BYTES = 16 * 1024  # that are read at a time: others are served in between, whatever is in it
WRITE_BYTES = 1 << 20  # that are written at a time
FIELD_BYTES = 16 * 1024  # of all fields that are no file
HEADER_BYTES = 16 * 1024  # of a part


class UploadRefused(Exception):
    """The form is refused. The message tells the user why."""

    def __init__(self, message: str, status: int = HTTPStatus.UNPROCESSABLE_ENTITY) -> None:
        super().__init__(message)
        self.status = status


def too_large(limit: int) -> UploadRefused:
    """The refusal of a file over the limit, in bytes."""
    return UploadRefused(TOO_LARGE.format(limit=f"{limit / 1e6:,.0f}"), HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


UNREADABLE = "This form can't be read; reload the page and try again."
TOO_LARGE = (
    "The file is over {limit} MB, as WINDBACK_UPLOAD_BYTES sets it. Pack it with gzip, split it, or use "
    "`windback import`, which has no limit."
)
NO_ROOM = "There is not enough room on the disk for the file. Free some, or use `windback import`."


class Upload:
    """A form that arrives. `paths` says where the file of each field goes, `check` is called with the fields before
    the first file, and raises what refuses them; `find_room` says how many bytes the disk has left."""

    def __init__(
        self,
        content_type: str,
        paths: Mapping[str, Path],
        check: Callable[[Mapping[str, str]], None],
        limit: int,
        find_room: Callable[[], int],
    ) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
            raise UploadRefused(UNREADABLE)
        self.fields: dict[str, str] = {}
        self.names: dict[str, str] = {}  # of files, by field
        self.sizes: dict[str, int] = {}
        self._paths, self._check, self._limit, self._find_room = paths, check, limit, find_room
        self._parser = MultipartParser(boundary, _name_callbacks(self))
        self._header, self._value = b"", b""
        self._disposition = b""
        self._headers = 0
        self._field: str | None = None  # of the part that is being read
        self._file: BinaryIO | None = None
        self._text = bytearray()
        self._waiting: list[tuple[BinaryIO, bytes]] = []
        self._bytes = self._taken = 0
        self._is_whole = False

    async def receive(self, parts: AsyncIterator[bytes]) -> None:
        """Take it all. Raises UploadRefused and what `check` raises; then nothing of it is kept."""
        try:
            async for part in parts:
                for start in range(0, len(part), SLICE_BYTES):
                    self._feed(part[start : start + SLICE_BYTES])
                    await asyncio.sleep(0)
                if self._bytes >= WRITE_BYTES:
                    await run_in_threadpool(self._write)
            await run_in_threadpool(self._write)
        finally:
            self._close()
        if not self._is_whole:
            raise UploadRefused(UNREADABLE)

    def _feed(self, part: bytes) -> None:
        try:
            self._parser.write(part)
        except MultipartParseError:
            raise UploadRefused(UNREADABLE) from None

    def _write(self) -> None:
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if waiting and self._find_room() < 0:
            raise UploadRefused(NO_ROOM)
        for file, data in waiting:
            file.write(data)

    def _close(self) -> None:
        for file in {id(file): file for file, _ in self._waiting}.values():
            file.close()
        if self._file is not None:
            self._file.close()
        self._waiting, self._file = [], None

    # Called by the parser.

    def on_part_begin(self) -> None:
        """A part begins."""
        self._field, self._headers, self._disposition = None, 0, b""
        self._header = self._value = b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        """A piece of a header's name."""
        self._header += self._count_header(data[start:end])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        """A piece of a header's value."""
        self._value += self._count_header(data[start:end])

    def on_header_end(self) -> None:
        """A header is whole."""
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def on_headers_finished(self) -> None:
        """The headers of a part are whole."""
        _, options = parse_options_header(self._disposition)
        self._field = options.get(b"name", b"").decode(errors="replace")
        name = options.get(b"filename", b"").decode(errors="replace")
        if self._field in self._paths and b"filename" in options:
            self._begin_file(self._field, name)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """A piece of a part."""
        piece = data[start:end]
        if self._file is None:
            self._text += piece
            if len(self._text) > FIELD_BYTES:
                raise UploadRefused(UNREADABLE)
            return
        self._taken += len(piece)
        if self._taken > self._limit:
            raise too_large(self._limit)
        self._waiting.append((self._file, piece))
        self._bytes += len(piece)
        self.sizes[self._field or ""] += len(piece)

    def on_part_end(self) -> None:
        """A part is whole."""
        if self._file is not None:
            self._write_last()
        elif self._field is not None:
            self.fields[self._field] = self._text.decode(errors="replace").replace("\0", "")
        self._text = bytearray()

    def on_end(self) -> None:
        """The form is whole."""
        self._is_whole = True

    def _count_header(self, piece: bytes) -> bytes:
        self._headers += len(piece)
        if self._headers > HEADER_BYTES:
            raise UploadRefused(UNREADABLE)
        return piece

    def _begin_file(self, field: str, name: str) -> None:
        self._check(self.fields)
        self.names[field], self.sizes[field] = name, 0
        self._file = self._paths[field].open("wb")

    def _write_last(self) -> None:
        """The end of a file, less than WRITE_BYTES of it."""
        assert self._file is not None
        with self._file:
            self._write()
        self._file = None


def _name_callbacks(upload: Upload) -> "MultipartCallbacks":
    return {
        "on_part_begin": upload.on_part_begin,
        "on_header_field": upload.on_header_field,
        "on_header_value": upload.on_header_value,
        "on_header_end": upload.on_header_end,
        "on_headers_finished": upload.on_headers_finished,
        "on_part_data": upload.on_part_data,
        "on_part_end": upload.on_part_end,
        "on_end": upload.on_end,
    }
