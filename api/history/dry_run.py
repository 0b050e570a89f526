"""Shows the effect of an import without sending it."""

from collections import Counter
from collections.abc import Iterator

from api.history.event_files import FileLine
from api.words import count_of
from scoring.events import RECOGNISED
from workers.buffer.entries import parse_instant

SHOWN_NAMES = 30
KEPT_FAULTS = 1000  # lines with their reasons; the others are counted
MOST_NAMES = 10_000  # that are counted apart
MOST_USERS = 500_000  # different user ids that are counted
OTHERS = "…"


class ImportPreview:
    """Names, counts, span and unresolved ids of a file of any length."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()
        self.refused: list[FileLine] = []
        self.refusals = 0
        self.users: set[str] = set()
        self.unresolved = 0
        self.first: str | None = None
        self.last: str | None = None

    def add(self, line: FileLine) -> None:
        """Count a line."""
        if line.event is None:
            self._refuse(line)
            return
        name = line.event["event"]
        self.names[name if name in self.names or len(self.names) < MOST_NAMES else OTHERS] += 1
        if not line.event.get("customer_email"):
            self._set_aside(line.event["user_id"])
        if timestamp := line.event.get("timestamp"):
            at = parse_instant(timestamp).isoformat()
            self.first, self.last = min(self.first or at, at), max(self.last or at, at)

    def _refuse(self, line: FileLine) -> None:
        self.refusals += 1
        if len(self.refused) < KEPT_FAULTS:
            self.refused.append(line)

    def _set_aside(self, user_id: str) -> None:
        self.unresolved += 1
        if len(self.users) < MOST_USERS:
            self.users.add(user_id)

    @property
    def events(self) -> int:
        """The number of events that would be sent."""
        return sum(self.names.values())

    def describe(self) -> Iterator[str]:
        """The preview in lines."""
        names, refused = count_of(len(self.names), "name"), count_of(self.refusals, "line")
        yield f"{count_of(self.events, 'event')}, {names}, {refused} refused"
        if self.first and self.last:
            yield f"from {self.first[:19]} to {self.last[:19]}"
        for name, count in self.names.most_common(SHOWN_NAMES):
            yield f"  {count:>12,}  {name}{'' if name in RECOGNISED else '  (your own)'}"
        if len(self.names) > SHOWN_NAMES:
            yield f"  … and {len(self.names) - SHOWN_NAMES:,} more names"
        if self.unresolved:
            users = count_of(len(self.users), "user id")
            events = count_of(self.unresolved, "event")
            yield f"{events} of {users} without an address: they wait until one is known (--people)"
