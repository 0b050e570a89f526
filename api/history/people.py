"""Files of people: which address a user id has, as another product exports it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from api.history.records import Columns, read_records
from api.history.text_files import FileFault, TextFile
from api.identities.rules import find_faults

Json = dict[str, Any]

USER_IDS = ("user_id", "id", "distinct_id", "uid")
EMAILS = ("email", "customer_email", "$email", "mail")
COLUMNS = Columns((), (*USER_IDS, *EMAILS))


def read_people(path: Path) -> dict[str, str]:
    """The address of each user id. Raises FileFault with the line that can't be used, OSError."""
    with TextFile(path) as file:
        return dict(_list_pairs(file))


def _list_pairs(file: TextFile) -> Iterator[tuple[str, str]]:
    for record in read_records(file, COLUMNS):
        if record.fields is None:
            raise FileFault(record.fault, record.number)
        user_id, email = _find(record.fields, USER_IDS), _find(record.fields, EMAILS)
        if not user_id or not email:
            raise FileFault("a person needs a user_id and an email; the first line names these columns", record.number)
        fault = next(find_faults({"user_id": user_id, "customer_email": email}, 0.0), None)
        if fault:
            raise FileFault(fault.message, record.number)
        yield user_id, email


def _find(fields: Json, names: tuple[str, ...]) -> str:
    return next((str(fields[name]).strip() for name in names if fields.get(name) not in (None, "")), "")
