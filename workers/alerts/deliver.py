"""Delivering: processes, any number side by side, send the deliveries that wait in the outbox.

A process has one event loop in a thread of its own, with one HTTP client. A job wakes it and waits until nothing is
due. Requests that still hang when the job ends go on behind it, so a receiver that doesn't answer holds up no other. A
delivery is leased while it is under way: should the process die, another one takes it when the lease is over, with the
same id. To each receiver a few requests go at once, and one while it fails.
"""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from workers.alerts.client import open_client, post
from workers.alerts.deliveries import Delivery, DeliveryAttempt, Summary, end, take
from workers.alerts.schedule import GONE
from workers.alerts.signing import sign
from workers.alerts.templates import Templates
from workers.alerts.webhooks import Receiver
from workers.process import Process
from workers.retry import retry_while_unavailable
from workers.tickets import clear_mark

log = logging.getLogger(__name__)

QUEUE = "deliver"
BUDGET_SECONDS = 10.0
AT_ONCE = 32  # requests to a receiver
IN_FLIGHT = 400  # requests in all
GATHER_SECONDS = 0.01  # for answers, which are written down together
POLL_SECONDS = 0.25  # while receivers take their time
STOP_SECONDS = 2.0

T = TypeVar("T")


class Deliverer:
    """A process's requests under way, and the state of their receivers."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._loop = asyncio.new_event_loop()
        self._client = open_client(process.settings.webhook_private_addresses)
        self._templates = Templates()
        self._under_way: Counter[str] = Counter()
        self._failing: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: list[DeliveryAttempt] = []
        self._alone = asyncio.Lock()
        self._thread = threading.Thread(target=self._loop.run_forever, name="deliver", daemon=True)
        self._thread.start()

    def work(self, seconds: float = BUDGET_SECONDS) -> int:
        """Deliver until nothing is due, for so many seconds at most. Returns how many attempts ended."""
        return self._run(self._work(time.monotonic() + seconds)).result()

    @property
    def is_waiting(self) -> bool:
        """True while requests are under way, or results are not saved yet."""
        return bool(self._tasks or self._ended)

    def close(self) -> None:
        """Give requests that are under way a moment, save their results, and end."""
        self._run(self._close()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _work(self, until: float) -> int:
        async with self._alone:
            ended = 0
            while time.monotonic() < until and not self.process.stopping.is_set():
                ended += await self._write_down()
                started = await self._start_due()
                if started is None or not (started or self._tasks or self._ended):
                    break
                await self._wait()
            return ended + await self._write_down()

    async def _wait(self) -> None:
        """For some requests to end, or until it is time to look for more."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if self._tasks:
            await asyncio.sleep(GATHER_SECONDS)

    async def _start_due(self) -> int | None:
        """Take and start sending the deliveries that are due. Returns their number, or None while Postgres is away."""
        taken = await self._with_postgres(lambda: take(self.process, self._rooms(), self._templates))
        if taken is None:
            return None
        for delivery in taken:
            self._start(delivery)
        return len(taken)

    def _rooms(self) -> Callable[[Receiver], int]:
        """Returns the number of further requests that each receiver may have."""
        left = IN_FLIGHT - len(self._tasks)
        under_way, failing = dict(self._under_way), set(self._failing)

        def room(receiver: Receiver) -> int:
            most = 1 if receiver.webhook_id in failing else AT_ONCE
            return max(min(most - under_way.get(receiver.webhook_id, 0), left), 0)

        return room

    def _start(self, delivery: Delivery | Summary) -> None:
        self._under_way[delivery.receiver.webhook_id] += 1
        task = self._loop.create_task(self._send(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, delivery: Delivery | Summary) -> None:
        receiver = delivery.receiver
        try:
            headers = sign(receiver.secret, delivery.message_id, int(time.time()), delivery.body)
            outcome = await post(self._client, receiver.url, delivery.body, headers)
            (self._failing.discard if outcome.delivered else self._failing.add)(receiver.webhook_id)
            if outcome.status == GONE:
                log.warning("a webhook answered 410 and is disabled", extra={"webhook_id": receiver.webhook_id})
            self._ended.append(DeliveryAttempt(delivery, outcome))
        finally:
            self._under_way[receiver.webhook_id] -= 1

    async def _write_down(self) -> int:
        """Write down the attempts that have ended. Returns how many."""
        ended, self._ended = self._ended, []
        if ended and await self._with_postgres(lambda: end(self.process, ended)) is None:
            self._ended = ended + self._ended
            return 0
        self.process.heartbeat.progress()
        return len(ended)

    async def _with_postgres(self, work: Callable[[], T]) -> T | None:
        return await asyncio.to_thread(retry_while_unavailable, self.process, work)

    async def _close(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        for task in (hanging := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        await self._write_down()
        await self._client.aclose()


_deliverers: dict[Process, Deliverer] = {}


def drain(process: Process) -> int:
    """Send the deliveries that are due. Returns the number of attempts that ended."""
    clear_mark(process.redis, QUEUE, process.cell.prefix)
    if process not in _deliverers:
        _deliverers[process] = Deliverer(process)
    deliverer = _deliverers[process]
    ended = deliverer.work()
    if deliverer.is_waiting and not process.stopping.is_set():
        process.ask(QUEUE)
    return ended


def close(process: Process) -> None:
    """End a process's requests; before its connection is closed."""
    if deliverer := _deliverers.pop(process, None):
        deliverer.close()


def close_all() -> None:
    """As `close`, in all cells."""
    for process in list(_deliverers):
        close(process)
