"""The process at work on one import: `python -m api.imports preview|send ACCOUNT_ID IMPORT_ID`, from a web process."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.errors import Refused
from api.history.text_files import FileFault
from api.imports import folder
from api.imports import state as states
from api.imports.beat import ImportBeat, Stopped
from api.imports.following import follow
from api.imports.reading import make_reading, preview
from api.imports.sending import Sender
from api.imports.state import FileImport
from api.track.door import Door
from workers import counters, logs, parent_watch, settings
from workers.logs import first_line
from workers.settings import Settings

log = logging.getLogger(__name__)

NICE = 10  # requests come first
FAILED = "Something went wrong: {}. What was sent until then is kept; import the file again to go on."


def main() -> None:
    """Do what the arguments say."""
    task, account_id, import_id = sys.argv[1:]
    configured = settings.load()
    logs.configure(configured)
    parent_watch.watch()
    os.nice(NICE)
    asyncio.run(run(configured, task, int(account_id), import_id))


async def run(configured: Settings, task: str, account_id: int, import_id: str) -> None:
    """Work on an import unless another process does."""
    async with _open_door(configured) as door:
        alone = await door.redis.set(states.lock_key(import_id), 1, nx=True, ex=states.LOCKED_SECONDS)
        state = await states.find(door.redis, account_id, import_id)
        if not alone or state is None:
            return
        await _work(configured, door, task, state)
        await states.leave(door.redis, state)


async def _work(configured: Settings, door: Door, task: str, state: FileImport) -> None:
    """Do the task; the import's stage then says how it ended."""
    path = folder.path_of(configured, state.import_id)
    beat = ImportBeat(door.redis, state, path)
    try:
        await (_preview(configured, state, beat) if task == "preview" else _send(configured, door, state, beat))
    except Stopped:
        state.stage = "stopped"
    except (FileFault, OSError, Refused) as error:
        state.stage, state.message = ("ready" if task == "preview" else "failed"), _describe(error)
    except Exception as error:
        log.exception("an import failed", extra={"account_id": state.account_id})
        state.stage, state.message = "failed", FAILED.format(type(error).__name__)


async def _preview(configured: Settings, state: FileImport, beat: ImportBeat) -> None:
    path, people = (folder.path_of(configured, state.import_id, kind) for kind in (folder.FILE, folder.PEOPLE))
    await preview(state, path, people, beat)
    state.stage = "ready"


async def _send(configured: Settings, door: Door, state: FileImport, beat: ImportBeat) -> None:
    path, people = (folder.path_of(configured, state.import_id, kind) for kind in (folder.FILE, folder.PEOPLE))
    await Sender(door, state, beat).send_file(path, make_reading(state, people))
    await follow(door, configured.all_cells, state, beat)
    state.stage = "done"
    if state.preview:
        state.preview.rows, state.preview.columns = [], {}
    folder.remove(configured, state.import_id)


def _describe(error: Exception) -> str:
    if isinstance(error, Refused):
        return error.message
    where = f"Line {error.number:,}: " if isinstance(error, FileFault) and error.number else ""
    text = first_line(error)
    return f"{where}{text[:1].upper()}{text[1:]}."


@asynccontextmanager
async def _open_door(configured: Settings) -> AsyncIterator[Door]:
    door = Door(configured)
    await door.open()
    try:
        async with counters.flush_regularly(door.redis):
            yield door
    finally:
        await door.close()


if __name__ == "__main__":
    main()
