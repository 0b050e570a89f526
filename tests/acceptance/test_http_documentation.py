"""The users' documentation, as it stands: its curl commands, run by a shell."""

import subprocess

from tests.acceptance.door import Door
from tests.documentation import CURL_BATCH, CURL_ONE, here

JANE = "/api/v1/customers/jane@example.com"


def run(service: Door, example: str) -> str:
    """The output of a command of the documentation."""
    command = here(example, service.line.url, service.key)
    assert service.key in command
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=20).stdout


def test_the_curl_commands_work_and_jane_can_be_read_afterwards(service: Door) -> None:
    """One event, a batch of three, and all of it again: four events, with the properties that were sent."""
    for example in (CURL_ONE, CURL_BATCH, CURL_ONE, CURL_BATCH):
        assert run(service, example) == '{"status":"ok"}'
    stored = [
        (one["event"], one["timestamp"], one["properties"])
        for one in service.timeline("jane@example.com")
        if one["timestamp"].startswith("2025-12-01T")
    ]
    assert stored == [
        ("feature_used", "2025-12-01T10:00:00Z", {"feature": "exports", "plan": "pro"}),
        ("support_ticket_opened", "2025-12-01T09:30:00Z", {"subject": "Cannot export data"}),
        ("feature_used", "2025-12-01T09:05:00Z", {"feature": "dashboard"}),
        ("login", "2025-12-01T09:00:00Z", {}),
    ]
    with service.client() as client:
        jane = client.get(JANE).json()
    assert jane["email"] == "jane@example.com"
    assert jane["events"]["support_ticket_opened"] == 1
    assert jane["plan"] == "pro" or jane["risk"] is None
