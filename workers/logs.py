"""Logging: a line a record; JSON unless a person reads it on a terminal. No key and no address gets through."""

import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from workers.settings import Settings, explain_unknown

log = logging.getLogger(__name__)

FIELDS = "%(asctime)s %(levelname)s %(name)s %(message)s"
STANDARD = [*RESERVED_ATTRS, "color_message"]  # the last one is uvicorn's
PRIVATE = re.compile(r"[^\s@\"'(<=,;/]+@[^\s@\"')>,;/]+|\b[sp]k_live_\w+")

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)  # of the request that is being answered
_about: ContextVar[Mapping[str, object] | None] = ContextVar("about", default=None)


class TextFormatter(logging.Formatter):
    """For people: the message, and after it whatever else the record carries."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        extra = " ".join(f"{name}={value}" for name, value in vars(record).items() if name not in STANDARD)
        return PRIVATE.sub("…", f"{line}  {extra}" if extra else line)


class JsonLines(JsonFormatter):
    """For programs."""

    def format(self, record: logging.LogRecord) -> str:
        return PRIVATE.sub("…", super().format(record))


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, or else its name."""
    return (str(error).strip() or type(error).__name__).partition("\n")[0]


@contextmanager
def about(**ids: object) -> Iterator[None]:
    """Every record of the block carries these, and what the blocks around it say."""
    token = _about.set({**(_about.get() or {}), **ids})
    try:
        yield
    finally:
        _about.reset(token)


def identified(record: logging.LogRecord) -> bool:
    """A filter that lets everything pass, and names the request, or what else it is about unless the record does."""
    if id_ := request_id.get():
        record.request_id = id_
    vars(record).update({**(_about.get() or {}), **vars(record)})
    return True


def configure(settings: Settings) -> None:
    """Send everything to standard error, ours and the libraries'."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(identified)
    if settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty()):
        handler.setFormatter(TextFormatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    else:
        names = {"asctime": "time", "levelname": "level"}
        handler.setFormatter(JsonLines(FIELDS, rename_fields=names, reserved_attrs=STANDARD))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for sentence in explain_unknown().values():
        log.warning(sentence)
    logging.getLogger("rq").setLevel(logging.WARNING)  # a line a job, where we log a line a batch
