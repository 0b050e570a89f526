"""Reading the JSON body of a request that isn't the hot route's."""

import asyncio
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from api.errors import Refused
from scoring.events import MAX_BODY_BYTES

T = TypeVar("T")

BODY_SECONDS = 20.0  # in which a body has to arrive


async def read_json(request: Request, kind: type[T], code: str) -> T:
    """The body as a value of this type.

    Raises Refused: malformed_json, payload_too_large, body_timeout, or `code` where the JSON has another shape.
    """
    body = await read_body(request)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Refused(code, f"{error}.") from None
    except (ValueError, RecursionError):
        raise Refused("malformed_json") from None


async def read_body(request: Request) -> bytes:
    """The bytes of the body. Raises Refused: payload_too_large, body_timeout."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise Refused("payload_too_large")
    except TimeoutError:
        raise Refused("body_timeout") from None
    except ClientDisconnect:
        raise Refused("malformed_json") from None
    return bytes(body)
