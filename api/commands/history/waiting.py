"""Waits until an import is stored and scored, by the service's own metrics.

A service that others use has always something in its buffer, and somebody due: so the wait
ends when the oldest of it is younger than the import.
"""

import re
import time
from collections.abc import Callable
from http import HTTPStatus

from api.commands.client import Client, ServiceFailed

PAUSE_SECONDS = 0.5
QUIET_TIMES = 3  # in a row: a score may ask for another
PUT_OFF_SECONDS = 6.0  # for which the next score of a customer is put off after the last one
STORING = "windback_buffer_events", "windback_buffer_oldest_seconds"
SCORING = "windback_rescore_due", "windback_rescore_lag_seconds"
UNRESOLVED = "windback_events_unresolved"
GAUGE = re.compile(r"^(windback_\w+?)(\{[^}]*\})? ([0-9.e+-]+)$", re.MULTILINE)
HIDDEN = "/metrics can't be read there, so nobody knows when the import is stored and scored; leave out --wait"


def wait_until_scored(client: Client, clock: Callable[[], float] = time.monotonic) -> None:
    """Return when nothing of before waits to be stored, and then to be scored. Raises ServiceFailed."""
    _wait(client, STORING, clock, clock())
    _wait(client, SCORING, clock, clock() + PUT_OFF_SECONDS)


def _wait(client: Client, gauges: tuple[str, str], clock: Callable[[], float], since: float) -> None:
    quiet = 0
    while quiet < QUIET_TIMES:
        quiet = 0 if _is_waiting(client, gauges, clock() - since) else quiet + 1
        time.sleep(PAUSE_SECONDS)


def count_unresolved(client: Client) -> int:
    """Returns how many events of the whole service wait for the address of their user id. Raises ServiceFailed."""
    return int(sum(number for (name, _), number in _read_gauges(client).items() if name == UNRESOLVED))


def _is_waiting(client: Client, names: tuple[str, str], age_seconds: float) -> bool:
    """Returns whether something waits that is at least so old. Raises ServiceFailed."""
    gauges = _read_gauges(client)
    number, age = names
    if not {number, age} <= {name for name, _ in gauges}:
        raise ServiceFailed(HIDDEN)
    waiting = [labels for (name, labels), value in gauges.items() if name == number and value]
    return any(gauges.get((age, labels), age_seconds) >= age_seconds for labels in waiting)


def _read_gauges(client: Client) -> dict[tuple[str, str], float]:
    """Returns the service's metrics, by name and labels. Raises ServiceFailed."""
    reply = client.ask("GET", "/metrics")
    if reply.status != HTTPStatus.OK:
        raise ServiceFailed(HIDDEN)
    return {(name, labels): float(value) for name, labels, value in GAUGE.findall(reply.text)}
