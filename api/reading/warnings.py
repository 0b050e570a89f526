"""Reading the warnings: refused events and other problems of the senders."""

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from api.errors import Refused
from api.reading.common import account_of, answer
from api.reading.query import accepts
from workers import warnings
from workers.redis import REDIS_AWAY
from workers.warnings import AccountWarnings


@accepts()
async def list_warnings(request: Request) -> Response:
    """`GET /api/v1/warnings`: the latest 100 of an account, and their counts by code within 7 days."""
    return answer(await read_warnings(request, await account_of(request)))


async def read_warnings(request: Request, account_id: int) -> AccountWarnings:
    """The warnings of an account. Raises Refused."""
    door = request.app.state.door
    try:
        await door.warnings.flush(door.redis)  # those of this process; other processes flush within a second
        return await warnings.read_warnings(door.redis, account_id, datetime.now(UTC))
    except REDIS_AWAY:
        raise Refused("buffer_unavailable") from None
