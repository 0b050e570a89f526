"""Times in the account's zone."""

from datetime import UTC, datetime

import pytest
from starlette.testclient import TestClient

from api.dashboard import zones
from api.dashboard.filters import clock, day
from tests.api.dashboard.conftest import token_in
from workers.store import Connection

LATE = datetime(2026, 11, 26, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "on", "at", "exact"),
    [
        ("UTC", "26\u00a0Nov\u00a02026", "01:30", "26 Nov 2026, 01:30:00 UTC"),
        ("America/Los_Angeles", "25\u00a0Nov\u00a02026", "17:30", "25 Nov 2026, 17:30:00 PST"),
        ("Asia/Kathmandu", "26\u00a0Nov\u00a02026", "07:15", "26 Nov 2026, 07:15:00 UTC+0545"),
    ],
)
def test_times_are_in_the_zone_in_use(zone: str, on: str, at: str, exact: str) -> None:
    zones.use(zone)
    try:
        for text, shown in ((on, day(LATE)), (at, clock(LATE))):
            assert f">{text}</time>" in shown
            assert 'datetime="2026-11-26T01:30:00Z"' in shown
            assert exact in shown
    finally:
        zones.use("UTC")


def test_an_account_chooses_its_zone(signed_in: TestClient, connection: Connection) -> None:
    form = {"token": token_in(signed_in.get("/settings").text), "action": "time_zone", "time_zone": "America/New_York"}
    assert "Saved. Pages show times in this zone." in signed_in.post("/settings", data=form).text
    assert connection.execute("SELECT DISTINCT time_zone FROM accounts WHERE name = 'acme'").fetchone() == (
        "America/New_York",
    )
    page = signed_in.get("/settings").text
    assert "Times are in America/New York; totals by day are counted in UTC" in page
    assert '<option selected value="America/New_York">' in page


@pytest.mark.parametrize("name", ["", "Mars/Base", "../etc/passwd", "CET\0", "posixrules"])
def test_what_is_no_zone_is_refused(signed_in: TestClient, name: str) -> None:
    form = {"token": token_in(signed_in.get("/settings").text), "action": "time_zone", "time_zone": name}
    answer = signed_in.post("/settings", data=form)
    assert answer.status_code == 422
    assert "is not a time zone" in answer.text
