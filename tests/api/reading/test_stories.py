"""The stories of tests/scoring/stories.txt, once through the whole service."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.testclient import TestClient

from tests.scoring.stories import Story, read_stories

BATCH = 100


def events_of(number: int, story: Story, now: datetime) -> list[dict[str, Any]]:
    return [
        {
            "event": happening.event,
            "customer_email": f"story{number}@example.com",
            "timestamp": (now - timedelta(days=happening.days_ago)).isoformat(),
            "properties": happening.properties,
        }
        for happening in story.happenings()
    ]


def fits(story: Story, customer: dict[str, Any]) -> bool:
    risk, strategy = customer["risk"], customer["advice"]["strategy"]
    within = story.lowest <= risk["score"] <= story.highest
    return within and story.state in ("*", risk["state"]) and story.strategy in ("*", strategy)


def test_the_service_says_of_each_story_what_the_table_says(acme: TestClient, work: Callable[[], None]) -> None:
    """Tracked, stored, scored and read back over HTTP."""
    now, stories = datetime.now(UTC), read_stories()
    sent = [event for number, story in enumerate(stories) for event in events_of(number, story, now)]
    for start in range(0, len(sent), BATCH):
        answer = acme.post("/api/v1/track", json={"events": sent[start : start + BATCH]})
        assert answer.status_code == 200, answer.text
    work()
    wrong = {}
    for number, story in enumerate(stories):
        customer = acme.get(f"/api/v1/customers/story{number}@example.com").json()
        if not fits(story, customer):
            wrong[story.story] = (customer["risk"]["score"], customer["risk"]["state"], customer["advice"]["strategy"])
    assert wrong == {}
