from typing import Any
from uuid import uuid4

import msgspec
import pytest
from redis import Redis
from standardwebhooks.webhooks import Webhook
from starlette.testclient import TestClient

from api.app import create_app
from tests.workers.alerts.receiver import Receiver
from tests.workers.alerts.worlds import alert, rise
from workers.accounts import keys
from workers.accounts.keys import NewKey
from workers.settings import Settings
from workers.store import Connection

URL = "https://example.com/hook"


def create(client: TestClient, **fields: Any) -> dict[str, Any]:
    response = client.post("/api/v1/webhooks", json={"url": URL, **fields})
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


def test_a_webhook_shows_its_secret_once(acme: TestClient) -> None:
    created = create(acme, min_level="critical", description="the team")
    assert created["secret"].startswith("whsec_")
    assert (created["url"], created["format"], created["min_level"], created["enabled"]) == (
        URL,
        "json",
        "critical",
        True,
    )
    (listed,) = acme.get("/api/v1/webhooks").json()["webhooks"]
    assert listed == {**{name: value for name, value in created.items() if name != "secret"}, "last_delivery": None}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": "example.com"},
        {"url": "ftp://example.com"},
        {"url": "https://"},
        {"url": "https://user:pass@example.com/"},
        {"url": "https://example.com:99999/"},
        {"url": "https://exa mple.com/"},
        {"url": f"https://example.com/{'x' * 2000}"},
        {"url": URL, "format": "xml"},
        {"url": URL, "min_level": "low"},
        {"url": URL, "description": "x" * 501},
        {"url": URL, "minlevel": "high"},
        {"url": 5},
        [],
    ],
)
def test_what_no_webhook_can_be_is_refused(acme: TestClient, body: Any) -> None:
    response = acme.post("/api/v1/webhooks", json=body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_webhook")


@pytest.mark.parametrize("url", [" https://Example.com/Hook\n", "HTTPS://Example.com/Hook"])
def test_an_address_may_have_blanks_around_it_and_capitals(acme: TestClient, url: str) -> None:
    """As it is pasted."""
    webhook = create(acme, url=url)
    assert webhook["url"] == "https://Example.com/Hook"
    acme.patch(f"/api/v1/webhooks/{webhook['id']}", json={"url": url.replace("Hook", "New")})
    (listed,) = acme.get("/api/v1/webhooks").json()["webhooks"]
    assert listed["url"] == "https://Example.com/New"


def test_a_user_or_a_password_in_an_address_is_named(acme: TestClient) -> None:
    answer = acme.post("/api/v1/webhooks", json={"url": "https://user:pass@example.com/"})
    assert "must not hold a user or a password" in answer.json()["message"]


def test_a_webhook_can_be_changed_and_removed(acme: TestClient) -> None:
    path = f"/api/v1/webhooks/{create(acme, description='x')['id']}"
    change = {"url": "http://example.org/a", "min_level": "medium", "enabled": False, "description": None}
    assert acme.patch(path, json=change).status_code == 204
    (listed,) = acme.get("/api/v1/webhooks").json()["webhooks"]
    assert change.items() <= listed.items()
    assert acme.patch(path, json={"enabled": True}).status_code == 204
    assert acme.get("/api/v1/webhooks").json()["webhooks"][0]["url"] == change["url"]
    for bad in ({"url": "x"}, {"enabled": "yes"}, {"format": "slack"}, {"min_level": None}):
        assert acme.patch(path, json=bad).json()["code"] == "invalid_webhook"
    assert acme.delete(path).status_code == 204
    assert acme.get("/api/v1/webhooks").json() == {"webhooks": []}
    assert acme.delete(path).json()["code"] == "webhook_not_found"
    assert acme.patch(path, json={}).json()["code"] == "webhook_not_found"


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "POST"])
def test_another_accounts_webhook_is_not_there(
    acme: TestClient, connection: Connection, redis: Redis, key: NewKey, method: str
) -> None:
    created = create(acme)
    other = {"X-API-Key": keys.create(connection, redis, "other").secret}
    for webhook_id in (created["id"], str(uuid4()), "nonsense"):
        path = f"/api/v1/webhooks/{webhook_id}" + ("/test" if method == "POST" else "")
        response = acme.request(method, path, json={}, headers=other)
        assert (response.status_code, response.json()["code"]) == (404, "webhook_not_found")


def test_a_publishable_key_may_do_none_of_this(acme: TestClient, connection: Connection, redis: Redis) -> None:
    acme.headers["X-API-Key"] = keys.create(connection, redis, "acme", publishable=True).secret
    for method, path in (("GET", "webhooks"), ("POST", "webhooks"), ("GET", "alerts"), ("GET", "alerts/effect")):
        assert acme.request(method, f"/api/v1/{path}", json={}).json()["code"] == "key_not_allowed"


def test_a_test_delivers_an_example(acme: TestClient, receiver: Receiver) -> None:
    created = create(acme, url=receiver.url)
    path = f"/api/v1/webhooks/{created['id']}/test"
    assert acme.post(path).json() == {"delivered": True, "status": 200}
    (message,) = receiver.messages
    body = Webhook(created["secret"]).verify(message.body, message.headers)
    assert (body["event"], body["test"]) == ("churn_risk.alert", True)
    assert acme.get("/api/v1/webhooks").json()["webhooks"][0]["last_delivery"]["status"] == 200
    receiver.status = 500
    assert acme.post(path).json() == {"delivered": False, "status": 500, "error": "answered 500"}


def test_a_test_for_slack_is_block_kit(acme: TestClient, receiver: Receiver) -> None:
    created = create(acme, url=receiver.url, format="slack")
    acme.post(f"/api/v1/webhooks/{created['id']}/test")
    body = receiver.messages[0].json
    assert [block["type"] for block in body["blocks"]] == ["section", "section", "actions"]
    assert "jane@example.com" in body["text"]


def test_private_addresses_are_refused_unless_allowed(settings: Settings, key: NewKey, receiver: Receiver) -> None:
    closed = msgspec.structs.replace(settings, webhook_private_addresses=False)
    with TestClient(create_app(closed), headers={"X-API-Key": key.secret}) as client:
        for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"):
            created = create(client, url=f"http://{host}:{receiver.port}/")
            tried = client.post(f"/api/v1/webhooks/{created['id']}/test").json()
            assert tried["delivered"] is False
            assert "not a public address" in tried["error"]
    assert receiver.messages == []


def test_alerts_are_listed_newest_first(
    acme: TestClient, connection: Connection, key: NewKey, receiver: Receiver
) -> None:
    webhook_id = create(acme, url=receiver.url)["id"]
    ((account_id,),) = connection.execute("SELECT account_id FROM accounts").fetchall()
    for number in range(5):
        alert(connection, account_id, [rise(connection, account_id, f"c{number}@example.com")])
    first = acme.get("/api/v1/alerts", params={"limit": 3}).json()
    rest = acme.get("/api/v1/alerts", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    listed = first["alerts"] + rest["alerts"]
    assert [each["email"] for each in listed] == [f"c{number}@example.com" for number in (4, 3, 2, 1, 0)]
    assert rest["next_cursor"] is None
    (delivery,) = listed[0]["deliveries"]
    assert (delivery["webhook_id"], delivery["state"], delivery["attempts"]) == (webhook_id, "waiting", 0)
    assert (listed[0]["level_before"], listed[0]["level"], listed[0]["score"]) == ("medium", "high", 63.0)
    assert (listed[0]["reason"], listed[0]["strategy"]) == ("No login for 12 days", "re_engagement")


def test_an_alert_says_what_the_customer_pays(acme: TestClient, connection: Connection) -> None:
    """As the list of customers does; what is at risk of it, by the risk of the alert. Unknown facts are null."""
    create(acme)
    ((account_id,),) = connection.execute("SELECT account_id FROM accounts").fetchall()
    for email in ("poor@example.com", "rich@example.com"):
        alert(connection, account_id, [rise(connection, account_id, email)])
    connection.execute("""
        UPDATE customers SET mrr = 4900, currency = 'EUR', name = 'Rich', company = 'Example Ltd', plan = 'pro'
        WHERE email LIKE 'rich%'
    """)
    rich, poor = acme.get("/api/v1/alerts").json()["alerts"]
    facts = ("name", "company", "plan", "mrr", "currency", "mrr_at_risk")
    assert [rich[fact] for fact in facts] == ["Rich", "Example Ltd", "pro", 4900, "EUR", 3087]
    assert [poor[fact] for fact in facts] == [None] * 6


def test_an_alert_can_be_sent_again(acme: TestClient, connection: Connection, key: NewKey, receiver: Receiver) -> None:
    create(acme, url=receiver.url)
    ((account_id,),) = connection.execute("SELECT account_id FROM accounts").fetchall()
    alert(connection, account_id, [rise(connection, account_id, "jane@example.com")])
    connection.execute("UPDATE deliveries SET state = 'failed', attempts = 9")
    (listed,) = acme.get("/api/v1/alerts").json()["alerts"]
    assert acme.post(f"/api/v1/alerts/{listed['id']}/redeliver").status_code == 202
    assert connection.execute("SELECT state, attempts FROM deliveries").fetchall() == [("waiting", 0)]
    for unknown in (str(uuid4()), "x"):
        assert acme.post(f"/api/v1/alerts/{unknown}/redeliver").json()["code"] == "alert_not_found"
