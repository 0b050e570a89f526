"""The part of a customer's page about acting: a draft, the handlings, and facts in words."""

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec
from starlette.requests import Request

from api.alerts.drafts import draft_for
from api.alerts.handlings import Handling, read_handlings
from api.dashboard.labels import FACTS
from api.reading.customer import EventInTimeline
from scoring.advice import Advice
from scoring.drafts.draft import Draft
from scoring.facts import date

DOINGS: Final = {"contacted": "Contacted", "snoozed": "Snoozed", "noted": "Noted"}
LONGEST_MAILTO: Final = 1800  # characters: mail programs cut longer addresses off


async def acting_box(request: Request, account_id: int, row: dict[str, Any]) -> dict[str, Any]:
    """The context of acting.html, for the customer of this row. Raises Refused."""
    draft = await draft_for(request, account_id, row) if _needs_draft(row) else None
    off_until = row["snoozed_until"]
    return {
        "draft": draft,
        "mailto": mailto(row["email"], draft) if draft else "",
        "handlings": await read_handlings(request, row["customer_id"]),
        "doings": DOINGS,
        "off_until": off_until if off_until and off_until > datetime.now(UTC) else None,
    }


def mailto(email: str, draft: Draft) -> str:
    """An address that opens the draft in a mail program."""
    address = f"mailto:{quote(email, safe='@')}?subject={quote(draft.subject)}"
    body = quote(draft.body_text.replace("\n", "\r\n"))
    return f"{address}&body={body}" if len(address) + len(body) <= LONGEST_MAILTO else address


def label_facts(advice: Advice | None) -> list[tuple[str, str]]:
    """The facts of an advice with their names, in words."""
    facts = advice.facts if advice else {}
    ordered = [*(name for name in FACTS if name in facts), *(name for name in facts if name not in FACTS)]
    return [(FACTS.get(name, name), _words(facts[name])) for name in ordered]


def with_handlings(events: list[EventInTimeline], handlings: list[Handling], last_page: bool) -> list[EventInTimeline]:
    """Returns a page of a timeline, newest first, with handlings among the events."""
    oldest = events[-1].timestamp if events and not last_page else datetime.min.replace(tzinfo=UTC)
    done = [_as_event(handling) for handling in handlings if handling.at >= oldest]
    return sorted([*events, *done], key=lambda event: event.timestamp, reverse=True)


def _as_event(handling: Handling) -> EventInTimeline:
    until = handling.until and date(handling.until.timestamp(), handling.at.timestamp())
    fields = {"until": until, "text": handling.text, "who": handling.who}
    properties = msgspec.json.encode({name: value for name, value in fields.items() if value is not None})
    return EventInTimeline(DOINGS[handling.what], handling.at, handling.at, msgspec.Raw(properties))


def _needs_draft(row: dict[str, Any]) -> bool:
    return bool(row["advice"]) and row["advice"]["strategy"] != "none"


def _words(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"“{each}”" for each in value)
    text = str(value)
    if len(text) == len("2025-12-01T10:00:00Z") and text.endswith("Z"):
        try:
            return date(datetime.fromisoformat(text).timestamp(), datetime.now(UTC).timestamp())
        except ValueError:
            return text
    return text
