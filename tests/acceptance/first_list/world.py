"""A running service with accounts of its own, and what each of them reads."""

import re
import subprocess
import sys
from collections import Counter
from datetime import datetime
from html import unescape
from typing import Any

import httpx2

from tests.acceptance.door import Door
from tests.acceptance.first_list import terms
from workers.accounts import keys
from workers.learning.nightly import turn_key

PROCESSES = ("web", "ingest", "import", "score", "deliver", "clock")
WAIT_SECONDS = 150.0
CUSTOMERS = "/api/v1/customers"


class Reader:
    """The API and the pages as the holder of a key reads them."""

    def __init__(self, url: str, key: str) -> None:
        self.client = httpx2.Client(base_url=url, headers={"X-API-Key": key}, timeout=30)
        signed_in = self.client.post("/sign-in", data={"key": key}, follow_redirects=False)
        assert signed_in.status_code == 303

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.client.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def page(self, path: str) -> str:
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def walk(self, **parameters: Any) -> list[dict[str, Any]]:
        """All customers of a list, page by page."""
        listed: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.get(CUSTOMERS, **parameters, **cursor)
            listed += page["customers"]
            if not page["next_cursor"]:
                return listed
            cursor = {"cursor": page["next_cursor"]}

    def kinds(self, **parameters: Any) -> Counter[str]:
        """The number of customers of each kind in a list."""
        return Counter(terms.kind_of(customer["email"]) for customer in self.walk(**parameters))

    def urgent(self) -> list[str]:
        """The addresses under *Who to talk to first*."""
        section = self.page("/").partition('id="urgent"')[2].partition("</section>")[0]
        return [unescape(path) for path in re.findall(r'<th scope="row"><a href="/customers/([^"]+)"', section)]


class Imported:
    """A running service with accounts of its own: `today`, whose terms end now, and `past`, where they ended years
    ago. All have had their turn of the night when they begin: only the tests train them."""

    def __init__(self, service: Door, began: datetime) -> None:
        self.door, self.began = service, began
        self.readers: dict[str, Reader] = {}

    def account(self, name: str) -> Reader:
        if name not in self.readers:
            secret = keys.create(self.door.connection, self.door.redis, name).secret
            self.readers[name] = Reader(self.door.line.url, secret)
            self.door.redis.set(turn_key(self.find_account_id(name)), 1)
        return self.readers[name]

    def find_account_id(self, name: str) -> int:
        """Returns the id of an account."""
        row = self.door.connection.execute("SELECT account_id FROM accounts WHERE name = %s", [name]).fetchone()
        assert row
        return int(row[0])

    def command(self, *arguments: str) -> str:
        """The output of a command of `windback` on this service."""
        windback = [sys.executable, "-c", "from api.cli import main; main()", *arguments]
        environment = self.door.line.environment
        done = subprocess.run(windback, env=environment, capture_output=True, text=True, timeout=WAIT_SECONDS)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def is_scored(self) -> bool:
        """True if everything is stored, scored and rebuilt."""
        if not self.door.is_empty() or self.door.count("rebuilds"):
            return False
        return self.door.count("customers WHERE recorded_at IS NULL OR provisional OR rescore_at <= now()") == 0
