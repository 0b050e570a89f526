"""Sends an uploaded file through the door of the track route: the same checks, lanes, limits and warnings."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from api.errors import Refused
from api.history.event_files import FileLine
from api.history.source import Reading, read_history
from api.history.text_files import TextFile
from api.identities.identify import check
from api.identities.pushing import Push, write_parcel
from api.imports.beat import ImportBeat
from api.imports.reading import note_fault
from api.imports.state import FileImport
from api.track.door import Door
from api.track.endpoint import Track
from scoring.events import MAX_BATCH
from workers.accounts.keys import Key

AT_ONCE = 8  # batches under way
PAUSES = (0.25, 0.5, 1.0, 2.0, 5.0)  # seconds between attempts; the last one again and again
GIVE_UP_SECONDS = 1800.0  # of trying one batch
AWAY = ("buffer_unavailable", "buffer_full")
WAITS = {
    "buffer_unavailable": "Redis is not available; the import goes on as soon as it is.",
    "buffer_full": "The buffer is full; the import goes on as soon as there is room.",
}

Json = dict[str, Any]


class Sender:
    """Batches of one import on their way into the buffer."""

    def __init__(self, door: Door, state: FileImport, beat: ImportBeat) -> None:
        self._door, self._state, self._beat = door, state, beat
        self._track = Track(door.keys, door.buffers, door.warnings)
        self._key = Key(0, state.account_id)
        self._under_way: set[asyncio.Task[None]] = set()

    async def send_file(self, path: Path, reading: Reading) -> None:
        """Send people, events and identities of a file. Raises FileFault, OSError, Refused, Stopped; the part
        read before is sent first."""
        skipped = self._state.skipped = Counter[str]()
        uploaded_at = datetime.fromtimestamp(self._state.created_at, UTC).isoformat()
        identities: list[Json] = [{"user_id": user, "customer_email": email} for user, email in reading.people.items()]
        lines: list[FileLine] = []
        try:
            with TextFile(path) as file:
                for line in read_history(file, reading, identities.append, skipped):
                    if line.event is None:
                        note_fault(self._state, line.number, line.fault)
                    else:
                        timestamp = line.event.get("timestamp") or uploaded_at  # run again, it is the same event
                        lines.append(line._replace(event={**line.event, "timestamp": timestamp}))
                    if len(lines) >= MAX_BATCH or len(identities) >= MAX_BATCH:
                        self._state.share = file.share
                        await self._flush(lines, identities)
        finally:
            await self._flush(lines, identities)
            await self._finish()
        self._state.share = 1.0

    async def _flush(self, lines: list[FileLine], identities: list[Json]) -> None:
        while identities:
            await self._start(self._identify(identities[:MAX_BATCH]))
            del identities[:MAX_BATCH]
        if lines:
            await self._start(self._send([*lines]))
            lines.clear()

    async def _start(self, work: Any) -> None:
        self._under_way.add(asyncio.create_task(work))
        if len(self._under_way) >= AT_ONCE:
            done, self._under_way = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        await self._beat.tick()

    async def _finish(self) -> None:
        while self._under_way:
            done, self._under_way = await asyncio.wait(self._under_way, timeout=1.0)
            for task in done:
                task.result()
            await self._beat.tick()

    async def _send(self, lines: Sequence[FileLine]) -> None:
        body = msgspec.json.encode({"events": [line.event for line in lines]})
        refused = await self._try(lambda: self._track.accept(self._key, body))
        for rejected in refused:
            note_fault(self._state, lines[rejected.index].number, rejected.message)
        self._state.sent += len(lines) - len(refused)

    async def _identify(self, identities: Sequence[Json]) -> None:
        now = time.time()
        checked = check(identities, now)
        await self._try(lambda: write_parcel(self._door, self._key, Push([], checked.valid, now), now))
        self._state.identities += len(checked.valid)

    async def _try(self, attempt: Any) -> Any:
        """Try until the buffer takes it. Raises Refused."""
        began, number = time.monotonic(), 0
        while True:
            try:
                result = await attempt()
            except Refused as refused:
                if refused.code not in AWAY or time.monotonic() - began > GIVE_UP_SECONDS:
                    raise
                self._state.message = WAITS[refused.code]
            else:
                self._state.message = None
                return result
            await self._beat.tick()
            await asyncio.sleep(PAUSES[min(number, len(PAUSES) - 1)])
            number += 1
