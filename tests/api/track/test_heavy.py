"""Bodies within all limits that are made to be slow cost bounded time and memory, and others don't wait for them."""

import asyncio
import gzip
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from redis import Redis
from starlette.testclient import TestClient

from api import bodies
from api.bodies import Hold, Receiving
from api.errors import Refused
from api.track import raw_json
from api.track.body import GZIP_MEMBERS, Unzip
from api.track.check import check, is_heavy
from api.track.judge import MORE_FIELDS, MOST_UNREAD, judge
from scoring.events import MAX_PROPERTIES_BYTES
from tests.waiting import wait_until
from tests.workers.events import event
from workers.accounts import keys
from workers.buffer.charges import Charges
from workers.buffer.connection import Call, ScriptConnection
from workers.buffer.lanes import LIVE
from workers.buffer.writer import Rate, RateLimited
from workers.store import Connection

TRACK = "/api/v1/track"
NOW = 1_764_583_200.0
GOOD = '{"event":"login","customer_email":"jane@example.com"}'
NESTED = json.dumps({"a": [[[[[[[[[[]]]]]]]]]] * 1400})
EMPTY = json.dumps({"a": [{}] * 8000})
NUMBERS = json.dumps({"a": [123] * 6500})
HALF = "\\ud800"


def with_properties(properties: str) -> str:
    return GOOD[:-1] + f',"properties":{properties}}}'


def unknown_fields() -> str:
    return ",".join(f'"k{n}":1' for n in range(300_000))


def batch(*events: str) -> bytes:
    return f'{{"events":[{",".join(events)}]}}'.encode()


HEAVY: dict[str, Callable[[], bytes]] = {
    "nested": lambda: batch(*[with_properties(NESTED)] * 100),
    "empty objects": lambda: batch(*[with_properties(EMPTY)] * 100),
    "numbers": lambda: batch(*[with_properties(NUMBERS)] * 100),
    "unknown fields": lambda: f"{GOOD[:-1]},{unknown_fields()}}}".encode(),
    "unknown fields of a batch": lambda: f"{batch(GOOD)[:-1].decode()},{unknown_fields()}}}".encode(),
    "many events": lambda: batch(*["1"] * 1_000_000),
    "many valid events": lambda: batch(*[GOOD] * 60_000),
    "a list as a name": lambda: b'{"event":[' + b",".join([b"[]"] * 1_000_000) + b"]}",
}


@pytest.mark.parametrize("make_body", HEAVY.values(), ids=HEAVY)
def test_a_heavy_body_is_known_as_such(make_body: Callable[[], bytes]) -> None:
    body = make_body()
    assert len(body) <= 4 * 1024 * 1024
    assert is_heavy(body)


def test_a_usual_body_is_not_heavy() -> None:
    usual = with_properties(json.dumps({f"property_{n}": "x" * 50 for n in range(20)}))
    assert not is_heavy(batch(*[usual] * 100))
    assert not is_heavy(batch(*[with_properties(json.dumps({"text": "x" * 30_000}))] * 100))


def verdict(body: bytes) -> object:
    try:
        outcome = judge(body, NOW)
    except Refused as refused:
        return refused.code
    return (
        outcome.events,
        [rejected.code for rejected in outcome.rejected[:1]],
        [unread.field for unread in outcome.ignored][:2],
    )


def test_heavy_bodies_are_judged_as_light_ones_would_be() -> None:
    assert {name: verdict(make_body()) for name, make_body in HEAVY.items()} == {
        "nested": (0, ["properties_invalid"], []),
        "empty objects": (100, [], []),
        "numbers": (100, [], []),
        "unknown fields": (1, [], [MORE_FIELDS]),
        "unknown fields of a batch": (1, [], [MORE_FIELDS]),
        "many events": "batch_too_large",
        "many valid events": "batch_too_large",
        "a list as a name": (0, ["event_invalid"], []),
    }


@pytest.mark.parametrize("text", ["::" * 10_000, ":" * 400_000])
def test_colons_in_a_text_are_no_fields(text: str) -> None:
    assert check(with_properties(json.dumps({"a": text[:30_000]})).encode(), NOW).events == 1


def test_few_unknown_fields_are_listed() -> None:
    outcome = check((GOOD[:-1] + "," + ",".join(f'"k{n}":1' for n in range(100)) + "}").encode(), NOW)
    assert [unread.field for unread in outcome.ignored] == [f"k{n}" for n in range(MOST_UNREAD)]


@pytest.mark.parametrize(
    ("properties", "is_valid"),
    [
        ('{"a":' + " " * 300_000 + "1}", True),  # the limit is for the JSON without blanks
        ('{"a":"' + "\\u00e9" * 16_000 + '"}', True),  # ... and without escapes
        ('{"a":"' + "\\u00e9" * 17_000 + '"}', False),
        ('{"a":"' + "\\u0041" * 600_000 + '"}', False),
        ('{"a":[' + ",".join(["1e9"] * 8_000) + "]}", False),
        ("[" + ",".join(["1"] * 500_000) + "]", False),
        ('{"a":"\\\\u0000"}', True),  # a backslash, and what follows it
        ('{"a":"\\\\\\u0000"}', False),
    ],
)
def test_the_limit_of_properties_is_that_of_their_json(properties: str, is_valid: bool) -> None:
    outcome = check(batch(with_properties(properties), GOOD), NOW)
    assert (outcome.events, [rejected.field for rejected in outcome.rejected]) == (
        (2, []) if is_valid else (1, ["properties"])
    )


@pytest.mark.parametrize(
    "bad",
    [
        f'{{"event":"log{HALF}in","customer_email":"jane@example.com"}}',
        f'{{"event":"login","customer_email":"j{HALF}@example.com"}}',
        with_properties(f'{{"a":["x{HALF}"]}}'),
        with_properties(f'{{"a{HALF}":1}}'),
        with_properties('{"a":"\\uDE00"}'),
        with_properties('{"a":"\\ud800\\u0041"}'),
        with_properties('{"a":"\\\\\\ud800"}'),
    ],
)
def test_half_of_a_surrogate_pair_costs_its_event_alone(bad: str) -> None:
    outcome = check(batch(GOOD, bad, GOOD), NOW)
    assert (outcome.events, [rejected.index for rejected in outcome.rejected]) == (2, [1])
    assert outcome.body == batch(GOOD, GOOD)
    with pytest.raises(Refused, match="malformed_json"):
        check(bad.encode(), NOW)


def test_whole_surrogate_pairs_and_what_only_looks_like_halves_are_taken() -> None:
    for properties in ('{"a":"\\ud83d\\ude00"}', '{"a":"\\\\ud800"}', '{"a":"\\ud83d\\ude00\\ud83d\\ude00"}'):
        assert check(batch(with_properties(properties)), NOW).events == 1, properties


def test_an_unknown_field_with_half_a_pair_is_only_ignored() -> None:
    outcome = check(batch(GOOD[:-1] + f',"note":"{HALF}"}}'), NOW)
    assert (outcome.events, [unread.field for unread in outcome.ignored]) == (1, ["note"])


def test_others_are_answered_while_a_heavy_body_is_judged(acme: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The door goes on: the answer to the heavy one comes after that to another, which was sent later."""
    answered: list[str] = []

    async def send_both() -> None:
        headers = [(b"x-api-key", acme.headers["X-API-Key"].encode())]
        heavy = asyncio.create_task(_call(acme.app, headers, HEAVY["numbers"](), answered, "heavy"))
        await asyncio.sleep(0)
        await _call(acme.app, headers, GOOD.encode(), answered, "light")
        await heavy

    assert acme.portal
    acme.portal.call(send_both)
    assert answered == ["light 200", "heavy 200"]


async def _call(app: Any, headers: Any, body: bytes, answered: list[str], name: str) -> None:
    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answered.append(f"{name} {message['status']}")

    await app({"type": "http", "method": "POST", "path": TRACK, "headers": headers}, receive, send)


def test_refused_events_count_against_the_keys_rate(client: TestClient, connection: Connection, redis: Redis) -> None:
    key = keys.create(connection, redis, "acme", publishable=True, rate_limit=10)
    headers = {"X-API-Key": key.secret}
    assert client.post(TRACK, json={"events": [{}] * 10}, headers=headers).status_code == 422
    answer = client.post(TRACK, json={"events": [{}] * 10}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert client.post(TRACK, json=event(), headers=headers).status_code == 429
    wait_until(lambda: client.post(TRACK, json=event(), headers=headers).status_code == 200, timeout=30)


def test_a_refused_body_counts_by_its_bytes(client: TestClient, connection: Connection, redis: Redis) -> None:
    key = keys.create(connection, redis, "acme", publishable=True)
    headers = {"X-API-Key": key.secret, "Content-Encoding": "gzip"}
    heavy = gzip.compress(b"[" * 4_000_000, 1)
    assert client.post(TRACK, content=heavy, headers=headers).status_code == 400
    assert client.post(TRACK, content=heavy, headers=headers).status_code == 429


def test_a_secret_key_without_a_limit_is_never_charged(acme: TestClient, redis: Redis) -> None:
    for _ in range(20):
        assert acme.post(TRACK, json={"events": [{}] * 100}).status_code == 422
    assert not redis.keys("windback:rate:*")
    assert redis.xlen(LIVE.stream) == 0


def test_a_key_that_has_to_wait_is_not_asked_about(redis: Redis, redis_url: str) -> None:
    async def run() -> int:
        charges = Charges(redis_url)
        limited = 0
        for _ in range(10):
            try:
                await charges.charge(Rate(1, 1), 100)
            except RateLimited:
                limited += 1
        await charges.close()
        return limited

    redis.config_resetstat()
    assert asyncio.run(run()) == 9
    assert redis.info("commandstats")["cmdstat_set"]["calls"] == 1


def test_charges_that_come_together_go_together(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    run_all = ScriptConnection.run_all

    async def count(self: ScriptConnection, calls: Sequence[Call], seconds: float) -> list[Any]:
        sent.append(len(calls))
        return await run_all(self, calls, seconds)

    async def run() -> list[object]:
        charges = Charges(redis_url)
        rates = [Rate(number % 2, 3) for number in range(10)]
        waits = [charges.charge(rate, 1) for rate in rates]
        outcomes: list[object] = list(await asyncio.gather(*waits, return_exceptions=True))
        await charges.close()
        return outcomes

    monkeypatch.setattr(ScriptConnection, "run_all", count)
    outcomes = asyncio.run(run())
    assert [type(outcome) for outcome in outcomes] == 6 * [type(None)] + 4 * [RateLimited]
    assert sent == [10]


def test_without_redis_a_refusal_is_still_told() -> None:
    async def run() -> None:
        charges = Charges("redis://127.0.0.1:1")
        await charges.charge(Rate(1, 1), 100)
        await charges.close()

    asyncio.run(run())


def unzipped(*parts: bytes) -> bytes:
    unzip = Unzip(Hold(Receiving()))
    for part in parts:
        unzip.feed(part)
    return unzip.finish()


def test_gzip_members_are_bounded() -> None:
    member = gzip.compress(b"")
    assert unzipped(member * (GZIP_MEMBERS - 1), gzip.compress(b"x")) == b"x"
    with pytest.raises(Refused, match="malformed_gzip"):
        unzipped(member * (GZIP_MEMBERS + 1))


def test_many_gzip_members_in_one_piece_cost_no_copy_each(client: TestClient, acme: TestClient) -> None:
    packed = gzip.compress(b"") * 200_000
    began = time.process_time()
    answer = acme.post(TRACK, content=packed, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_gzip")
    assert time.process_time() - began < 30


def test_bodies_that_are_being_received_are_bounded(acme: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies that come whole, as most do, are not counted."""
    monkeypatch.setattr(bodies, "RECEIVING_BYTES", 1000)
    answer = acme.post(TRACK, content=gzip.compress(GOOD.encode() + b" " * 1000), headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "overloaded", "1")
    assert acme.post(TRACK, content=GOOD.encode() + b" " * 1000).status_code == 200
    for _ in range(5):  # what is answered is held no more
        small = gzip.compress(GOOD.encode() + b" " * 500)
        assert acme.post(TRACK, content=small, headers={"Content-Encoding": "gzip"}).status_code == 200


def test_judging_builds_nothing_of_what_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    decode = raw_json._decode_any

    def noting(raw: bytes) -> object:
        decoded.append(len(raw))
        return decode(raw)

    monkeypatch.setattr(raw_json, "_decode_any", noting)
    for make_body in HEAVY.values():
        verdict(make_body())
    assert max(decoded) <= MAX_PROPERTIES_BYTES * raw_json.ESCAPED_BYTES
