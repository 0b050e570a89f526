"""A reader that asks for lists all the time, as an integration does: an answer is right, or it is 503."""

import csv
import http.client
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

PAGE = 7  # customers, so that a list takes several requests
PAUSE_SECONDS = 0.2
ANSWER_SECONDS = 40.0
CUSTOMERS = "/api/v1/customers"
ONE_PAGE = (f"{CUSTOMERS}?sort=-risk&limit=100", f"{CUSTOMERS}?sort=urgency&limit=100")


class NoAnswer(Exception):
    """There was none, or it was 503: the list is asked for again."""


class Poller:
    """Walks through the customers of an account of whom none leaves."""

    def __init__(self, port: int, key: str) -> None:
        self.answers: Counter[str] = Counter()
        self._findings: list[str] = []
        self._port, self._headers = port, {"X-API-Key": key}
        self._known: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="poller")
        self._thread.start()

    def finish(self) -> list[str]:
        """Stop. Returns what was wrong with answers."""
        self._stopping.set()
        self._thread.join()
        return self._findings

    def describe(self) -> str:
        """The answers, in words."""
        counts = ", ".join(f"{count} x {status}" for status, count in sorted(self.answers.items()))
        return f"{len(self._known)} customers of the calm account were read: {counts}"

    def _run(self) -> None:
        reads: list[Callable[[], list[str]]] = [self._walk, self._read_file, *(self._reader(path) for path in ONE_PAGE)]
        number = 0
        while not self._stopping.wait(PAUSE_SECONDS):
            emails = set(self._known)
            try:
                self._check(emails, reads[number % len(reads)]())
                self._look_at_one(emails)
            except NoAnswer:
                pass
            except Exception as error:
                self._findings.append(f"a reader met {error!r}")
            number += 1

    def _check(self, emails: set[str], listed: list[str]) -> None:
        """All who were there before are in a list, once."""
        if twice := [email for email, times in Counter(listed).items() if times > 1]:
            self._findings.append(f"{twice[:5]} are in a list twice")
        if missing := emails - set(listed):
            self._findings.append(
                f"{len(missing)} are missing in a list, such as {min(missing)}, at {datetime.now(UTC)}"
            )
        if strangers := [email for email in listed if not email.startswith("calm")]:
            self._findings.append(f"{strangers[:5]} are in another account's list")
        self._known |= set(listed)

    def _walk(self) -> list[str]:
        """All pages, in the order of addresses."""
        path, listed = f"{CUSTOMERS}?sort=email&limit={PAGE}", []
        cursor: str | None = ""
        while cursor is not None:
            page = json.loads(self._ask(path + (f"&cursor={quote(cursor)}" if cursor else "")))
            listed += [row["email"] for row in page["customers"]]
            cursor = page["next_cursor"]
        if listed != sorted(listed):
            self._findings.append(f"a list is out of order: {listed}")
        return listed

    def _reader(self, path: str) -> Callable[[], list[str]]:
        return lambda: [row["email"] for row in json.loads(self._ask(path))["customers"]]

    def _read_file(self) -> list[str]:
        return [row["email"] for row in csv.DictReader(io.StringIO(self._ask("/customers.csv")))]

    def _look_at_one(self, emails: set[str]) -> None:
        if emails:
            email = min(emails)
            customer = json.loads(self._ask(f"{CUSTOMERS}/{quote(email)}"))
            if customer["email"] != email:
                self._findings.append(f"asked for {email}, the answer is about {customer['email']}")

    def _ask(self, path: str) -> str:
        """Returns a body. Raises NoAnswer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_SECONDS)
        began = time.monotonic()
        try:
            connection.request("GET", path, headers=self._headers)
            answer = connection.getresponse()
            status, body = answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self.answers[type(error).__name__] += 1
            raise NoAnswer from error
        finally:
            connection.close()
        self.answers[_describe(status, body)] += 1
        if status == http.HTTPStatus.OK:
            return body
        if status != http.HTTPStatus.SERVICE_UNAVAILABLE or "message" not in _parse(body):
            self._findings.append(
                f"{path} was answered with {status} after {time.monotonic() - began:.1f} s: {body[:300]}"
            )
        raise NoAnswer


def _describe(status: int, body: str) -> str:
    """The status, and which cell is away, if the answer says so."""
    words = str(_parse(body).get("message", "")).split() if status != http.HTTPStatus.OK else []
    cell = words[words.index("cell") + 1] if "cell" in words else ""
    return f"{status} (cell {cell})" if cell else str(status)


def _parse(body: str) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
