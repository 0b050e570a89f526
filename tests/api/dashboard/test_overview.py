"""`/`: who is likely to leave, and whether that can be trusted."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from redis import Redis
from starlette.testclient import TestClient

from api.app import create_app
from api.dashboard.accuracy import describe_accuracy
from api.dashboard.churn import MonthRow
from api.reading.model import Matured, ModelInUse, Quality
from scoring.learning.metrics import Bin
from scoring.levels import LevelBounds
from tests.api.dashboard.conftest import token_in
from tests.sending import ago
from tests.workers.events import event
from tests.workers.worlds import fill, world
from workers.accounts import keys
from workers.accounts.keys import NewKey
from workers.buffer.lanes import LIVE
from workers.learning import track_records
from workers.settings import Settings
from workers.store import Connection


def words(client: TestClient) -> str:
    """The overview as text."""
    page = client.get("/").text.replace("<wbr>", "").replace("\u00a0", " ")
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


@pytest.fixture
def silent(signed_in: TestClient, work: Callable[[], None]) -> TestClient:
    """Ben came daily, and stopped 12 days ago; Anna still comes."""
    days = {"ben@acme.com": range(12, 60), "anna@acme.com": range(30)}
    sent = [event(customer_email=email, timestamp=ago(days=day)) for email, past in days.items() for day in past]
    sent.append(event(event="invoice_overdue", customer_email="ben@acme.com", timestamp=ago(days=9)))
    assert signed_in.post("/api/v1/track", json={"events": sent}).status_code == 200
    work()
    return signed_in


def test_an_empty_account_is_shown_the_first_step(signed_in: TestClient) -> None:
    page = words(signed_in)
    assert "Send your first event" in page
    assert "curl http://testserver/api/v1/track" in page
    assert "windback demo" in page


def test_who_is_likely_to_leave_why_and_what_to_do(silent: TestClient) -> None:
    page = words(silent)
    assert "1 customer is likely to leave" in page
    assert "out of 2 customers" in page
    assert re.search(r"ben@acme\.com (Critical|High) \d\d% .*(No login for 12 days|Invoice overdue)", page)
    assert "Recover the payment" in page
    assert "anna@acme.com" not in page


def test_whose_risk_rose_is_told(silent: TestClient) -> None:
    assert re.search(r"ben@acme\.com \d+% → \d\d%", words(silent))


def test_all_is_well(silent: TestClient, connection: Connection, redis: Redis) -> None:
    page = words(silent)
    assert "All 79 events of this account are stored" in page
    assert "No event is waiting" in page
    assert "Scores are not checked yet" in page


def test_events_a_minute_are_those_of_the_last_hour(signed_in: TestClient, work: Callable[[], None]) -> None:
    sent = [event(customer_email=f"{n}@acme.com") for n in range(90)]
    assert signed_in.post("/api/v1/track", json={"events": sent}).status_code == 200
    assert "oldest event in the buffer" in words(signed_in)
    work()
    assert re.search(r"(90|[78]\d) events arrived in the last hour, imported history aside", words(signed_in))


def test_refusals_of_over_a_twentieth_are_a_warning(silent: TestClient, work: Callable[[], None]) -> None:
    live = [event(customer_email=f"{n}@acme.com") for n in range(60)]
    bad = [{"event": "login", "customer_email": "nobody"} for _ in range(3)]
    assert silent.post("/api/v1/track", json={"events": [*live, *bad]}).status_code == 207
    work()
    assert "Events were refused" not in words(silent)
    assert silent.post("/api/v1/track", json={"events": bad * 3}).status_code == 422
    page = words(silent)
    assert re.search(r"Events were refused \(a warning\) 12 of about \d+ events of the last day", page)
    assert 'href="/events#problems"' in silent.get("/").text


def test_figures_are_the_accounts_own(silent: TestClient, connection: Connection, redis: Redis) -> None:
    other = keys.create(connection, redis, "other").secret
    silent.post("/sign-out", data={"token": token_in(silent.get("/").text)})
    silent.post("/sign-in", data={"key": other})
    page = words(silent)
    assert "Send your first event" in page
    assert "79" not in page


def test_a_redis_that_would_lose_events_is_a_warning(silent: TestClient, redis: Redis) -> None:
    redis.config_set("appendonly", "no")
    try:
        page = words(silent)
    finally:
        redis.config_set("appendonly", "yes")
    assert "Events could be lost" in page
    assert "Nothing is lost" not in page


def test_lists_open_behind_the_numbers(silent: TestClient, connection: Connection) -> None:
    connection.execute("""
        INSERT INTO risk_history (customer_id, at, probability, level, state, model)
        SELECT customer_id, now() - interval '3 days', 0.9, 'critical', 'active', 'prior-1' FROM customers
        WHERE email LIKE 'anna%'
    """)
    page = silent.get("/").text
    assert 'href="/customers?level=critical&amp;state=here"' in page
    day = (datetime.now(UTC) - timedelta(days=2)).date()
    then = silent.get(f"/customers?state=all&then=critical&on={day}").text
    assert "anna@acme.com" in then.replace("<wbr>", "")
    assert "ben@acme.com" not in then.replace("<wbr>", "")
    assert "Only customers: critical on" in then


def test_the_track_record_and_churn_by_month(signed_in: TestClient, connection: Connection) -> None:
    account_id = fill(connection, world(120, 180))
    track_records.compute(connection, account_id, LevelBounds())
    page = words(signed_in)
    record = signed_in.get("/api/v1/model/track-record").json()
    assert f"Of {record['flagged']} customers flagged at high risk or above, {record['flagged_left']} (" in page
    assert f"Of the {record['left']} customers who left in the last 90 days, {record['flagged_before']} (" in page
    assert "7 days before" in page
    assert "How this is counted" in page
    assert "Churn by month" in page


def test_churn_is_a_share_of_the_months_customers() -> None:
    """Customers may come and lapse within a month: they are among its customers, too."""
    month = MonthRow(date(2026, 8, 1), customers=15, joined=412, came_back=13, lapsed=25, flagged=0)
    assert (month.present, month.lapsed / month.present < 0.06) == (440, True)


def test_risk_by_plan(silent: TestClient, connection: Connection) -> None:
    assert "Risk by plan" not in words(silent)
    connection.execute("UPDATE customers SET plan = '<b>Pro' WHERE email = 'ben@acme.com'")
    page = silent.get("/").text
    assert "Risk by plan" in page
    assert 'href="/customers?plan=%3Cb%3EPro"><bdi>&lt;b&gt;Pro</bdi>' in page
    assert "No plan" in page


def test_a_customer_who_is_put_off_is_not_first(silent: TestClient, connection: Connection) -> None:
    assert "ben@acme.com" in words(silent).split("Biggest rises")[0]
    connection.execute("UPDATE customers SET snoozed_until = now() + interval '1 day' WHERE email LIKE 'ben%'")
    assert "ben@acme.com" not in words(silent).split("Biggest rises")[0]


def test_what_could_not_be_stored_is_told(silent: TestClient, connection: Connection) -> None:
    connection.execute("""
        INSERT INTO dead_letters (customer_id, dead_letter_id, account_id, reason, fingerprint, received_at, lane, body)
        SELECT gen_random_uuid(), gen_random_uuid(), account_id, 'data', '', now(), 'live', '' FROM accounts
    """)
    assert "1 event. windback dead-letters list shows why" in words(silent)


def test_an_outage_of_tracking_is_told(silent: TestClient, connection: Connection) -> None:
    connection.execute("INSERT INTO outages SELECT account_id, now() - interval '9 hours' FROM accounts")
    assert "Tracking seems to be down. Almost no events since" in words(silent)


def test_events_that_are_missing_are_told(silent: TestClient, redis: Redis) -> None:
    redis.hincrby(LIVE.ledger, "accepted", 5)
    redis.hincrby(LIVE.ledger, "settled", 5)
    assert "Events are missing. Accepted events are unaccounted for." in words(silent)


def test_the_overview_does_without_redis(silent: TestClient, settings: Settings, key: NewKey) -> None:
    away = msgspec.structs.replace(settings, redis_url="redis://127.0.0.1:1")
    with TestClient(create_app(away), cookies=dict(silent.cookies)) as client:
        page = words(client)
    assert "1 customer is likely to leave" in page
    assert "Events are refused" in page


def quality(kind: type[Quality] = Quality, **more: Any) -> Any:
    bins = [Bin(50, 0.1, 0.1), Bin(50, 0.3, 0.4)]
    figures: dict[str, Any] = {
        "snapshots": 100,
        "lapses": 25,
        "base_rate": 0.25,
        "auc": 0.82,
        "pr_auc": 0.6,
        "lift": 3.1,
    }
    figures |= {"brier": 0.1, "brier_of_base_rate": 0.19, "log_loss": 0.3, "ece": 0.02, "calibration": bins}
    return kind(**{**figures, **more})


def model(**fields: Any) -> ModelInUse:
    parts: dict[str, Any] = dict.fromkeys(ModelInUse.__struct_fields__)
    return ModelInUse(**{**parts, "name": "additive-3", "kind": "additive", "horizon_days": 30, **fields})


def test_matured_scores_speak_for_themselves() -> None:
    words = describe_accuracy(
        model(matured=quality(Matured, day=date(2026, 10, 20), horizon_days=30), holdout=quality(lift=9.0))
    )
    assert words.title == "Scores ranked customers well: the riskiest tenth left 3.1 times as often as the average"
    assert words.text.replace("\u00a0", " ") == (
        "Of 100 customers scored on 20 Oct, 20% were expected to leave and 25% did (25)."
    )


def test_poor_scores_are_called_poor() -> None:
    assert "ranked customers poorly" in describe_accuracy(model(holdout=quality(auc=0.55))).title
    assert "Nothing to rank" in describe_accuracy(model(holdout=quality(auc=None, lift=None, lapses=0))).title


def test_where_nothing_is_known_yet_it_is_said_what_is_needed() -> None:
    assert "after 30 days" in describe_accuracy(model()).text


def test_where_everybody_has_lapsed_it_is_said(signed_in: TestClient, work: Callable[[], None]) -> None:
    sent = [event(customer_email="cleo@acme.com", timestamp=ago(days=day)) for day in range(60, 100, 2)]
    assert signed_in.post("/api/v1/track", json={"events": sent}).status_code == 200
    work()
    page = words(signed_in)
    assert "All customers have lapsed" in page
    assert "No live events in the last hour" in page
