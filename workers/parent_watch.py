"""A child of `windback up` ends with it, even if the supervisor was killed."""

import os
import signal
import threading

VARIABLE = "SUPERVISOR_FD"
GRACE_SECONDS = 10.0


def watch() -> None:
    """Under a supervisor, start a thread that asks this process to stop when the supervisor is gone.

    This is for the first process of a group: its own children don't get the descriptor.
    """
    if fd := os.environ.pop(VARIABLE, None):
        os.set_inheritable(int(fd), False)
        threading.Thread(target=_wait, args=(int(fd),), name="parent watch", daemon=True).start()


def _wait(fd: int) -> None:
    os.read(fd, 1)  # the supervisor never writes: this returns when the last writing end is closed
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)  # the supervisor gave this process a group of its own
