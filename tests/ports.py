"""Ports for servers of one's own."""

import itertools
import os
import random
import socket

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
RANGE = range(10_000 + WORKER % 10 * 2_000, 12_000 + WORKER % 10 * 2_000)  # below those that clients are given
_ports = itertools.cycle(random.sample(RANGE, len(RANGE)))

REFUSED = {10080}  # by browsers


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now. Test processes side by side draw from different ranges."""
    for port in itertools.islice(_ports, len(RANGE)):
        if port in REFUSED:
            continue
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("no free port")
