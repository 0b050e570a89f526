"""Logging: a line a record; JSON unless a person reads it on a terminal."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

FIELDS = "%(asctime)s %(levelname)s %(name)s %(message)s"
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class LineFormatter(logging.Formatter):
    """For people: the message, and after it whatever else the record carries."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        extra = " ".join(f"{name}={value}" for name, value in vars(record).items() if name not in STANDARD)
        return f"{line}  {extra}" if extra else line


def configure(level: str) -> None:
    """Send everything to standard error, ours and the libraries'."""
    handler = logging.StreamHandler(sys.stderr)
    if sys.stderr.isatty():
        handler.setFormatter(LineFormatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    else:
        handler.setFormatter(JsonFormatter(FIELDS, rename_fields={"asctime": "time", "levelname": "level"}))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("rq").setLevel(logging.WARNING)  # a line a job, where we log a line a batch
