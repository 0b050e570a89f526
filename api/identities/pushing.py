"""Writing to the buffer from the doors that aren't the hot route's."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request

from api.errors import Refused
from api.track.door import Door
from api.track.endpoint import find_rate
from workers.accounts.keys import Key
from workers.buffer import entries
from workers.buffer.entries import Identity
from workers.buffer.lanes import HISTORY, HISTORY_AFTER_SECONDS, LIVE
from workers.buffer.writer import BufferFull, BufferUnavailable, RateLimited

Event = dict[str, Any]


class Parcel(NamedTuple):
    """Checked events and identities of one request. `newest`: the time of the newest event, in epoch seconds."""

    events: Sequence[Event]
    identities: Sequence[Identity]
    newest: float


async def push(request: Request, key: Key, parcel: Parcel, now: float) -> None:
    """Return when all of it is in the buffer. Raises Refused: buffer_unavailable, buffer_full, rate_limited."""
    await write_parcel(request.app.state.door, key, parcel, now)


async def write_parcel(door: Door, key: Key, parcel: Parcel, now: float) -> None:
    """As `push`, without a request."""
    if not parcel.events and not parcel.identities:
        return
    body = {name: part for name, part in (("identities", parcel.identities), ("events", parcel.events)) if part}
    lane = LIVE if parcel.newest > now - HISTORY_AFTER_SECONDS else HISTORY
    sent = entries.Request(key.account_id, int(now * 1_000_000), msgspec.json.encode(body))
    try:
        await door.writers[lane.name].write(sent, len(parcel.events), find_rate(key))
    except BufferUnavailable:
        raise Refused("buffer_unavailable") from None
    except BufferFull:
        raise Refused("buffer_full") from None
    except RateLimited as limited:
        raise Refused("rate_limited", retry_after_seconds=limited.wait_seconds) from None
