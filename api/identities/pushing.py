"""Writing to the buffer from the doors that aren't the hot route's."""

from collections import defaultdict
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
from workers.buffer.parts import BodyPart, split_identities
from workers.buffer.rows import find_customer_of
from workers.buffer.writer import BufferFull, BufferUnavailable, RateLimited
from workers.cells import cell_of

Event = dict[str, Any]


class Push(NamedTuple):
    """Checked events and identities of one request. `newest`: the time of the newest event, in epoch seconds."""

    events: Sequence[Event]
    identities: Sequence[Identity]
    newest: float


async def push(request: Request, key: Key, parcel: Push, now: float) -> None:
    """Return when all of it is in the buffer. Raises Refused: buffer_unavailable, buffer_full, rate_limited."""
    await write_parcel(request.app.state.door, key, parcel, now)


async def write_parcel(door: Door, key: Key, parcel: Push, now: float) -> None:
    """As `push`, without a request."""
    if not parcel.events and not parcel.identities:
        return
    lane = LIVE if parcel.newest > now - HISTORY_AFTER_SECONDS else HISTORY
    buffers = door.buffers
    received_us = int(now * 1_000_000)
    try:
        if len(buffers.cells) == 1:
            sent = entries.Request(key.account_id, received_us, _encode(parcel.events, parcel.identities))
            await buffers.cells[0].write(lane.name, sent, len(parcel.events), find_rate(key))
        else:
            parts = _split(key.account_id, parcel, len(buffers.cells))
            await buffers.write(lane.name, key.account_id, received_us, parts, find_rate(key))
    except BufferUnavailable:
        raise Refused("buffer_unavailable") from None
    except BufferFull:
        raise Refused("buffer_full") from None
    except RateLimited as limited:
        raise Refused("rate_limited", retry_after_seconds=limited.wait_seconds) from None


def _encode(events: Sequence[Event], identities: Sequence[Identity]) -> bytes:
    parts = (("identities", identities), ("events", events))
    return msgspec.json.encode({name: part for name, part in parts if part})


def _split(account_id: int, parcel: Push, cells: int) -> dict[int, BodyPart]:
    """Returns the parts of a parcel by the number of their cell."""
    identities = split_identities(account_id, parcel.identities, cells)
    events: defaultdict[int, list[Event]] = defaultdict(list)
    for event in parcel.events:
        customer = find_customer_of(account_id, event.get("customer_email"), event.get("user_id"))
        events[cell_of(customer.customer_id, cells)].append(event)
    return {
        number: BodyPart(_encode(events[number], identities.get(number, ())), len(events[number]))
        for number in sorted({*events, *identities})
    }
