"""Segment's library for Node, as npm has it, with another host."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.libraries.install import install
from workers.accounts.keys import NewKey

SCRIPT = """
const { Analytics } = require("@segment/analytics-node");
const analytics = new Analytics({ ...JSON.parse(process.argv[2]), maxRetries: 0 });
analytics.on("error", (error) => { console.error(error); process.exitCode = 1; });
analytics.track({ userId: "u1", event: "Signed In", properties: { page: "home" } });
analytics.identify({ userId: "u1", traits: { email: "jane@example.com", name: "Jane", mrr: 4900, currency: "EUR" } });
analytics.page({ userId: "u1", category: "docs", name: "Pricing", properties: { path: "/pricing" } });
analytics.screen({ userId: "u1", name: "Settings" });
analytics.group({ userId: "u1", groupId: "g1", traits: { name: "Example Ltd" } });
analytics.alias({ previousId: "old", userId: "u1" });
analytics.track({ userId: "u1", event: "Imported", timestamp: new Date("2026-01-01T00:00:00Z") });
analytics.closeAndFlush({ timeout: 20000 });
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program beside the library."""
    folder = tmp_path_factory.mktemp("node")
    install(folder)
    path = folder / "send.js"
    path.write_text(SCRIPT)
    return path


@pytest.mark.parametrize("size", [1, 50])
def test_it_works_with_another_host(
    acme: TestClient, url: str, key: NewKey, work: Callable[[], None], script: Path, size: int
) -> None:
    options = json.dumps({"writeKey": key.secret, "host": url, "flushAt": size})
    done = subprocess.run(["node", script, options], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    work()
    events = acme.get("/api/v1/customers/jane@example.com/events").json()["events"]
    assert {event["event"] for event in events} == {"Signed In", "page_viewed", "screen_viewed", "Imported"}
    assert len(events) == 4
    shown = acme.get("/api/v1/customers/jane@example.com").json()
    assert (shown["name"], shown["company"], shown["mrr"]) == ("Jane", "Example Ltd", 4900)
