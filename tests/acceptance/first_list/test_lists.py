"""The first list after an import, on the running service: its door, its workers, and what people and programs read."""

import csv
import io
import itertools
import math
import re
import threading
from datetime import datetime
from html import unescape
from typing import Any

import httpx2
import msgspec

from scoring.model import PRIOR
from tests.acceptance.first_list import terms
from tests.acceptance.first_list.world import CUSTOMERS, WAIT_SECONDS, Imported, Reader
from tests.sending import track
from tests.waiting import wait_until
from tests.workers.events import event
from workers.accounts import models, renewals
from workers.accounts.models import Card

LEVELS = ("low", "medium", "high", "critical")
SAVABLE = {"steady", "fading", "payer", "fresh"}
CARD = Card("prior-1", "map-1", "", 30, None, None, 0, 0, 0, {}, [])


def test_where_everybody_is_gone_nobody_is_at_risk(imported: Imported) -> None:
    past = imported.account("past")
    assert "All customers have lapsed" in past.page("/")
    assert past.urgent() == []
    now = past.get("/api/v1/analytics/risk")["levels"][-1]
    assert [now[level] for level in LEVELS] == [0, 0, 0, 0]
    assert now["lapsed"] == len(past.walk(state="lapsed")) == terms.CUSTOMERS
    assert past.walk(state="new,active") == past.walk(risen=1) == past.walk(sort="-urgency", state="active") == []


def test_nobody_who_cannot_be_saved_is_a_risk(today: Reader) -> None:
    """Customers who never began, have left or pay no more have lapsed; a customer who pays and never comes has not."""
    gone = {"left": terms.LEFT, "ghost": terms.GHOSTS, "debtor": terms.DEBTORS}
    assert today.kinds(state="lapsed") == gone
    assert today.kinds(state="new") == {"fresh": terms.FRESH}
    assert set(today.kinds(state="active")) == {"steady", "fading", "payer"}
    ghosts = [customer for customer in today.walk(state="lapsed") if terms.kind_of(customer["email"]) == "ghost"]
    assert {customer["risk"]["reason"].partition(":")[0] for customer in ghosts} == {"Never started"}
    assert "fading" in {terms.kind_of(email) for email in today.urgent()} <= SAVABLE
    likely = len(today.walk(level="high,critical", state="new,active"))
    (headline,) = re.findall("<h1>(.*) likely to leave</h1>", today.page("/"))
    assert headline.partition("\xa0")[0] == (str(likely) if likely else "No customer is")


def test_who_to_talk_to_first_follows_the_formula(today: Reader) -> None:
    """risk * (½ + rise) * log10(10 + value); who pays by invoice alone is left out, since the list names no amount."""

    def urgency(customer: dict[str, Any]) -> float:
        risk, rise = customer["risk"]["score"] / 100, max(customer["risen"] or 0, 0) / 100
        return float(risk * (0.5 + rise) * math.log10(10 + (customer["mrr"] or 0) / 100))

    listed = today.walk(sort="-urgency", state="active,new", limit=7)
    values = [urgency(customer) for customer in listed if terms.kind_of(customer["email"]) != "payer"]
    assert len(values) > 20
    assert all(first >= second - 0.005 for first, second in itertools.pairwise(values))
    shown = today.urgent()
    assert shown == [customer["email"] for customer in listed if customer["risk"]["level"] != "low"][: len(shown)]


def test_who_was_contacted_or_snoozed_is_not_first_any_more(today: Reader) -> None:
    first, second, *rest = today.urgent()
    for email, what in ((first, "contacted"), (second, "snoozed")):
        assert today.client.post(f"{CUSTOMERS}/{email}/handlings", json={"what": what}).status_code == 201
    assert today.urgent()[: len(rest)] == rest


def test_each_number_of_the_overview_leads_to_the_customers_it_counts(today: Reader) -> None:
    """Tiles, what changed in a week, and each bar of the chart, in its table."""
    page = today.page("/")
    tiles = re.findall(r'<li><a href="([^"]+)"><span class="badge [^<]+</span> <b class="num">([\d,]+)</b>', page)
    changes = re.findall(r'<a class="change" href="([^"]+)">([\d,]+) in the last week', page)
    table = page.partition('aria-label="Customers by level and day"')[2].partition("</table>")[0]
    days = re.findall(r'<a href="([^"]+)">([\d,]+)</a>', table)
    assert (len(tiles), len(days) > 60) == (5, True)
    wrong = []
    for link, number in [*tiles, *changes, *days]:
        file = today.page(unescape(link).replace("/customers?", "/customers.csv?"))
        if len(list(csv.DictReader(io.StringIO(file, newline="")))) != int(number.replace(",", "")):
            wrong.append((link, number))
    assert wrong == []


def test_an_import_leaves_no_false_alarm(imported: Imported, today: Reader) -> None:
    """No alert, and since it began one risk of each customer: the one with all of the history."""
    assert today.get("/api/v1/alerts")["alerts"] == []
    since = imported.began.isoformat()
    for customer in today.walk(limit=20):
        risks = today.get(f"{CUSTOMERS}/{customer['email']}/risk", **{"from": since})["risk"]
        served = [risk for risk in risks if datetime.fromisoformat(risk["at"]) >= imported.began]
        assert [(risk["score"], risk["level"]) for risk in served] == [
            (customer["risk"]["score"], customer["risk"]["level"])
        ]
    now = today.get("/api/v1/analytics/risk")["levels"][-1]
    counted = {level: len(today.walk(level=level, state="new,active")) for level in LEVELS}
    assert {level: now[level] for level in LEVELS} == counted


def test_the_track_record_is_that_of_ones_own_history(imported: Imported, today: Reader) -> None:
    path = "/api/v1/model/track-record"
    wait_until(lambda: today.get(path)["why"] is None, WAIT_SECONDS, 0.5)
    record = today.get(path, days=200, level="medium", limit=5)
    assert (record["days"], record["before"], record["level"], record["why"]) == (200, 14, "medium", None)
    assert 0 < record["flagged_left"] <= record["flagged"]
    customers = record["customers"]
    while cursor := record["next_cursor"]:
        record = today.get(path, days=200, level="medium", limit=5, cursor=cursor)
        customers += record["customers"]
    assert len(customers) == record["left"] > 0
    assert {terms.kind_of(customer["email"]) for customer in customers} <= {"left", "debtor", "fading"}
    card = unescape(today.page("/")).partition('id="track-record"')[2].partition("</section>")[0]
    assert "flagged at high risk or above" in card
    assert 'id="track-record"' in today.page("/model")


def test_all_are_read_while_events_flow(imported: Imported, today: Reader) -> None:
    """By address, each customer comes once; the risks and the last events change meanwhile."""
    expected = sorted(customer["email"] for customer in today.walk(sort="email", limit=1000))
    done = threading.Event()

    def send() -> None:
        with httpx2.Client(base_url=imported.door.line.url, headers=today.client.headers, timeout=30) as client:
            for number in range(10_000):
                if done.is_set():
                    break
                track(client, event(customer_email=expected[number * 7 % len(expected)], event="page_viewed"))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        read = [customer["email"] for customer in today.walk(sort="email", limit=3)]
    finally:
        done.set()
        thread.join()
    assert read == expected
    wait_until(imported.is_scored, WAIT_SECONDS, 0.2)


def test_the_last_use_stands_beside_the_last_event(imported: Imported, today: Reader) -> None:
    """An event that is no use of the product moves the last event alone: in the list, the file and the pages."""
    email = terms.address("fading", 0)
    before = today.get(f"{CUSTOMERS}/{email}")
    track(today.client, event(customer_email=email, event="email_opened"))
    wait_until(lambda: today.get(f"{CUSTOMERS}/{email}")["last_seen"] > before["last_seen"], WAIT_SECONDS)
    wait_until(imported.is_scored, WAIT_SECONDS, 0.2)
    after = today.get(f"{CUSTOMERS}/{email}")
    assert after["last_active"] == before["last_active"] < after["last_seen"]
    (listed,) = today.walk(search=email)
    assert (listed["last_active"], listed["last_seen"]) == (after["last_active"], after["last_seen"])
    (row,) = csv.DictReader(io.StringIO(today.page(f"/customers.csv?search={email}")))
    assert row["last_active"] < row["last_seen"]
    words = re.sub("<[^>]+>", "", today.page(f"/customers/{email}")).replace("\xa0", " ")
    assert "Last active 8 days ago. Last event of any kind" in words
    (payer,) = today.walk(search=terms.address("payer", 0))
    assert payer["last_active"] is None
    assert payer["last_seen"] is not None


def test_a_change_of_model_is_no_change_of_customers(imported: Imported, today: Reader) -> None:
    """After the switch all scores are the new model's, higher by far; nothing rose by that, and nobody is alerted."""
    before = {customer["email"]: customer["risk"]["score"] for customer in today.walk(sort="email")}
    rising = {customer["email"] for customer in today.walk(risen=5)}
    connection, account_id = imported.door.connection, imported.find_account_id("today")
    version = models.next_version(connection, account_id)
    model = msgspec.structs.replace(PRIOR, version=f"map-{version}", kind="map", baseline=PRIOR.baseline + 2.0)
    models.save_models(connection, account_id, [model], CARD)
    renewals.request_switch(connection, account_id, version)
    steady = terms.address("steady", 0)
    wait_until(lambda: today.get(f"{CUSTOMERS}/{steady}")["risk"]["model"] == model.version, WAIT_SECONDS, 0.2)
    wait_until(lambda: not renewals.is_pending(connection), WAIT_SECONDS, 0.2)
    after = {customer["email"]: customer["risk"]["score"] for customer in today.walk(sort="email")}
    steady_ones = [email for email in before if terms.kind_of(email) == "steady"]
    assert sum(after[email] > 1.5 * before[email] for email in steady_ones) == terms.STEADY
    for since in ({}, {"since": "7d"}, {"since": "4d"}):
        risen = {customer["email"] for customer in today.walk(risen=10, **since)}
        assert not risen & set(steady_ones), since
        assert risen - rising <= {email for email in before if terms.kind_of(email) in SAVABLE}
        assert {customer["risen"] is None for customer in today.walk(search="steady-", **since)} == {False}
    assert today.get("/api/v1/alerts")["alerts"] == []
    page = today.page("/")
    assert "A new model since" in page
    tiles = page.partition('<ul class="tiles">')[2].partition("</ul>")[0]
    assert all(abs(int(change)) < 10 for change in re.findall(r"[+\u2212](\d+) in a week", tiles))
