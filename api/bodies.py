"""Receiving the bodies of requests, and handling them, so that no request holds the event loop or much memory.

The content of a body decides how long it takes to read it. A short one takes little, whatever it holds; a long one is
handled in a thread, so that others need not wait for it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from api.body_faults import explain_body
from api.errors import Refused
from api.surrogates import REPLACEMENT, replace_halves
from scoring.events import MAX_BODY_BYTES

T = TypeVar("T")

BODY_SECONDS = 20.0  # in which a body has to arrive
RECEIVING_BYTES = 64 << 20  # of bodies that a process holds before they are in the buffer
LIGHT_BYTES = 2_048  # of a body that is handled on the event loop
SMALL_BYTES = 64 * 1024  # of a body that is no list of anything

_decode_object = msgspec.json.Decoder(dict[str, Any], float_hook=float).decode  # numbers of many digits: 7 times faster
_thread = ThreadPoolExecutor(1, "bodies")  # several would share one core all the same


class Receiving:
    """Counts the bytes of bodies that this process holds because they came in parts or compressed."""

    def __init__(self) -> None:
        self.bytes = 0


class Hold:
    """One request's share of these bytes."""

    __slots__ = ("_receiving", "bytes")

    def __init__(self, receiving: Receiving) -> None:
        self._receiving = receiving
        self.bytes = 0

    def add(self, size: int) -> None:
        """Hold more bytes. Raises Refused, overloaded."""
        if self._receiving.bytes + size > RECEIVING_BYTES:
            raise Refused("overloaded")
        self._receiving.bytes += size
        self.bytes += size

    def release(self) -> None:
        """Hold nothing any more."""
        self._receiving.bytes -= self.bytes


receiving = Receiving()  # of this process


def decode_object(body: bytes) -> dict[str, Any]:
    """Returns a JSON object, with U+FFFD in place of half a surrogate pair. Raises Refused, malformed_json."""
    try:
        return _decode_object(body)
    except RecursionError:
        raise Refused("malformed_json") from None
    except ValueError:
        return _decode_repaired(body)


def _decode_repaired(body: bytes) -> dict[str, Any]:
    repaired = replace_halves(body, REPLACEMENT)
    try:
        if repaired != body:
            return _decode_object(repaired)
    except (ValueError, RecursionError):
        pass
    raise Refused("malformed_json")


async def handle(body: bytes, work: Callable[[], T]) -> T:
    """Returns what `work` makes of a body; it runs in a thread if the body is long. It may build up one part of the
    body after another, and not all at once: a single call of a C function lets no other thread run."""
    if len(body) <= LIGHT_BYTES:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_thread, work)


async def read_json(request: Request, kind: type[T], code: str, most_bytes: int = SMALL_BYTES) -> T:
    """Returns the body as a value of this type.

    Raises Refused: malformed_json, payload_too_large, body_timeout, overloaded, or `code` where the JSON has another
    shape.
    """
    body = await read_body(request, most_bytes)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Refused(code, explain_body(error, kind)) from None
    except (ValueError, RecursionError):
        raise Refused("malformed_json") from None


async def read_body(request: Request, most_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Returns the bytes of the body. Raises Refused: payload_too_large, body_timeout, overloaded, malformed_json."""
    hold = Hold(receiving)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _receive(request, hold, most_bytes)
    except TimeoutError:
        raise Refused("body_timeout") from None
    except ClientDisconnect:
        raise Refused("malformed_json") from None
    finally:
        hold.release()


async def _receive(request: Request, hold: Hold, most_bytes: int) -> bytes:
    parts: list[bytes] = []
    async for part in request.stream():
        hold.add(len(part))
        parts.append(part)
        if hold.bytes > most_bytes:
            raise Refused("payload_too_large", f"The body is over {most_bytes // 1024} KiB; send less at once.")
    return b"".join(parts)
