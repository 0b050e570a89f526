"""A form with files arrives in pieces of any size, and is never in memory as a whole."""

import asyncio
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.imports.upload import Upload, UploadRefused

KIND = "multipart/form-data; boundary=xyz"
LIMIT = 500_000_000
LOOP_SECONDS = 0.05  # for which nothing may hold the web process


def make_form(content: bytes, token: str = "t") -> bytes:
    field = 'Content-Disposition: form-data; name="token"'
    file = 'Content-Disposition: form-data; name="file"; filename="h\u00e4.csv"\r\nContent-Type: text/csv'
    head = f"--xyz\r\n{field}\r\n\r\n{token}\r\n--xyz\r\n{file}\r\n\r\n".encode()
    return head + content + b"\r\n--xyz--\r\n"


def check(fields: Mapping[str, str]) -> None:
    if fields.get("token") != "t":
        raise PermissionError


def make_upload(folder: Path, limit: int = LIMIT, room: int = 1) -> Upload:
    return Upload(KIND, {"file": folder / "a.file"}, check, limit, lambda: room)


async def split(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@settings(max_examples=50, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=300), st.sampled_from([b"\r\n--xy", b"--xyz", b"\r\n\r\n", b"\r\n--xyz-\r\n"])
    ),
    size=st.integers(1, 400),
)
def test_a_file_arrives_as_it_is_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, size: int
) -> None:
    if b"\r\n--xyz" in b"\r\n" + content:
        return  # the browser would have taken another boundary
    folder = tmp_path_factory.mktemp("cut")
    upload = make_upload(folder)
    asyncio.run(upload.receive(split(make_form(content), size)))
    assert (folder / "a.file").read_bytes() == content
    assert (upload.fields, upload.names, upload.sizes) == (
        {"token": "t"},
        {"file": "h\u00e4.csv"},
        {"file": len(content)},
    )


def test_no_piece_holds_the_loop_and_memory_stays_small(tmp_path: Path) -> None:
    """200 MB, in pieces as the server gives them: what is done for one of them takes far less than 50 ms."""
    piece = b'{"event":"login","customer_email":"jane@example.com"}\r\n' * 1200
    slowest = 0.0

    async def list_pieces() -> AsyncIterator[bytes]:
        nonlocal slowest
        yield make_form(b"").removesuffix(b"\r\n--xyz--\r\n")
        for _ in range(200_000_000 // len(piece)):
            began = time.thread_time()
            yield piece
            slowest = max(slowest, time.thread_time() - began)
        yield b"\r\n--xyz--\r\n"

    upload = make_upload(tmp_path)
    tracemalloc.start()
    asyncio.run(upload.receive(list_pieces()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert upload.sizes["file"] > 199_000_000
    assert slowest < LOOP_SECONDS
    assert peak < 16 << 20


@pytest.mark.parametrize(
    ("body", "options"),
    [
        (make_form(b"x" * 1001), {"limit": 1000}),
        (make_form(b"x" * 1000), {"room": -1}),
        (make_form(b"x")[:-8], {}),
        (b"nothing", {}),
        (b"--xyz\r\n" + b"A: b\r\n" * 10_000, {}),
        (b'--xyz\r\nContent-Disposition: form-data; name="token"\r\n\r\n' + b"x" * 100_000, {}),
    ],
)
def test_what_cannot_be_taken_is_refused(tmp_path: Path, body: bytes, options: dict[str, int]) -> None:
    with pytest.raises(UploadRefused):
        asyncio.run(make_upload(tmp_path, **options).receive(split(body, 64)))


@pytest.mark.parametrize("kind", ["", "text/plain", "multipart/form-data", "multipart/form-data; boundary="])
def test_another_kind_of_body_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UploadRefused):
        Upload(kind, {}, check, LIMIT, lambda: 1)


def test_nothing_is_written_before_the_form_is_known_to_be_ours(tmp_path: Path) -> None:
    with pytest.raises(PermissionError):
        asyncio.run(make_upload(tmp_path).receive(split(make_form(b"x", token="no"), 64)))
    assert list_names(tmp_path) == []


def list_names(folder: Path) -> list[str]:
    files: Iterator[Path] = folder.iterdir()
    return [path.name for path in files]
