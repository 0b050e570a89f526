"""Events as a producer sends them: when they happened, and to whom they go."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from starlette.testclient import TestClient

BATCH = 100


def ago(**span: float) -> str:
    """The timestamp of so long before now."""
    return (datetime.now(UTC) - timedelta(**span)).isoformat()


def track(client: TestClient | httpx2.Client, *events: Any, expected: Collection[int] = (200,)) -> None:
    """Send events in batches, each of which is answered by an expected status."""
    for at in range(0, len(events), BATCH):
        assert client.post("/api/v1/track", json={"events": events[at : at + BATCH]}).status_code in expected
