"""Signing in and out: what opens the dashboard, and what does not."""

import asyncio
import html
from datetime import timedelta

import pytest
from redis import Redis
from starlette.requests import Request
from starlette.testclient import TestClient

from api.app import create_app
from api.dashboard import forms, session, signing
from tests.api.dashboard.conftest import token_in
from workers.accounts import keys
from workers.accounts.keys import NewKey
from workers.settings import Settings
from workers.store import Connection

HTML = {"accept": "text/html,*/*"}


def sign_in(client: TestClient, key: str, **fields: str) -> tuple[int, str]:
    """The status, and where one is sent."""
    answer = client.post("/sign-in", data={"key": key, **fields}, follow_redirects=False)
    return answer.status_code, answer.headers.get("location", "")


def is_in(client: TestClient) -> bool:
    return client.get("/keys", follow_redirects=False).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/customers", "/customers.csv", "/customers/a@b.cd", "/events", "/model", "/keys"]
)
def test_nobody_sees_a_page_without_a_session(client: TestClient, path: str) -> None:
    answer = client.get(path, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == ("/sign-in" if path == "/" else f"/sign-in?next={path.replace('@', '%40')}")
    assert answer.text == ""


def test_a_key_in_the_header_is_no_session(acme: TestClient) -> None:
    assert not is_in(acme)


@pytest.mark.parametrize("form", ["{}", "  {}\n"])
def test_a_secret_key_signs_in(client: TestClient, key: NewKey, form: str) -> None:
    assert sign_in(client, form.format(key.secret)) == (303, "/")
    assert is_in(client)
    assert client.get("/sign-in", follow_redirects=False).status_code == 303


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(client: TestClient, key: NewKey) -> None:
    plain = client.post("/sign-in", data={"key": key.secret}, follow_redirects=False).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=604800"} <= set(plain.split("; "))
    assert "Secure" not in plain
    assert key.secret not in plain
    proxied = client.post(
        "/sign-in", data={"key": key.secret}, headers={"x-forwarded-proto": "https"}, follow_redirects=False
    )
    assert "Secure" in proxied.headers["set-cookie"].split("; ")


@pytest.mark.parametrize("wanted", ["/customers?level=high", "/keys"])
def test_one_is_led_where_one_wanted_to_go(client: TestClient, key: NewKey, wanted: str) -> None:
    assert sign_in(client, key.secret, next=wanted) == (303, wanted)


def test_any_address_is_found_again(client: TestClient, key: NewKey) -> None:
    """Also one with a slash in a customer's name, and a query."""
    wanted = "/customers/a%2Fb%3F%25@example.com?span=90&x=%26"
    asked = client.get(wanted, follow_redirects=False).headers["location"]
    kept = html.unescape(client.get(asked).text).partition('name="next" value="')[2].partition('"')[0]
    assert kept == wanted
    assert sign_in(client, key.secret, next=kept) == (303, wanted)


@pytest.mark.parametrize("wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil", "x", ""])
def test_nobody_is_led_to_another_site(client: TestClient, key: NewKey, wanted: str) -> None:
    assert sign_in(client, key.secret, next=wanted) == (303, "/")


@pytest.mark.parametrize(
    ("entry", "status", "message"),
    [
        ("sk_live_wrong", 401, signing.UNKNOWN),
        ("anything else", 401, signing.UNKNOWN),
        ("  ", 422, signing.EMPTY),
    ],
)
def test_what_is_no_key_is_refused(client: TestClient, entry: str, status: int, message: str) -> None:
    answer = client.post("/sign-in", data={"key": entry})
    assert answer.status_code == status
    assert message in answer.text
    assert not is_in(client)


def test_a_publishable_key_is_told_why_not(client: TestClient, connection: Connection, redis: Redis) -> None:
    key = keys.create(connection, redis, "acme", publishable=True).secret
    answer = client.post("/sign-in", data={"key": key})
    assert answer.status_code == 403
    assert "only track events" in answer.text
    assert key not in answer.text


def test_a_revoked_key_opens_nothing(client: TestClient, connection: Connection, redis: Redis, key: NewKey) -> None:
    keys.revoke(connection, redis, key.key_id)
    assert sign_in(client, key.secret)[0] == 401


def test_a_session_ends_with_its_key(signed_in: TestClient, connection: Connection, redis: Redis, key: NewKey) -> None:
    assert is_in(signed_in)
    keys.revoke(connection, redis, key.key_id)
    assert not is_in(signed_in)


def test_a_session_expires(signed_in: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LASTS", timedelta(seconds=-1))
    assert not is_in(signed_in)


def test_a_cookie_that_was_changed_is_worth_nothing(signed_in: TestClient) -> None:
    cookie = signed_in.cookies[session.COOKIE]
    for changed in (cookie[1:], "x" + cookie, cookie.swapcase(), cookie * 9, ".", "a.b.c"):
        signed_in.cookies.clear()
        signed_in.cookies.set(session.COOKIE, changed)
        assert not is_in(signed_in)


def test_all_web_processes_know_a_session(signed_in: TestClient, settings: Settings) -> None:
    with TestClient(create_app(settings), cookies=dict(signed_in.cookies)) as another:
        assert is_in(another)


def test_signing_out_ends_the_session_for_copies_of_the_cookie_too(signed_in: TestClient) -> None:
    copied = dict(signed_in.cookies)
    token = token_in(signed_in.get("/keys").text)
    answer = signed_in.post("/sign-out", data={"token": token}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert session.COOKIE not in signed_in.cookies
    signed_in.cookies.update(copied)
    assert not is_in(signed_in)


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        ("", {}),
        ("wrong", {}),
        ("right", {"origin": "https://evil.example"}),
        ("right", {"origin": "null"}),
        ("right", {"origin": "http://testserver:81"}),
        ("right", {"sec-fetch-site": "cross-site"}),
        ("right", {"sec-fetch-site": "same-site"}),
    ],
)
def test_a_form_of_another_site_does_nothing(signed_in: TestClient, token: str, headers: dict[str, str]) -> None:
    sent_token = token_in(signed_in.get("/keys").text) if token == "right" else token
    for path in ("/sign-out", "/keys"):
        answer = signed_in.post(path, data={"token": sent_token, "once": "1"}, headers=headers, follow_redirects=False)
        assert answer.status_code == 403
    assert is_in(signed_in)
    assert signed_in.get("/keys").text.count("/revoke") == 1


def test_a_form_of_our_own_may_come_through_a_proxy(signed_in: TestClient) -> None:
    token = token_in(signed_in.get("/keys").text)
    headers = {
        "origin": "https://windback.example",
        "x-forwarded-host": "windback.example",
        "x-forwarded-proto": "https",
    }
    assert (
        signed_in.post("/sign-out", data={"token": token}, headers=headers, follow_redirects=False).status_code == 303
    )


PROXIED = [
    {"host": "app.example.com", "x-forwarded-proto": "https", "sec-fetch-site": "same-origin",
     "origin": "https://app.example.com:8443"},
    {"host": "windback:8000", "x-forwarded-host": "app.example.com, app.example.com",
     "x-forwarded-proto": "https, http", "origin": "https://app.example.com"},
    {"host": "windback:8000", "x-forwarded-host": "app.example.com, inner", "x-forwarded-proto": "HTTPS",
     "origin": "https://app.example.com"},
    {"host": "app.example.com:443", "x-forwarded-proto": "https", "origin": "https://app.example.com"},
    {"host": "app.example.com", "x-forwarded-proto": "https", "origin": "https://app.example.com:443"},
    {"host": "App.Example.com", "x-forwarded-proto": "https", "origin": "https://app.example.com"},
    {"host": "windback:8000", "forwarded": 'for=1.2.3.4;host="app.example.com:8443";proto=https, for=10.0.0.1',
     "origin": "https://app.example.com:8443"},
    {"host": "windback:8000", "forwarded": "for=1.2.3.4; Proto=HTTPS; Host=app.example.com",
     "origin": "https://app.example.com"},
    {"host": "[::1]:8443", "x-forwarded-proto": "https", "origin": "https://[::1]:8443"},
]  # fmt: skip
PLAIN = [
    {"host": "app.example.com:80", "origin": "http://app.example.com"},
    {"host": "app.example.com", "origin": "http://app.example.com:80"},
    {"host": "anything", "sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:18813"},
    {"host": "app.example.com", "origin": "https://app.example.com"},  # a proxy ends TLS, and doesn't say so
]


@pytest.mark.parametrize(("headers", "secure"), [*((one, True) for one in PROXIED), *((one, False) for one in PLAIN)])
def test_a_person_signs_in_behind_proxies(
    client: TestClient, key: NewKey, headers: dict[str, str], secure: bool
) -> None:
    answer = client.post("/sign-in", data={"key": key.secret}, headers=headers, follow_redirects=False)
    assert answer.status_code == 303
    assert ("Secure" in answer.headers["set-cookie"]) == secure


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "app.example.com", "origin": "https://evil.example"},
        {"host": "app.example.com", "origin": "https://app.example.com.evil.example"},
        {"host": "app.example.com", "origin": "https://app.example.com@evil.example"},
        {"host": "app.example.com", "origin": "https://app.example.com:8443", "x-forwarded-proto": "https"},
        {"host": "app.example.com", "origin": "http://app.example.com", "x-forwarded-proto": "https"},
        {"host": "app.example.com", "origin": "null"},
        {"host": "app.example.com", "origin": ""},
        {"host": "app.example.com", "origin": "http://[broken"},
        {"host": "app.example.com", "origin": "http://app.example.com", "sec-fetch-site": "cross-site"},
        {"host": "app.example.com", "origin": "http://app.example.com", "sec-fetch-site": "same-site"},
        {"host": "inner", "x-forwarded-host": "app.example.com, evil.example", "origin": "http://evil.example"},
        {"host": "inner", "forwarded": "host=app.example.com, host=evil.example", "origin": "http://evil.example"},
    ],
)
def test_behind_proxies_another_site_signs_nobody_in(client: TestClient, key: NewKey, headers: dict[str, str]) -> None:
    answer = client.post("/sign-in", data={"key": key.secret}, headers=headers, follow_redirects=False)
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


def test_nobody_is_signed_in_by_another_site(client: TestClient, key: NewKey) -> None:
    answer = client.post("/sign-in", data={"key": key.secret}, headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
    assert not is_in(client)


@pytest.mark.parametrize("body", [b"key=" + b"x" * 20_000, b"key=\xff\xfe", b"&".join([b"a=b"] * 200)])
def test_a_form_that_can_not_be_read_is_refused(client: TestClient, body: bytes) -> None:
    assert client.post("/sign-in", content=body).status_code == 403


def test_attempts_are_throttled_by_address(client: TestClient, settings: Settings, key: NewKey) -> None:
    for _ in range(signing.ATTEMPTS):
        assert sign_in(client, "sk_live_wrong")[0] == 401
    for wrong in ("sk_live_other", "", "pk_live_other", "nonsense"):
        answer = client.post("/sign-in", data={"key": wrong})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    with TestClient(create_app(settings), client=("192.0.2.7", 1)) as elsewhere:
        assert sign_in(elsewhere, "sk_live_wrong")[0] == 401


def test_the_right_key_signs_in_whatever_others_at_the_same_address_typed(client: TestClient, key: NewKey) -> None:
    """Behind a proxy all people may have one address."""
    for _ in range(signing.ATTEMPTS):
        assert sign_in(client, "sk_live_wrong")[0] == 401
    assert sign_in(client, key.secret)[0] == 303
    assert sign_in(client, "sk_live_wrong")[0] == 429


def test_pages_let_nothing_in_and_are_kept_nowhere(signed_in: TestClient) -> None:
    for path in ("/", "/customers", "/keys", "/sign-in"):
        headers = signed_in.get(path, headers=HTML).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'; script-src 'self';")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


def test_errors_are_pages_for_browsers_and_json_for_programs(signed_in: TestClient) -> None:
    missing = signed_in.get("/nothing", headers=HTML)
    assert (missing.status_code, missing.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "Page not found" in missing.text
    assert signed_in.get("/nothing").json()["code"] == "not_found"
    assert signed_in.get("/api/v1/nothing", headers=HTML).json()["code"] == "not_found"
    assert signed_in.get("/customers?sort=shoe", headers=HTML).status_code == 422
    assert signed_in.post("/", headers=HTML).status_code == 405
    assert signed_in.get("/customers/nobody@example.com", headers=HTML).status_code == 404


def test_a_page_that_is_not_there_keeps_the_way_back(signed_in: TestClient, client: TestClient) -> None:
    """The navigation, for people who are signed in; for others there is none."""
    lost = signed_in.get("/nowhere", headers=HTML)
    assert (lost.status_code, 'aria-label="Pages"' in lost.text) == (404, True)
    client.cookies.clear()
    assert 'aria-label="Pages"' not in client.get("/nowhere", headers=HTML).text


def test_without_postgres_pages_say_so(settings: Settings) -> None:
    away = Settings(database_url="postgresql://127.0.0.1:1/windback", redis_url=settings.redis_url)
    with TestClient(create_app(away)) as client:
        client.cookies.set(session.COOKIE, "x")
        answer = client.get("/customers", headers=HTML)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert answer.headers["retry-after"]
    assert "Not available right now" in answer.text


@pytest.mark.parametrize("path", ["/", "/customers", "/keys", "/keys/1/revoke", "/sign-in"])
def test_asking_for_the_head_alone_changes_nothing(signed_in: TestClient, path: str) -> None:
    assert signed_in.head(path).status_code == 200
    assert is_in(signed_in)


def test_a_form_that_never_arrives_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "SECONDS", 0.01)
    request = Request({"type": "http", "method": "POST", "headers": []}, receive=asyncio.Event().wait)  # type: ignore[arg-type]
    with pytest.raises(forms.FormRefused, match="within 20 seconds"):
        asyncio.run(forms.read(request, None))
