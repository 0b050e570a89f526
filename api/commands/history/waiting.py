"""Waiting until what was imported is stored and scored, as the service's own metrics say."""

import re
import time
from http import HTTPStatus

from api.commands.client import Client, ServiceFailed

PAUSE_SECONDS = 0.5
QUIET_TIMES = 3  # in a row: between storing and scoring nothing may wait for a moment
GAUGE = re.compile(r"^(windback_buffer_events|windback_rescore_due)(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)
HIDDEN = "/metrics can't be read there, so nobody knows when the import is stored and scored; leave out --wait"


def wait_until_scored(client: Client) -> None:
    """Return when nothing waits to be stored or scored. Raises ServiceFailed."""
    quiet = 0
    while quiet < QUIET_TIMES:
        waiting = _count_waiting(client)
        quiet = quiet + 1 if waiting == 0 else 0
        time.sleep(PAUSE_SECONDS)


def _count_waiting(client: Client) -> float:
    reply = client.ask("GET", "/metrics")
    found = GAUGE.findall(reply.text)
    if reply.status != HTTPStatus.OK or {name for name, _ in found} != {
        "windback_buffer_events",
        "windback_rescore_due",
    }:
        raise ServiceFailed(HIDDEN)
    return sum(float(value) for _, value in found)
