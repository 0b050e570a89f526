"""`/keys`: made once, shown once, revoked for sure."""

import re

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.api.dashboard.conftest import token_in
from tests.waiting import wait_until
from workers.accounts import keys
from workers.accounts.keys import NewKey
from workers.store import Connection

SECRET = re.compile(r"[sp]k_live_[\w-]{43}")


def make(client: TestClient, once: str = "1", **fields: str) -> tuple[int, str | None]:
    """Fill in the form. Returns the status, and the new key where one is shown."""
    token = token_in(client.get("/keys").text)
    answer = client.post("/keys", data={"token": token, "once": once, **fields})
    secret = SECRET.search(answer.text)
    return answer.status_code, secret[0] if secret else None


@pytest.mark.parametrize(("kind", "prefix"), [("secret", "sk_live_"), ("publishable", "pk_live_")])
def test_a_key_is_made_and_shown_once(signed_in: TestClient, connection: Connection, kind: str, prefix: str) -> None:
    status, key = make(signed_in, kind=kind, rate_limit="250")
    assert status == 200
    assert key is not None
    assert key.startswith(prefix)
    assert keys.is_valid(connection, key)
    listed = signed_in.get("/keys").text
    assert key not in listed
    assert f"{key[:12]}…{key[-4:]}" in listed
    assert "250 events/s" in listed


def test_a_form_that_is_sent_twice_makes_one_key(signed_in: TestClient) -> None:
    assert make(signed_in, once="a")[1]
    assert make(signed_in, once="a") == (200, None)
    assert signed_in.get("/keys").text.count("/revoke") == 2


@pytest.mark.parametrize("limit", ["0", "-1", "many", "1.5", "9999999", "00000019999999", "1" * 5000, "\u0661"])
def test_a_limit_that_is_none_is_refused(signed_in: TestClient, limit: str) -> None:
    assert make(signed_in, rate_limit=limit) == (422, None)
    assert signed_in.get("/keys").text.count("/revoke") == 1


def test_a_key_is_revoked(signed_in: TestClient, connection: Connection, redis: Redis) -> None:
    created = keys.create(connection, redis, "acme")
    path = f"/keys/{created.key_id}/revoke"
    asked = signed_in.get(path).text
    assert "signed in with this key" not in asked
    answer = signed_in.post(path, data={"token": token_in(asked)})
    assert "is revoked" in answer.text
    assert not keys.is_valid(connection, created.secret)
    assert signed_in.get(path).status_code == 404


def test_revoking_the_key_in_use_is_warned_of_and_signs_out(signed_in: TestClient, key: NewKey) -> None:
    path = f"/keys/{key.key_id}/revoke"
    asked = signed_in.get(path).text
    assert "You are signed in with this key" in asked
    assert "the last secret key" in asked
    answer = signed_in.post(path, data={"token": token_in(asked)})
    assert answer.url.path == "/sign-in"


def test_keys_of_other_accounts_are_nobodys(signed_in: TestClient, connection: Connection, redis: Redis) -> None:
    other = keys.create(connection, redis, "other")
    assert signed_in.get(f"/keys/{other.key_id}/revoke").status_code == 404
    token = token_in(signed_in.get("/keys").text)
    assert signed_in.post(f"/keys/{other.key_id}/revoke", data={"token": token}).status_code == 404
    assert keys.is_valid(connection, other.secret)
    assert other.secret[:12] not in signed_in.get("/keys").text


def test_it_is_seen_when_a_key_was_used(signed_in: TestClient, connection: Connection, redis: Redis) -> None:
    created = keys.create(connection, redis, "acme", publishable=True)
    assert "never" in signed_in.get("/keys").text
    event = {"event": "login", "customer_email": "jane@example.com"}
    assert signed_in.post("/api/v1/track", json=event, headers={"X-API-Key": created.secret}).status_code == 200
    wait_until(lambda: redis.hexists(keys.USED, str(created.key_id)))
    assert "never" not in signed_in.get("/keys").text
