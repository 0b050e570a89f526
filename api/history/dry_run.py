"""What an import would send, without sending it."""

from collections import Counter
from collections.abc import Iterator

from api.history.event_files import FileLine
from api.words import count_of
from scoring.events import RECOGNISED
from workers.buffer.entries import parse_instant

SHOWN_NAMES = 30


class ImportPreview:
    """Names, counts, span, and what can't be resolved."""

    def __init__(self) -> None:
        self.names: Counter[str] = Counter()
        self.refused: list[FileLine] = []
        self.users: set[str] = set()
        self.unresolved = 0
        self.first: str | None = None
        self.last: str | None = None

    def add(self, line: FileLine) -> None:
        """Count a line."""
        if line.event is None:
            self.refused.append(line)
            return
        self.names[line.event["event"]] += 1
        if not line.event.get("customer_email"):
            self.unresolved += 1
            self.users.add(line.event["user_id"])
        if timestamp := line.event.get("timestamp"):
            at = parse_instant(timestamp).isoformat()
            self.first, self.last = min(self.first or at, at), max(self.last or at, at)

    def describe(self) -> Iterator[str]:
        """The preview in lines."""
        total = sum(self.names.values())
        names, refused = count_of(len(self.names), "name"), count_of(len(self.refused), "line")
        yield f"{count_of(total, 'event')}, {names}, {refused} refused"
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
