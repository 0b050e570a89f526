from typing import Any

import fakeredis
import msgspec
import pytest
from redis import Redis

from workers.buffer import lint
from workers.buffer.lint import SeenNames, find_personal_data
from workers.warnings import Warnings


def paths(properties: dict[str, Any]) -> tuple[str, ...]:
    return find_personal_data(msgspec.json.encode(properties), properties)


@pytest.mark.parametrize(
    ("properties", "path"),
    [
        ({"card": "4111 1111 1111 1111"}, "properties.card"),
        ({"note": "paid with 4111-1111-1111-1111, thanks"}, "properties.note"),
        ({"n": 4111111111111111}, "properties.n"),
        ({"user": {"password": "hunter2"}}, "properties.user.password"),
        ({"apiKey": "x"}, "properties.apiKey"),
        ({"people": [{"mail": "john@example.com"}]}, "properties.people[].mail"),
        ({"note": "@ home, write to john.doe@mail.example.co.uk!"}, "properties.note"),
    ],
)
def test_personal_data_is_found_by_its_path(properties: dict[str, Any], path: str) -> None:
    assert paths(properties) == (path,)


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"feature": "exports", "plan": "pro", "duration_seconds": 3600},
        {"order": 4111111111111112},
        {"zeros": "0000000000000000"},
        {"handle": "@jane"},
        {"handles": "@jane @joe, a@b @@ .@. x@.y"},
        {"password": None},
        {"at": "2025-12-01T10:00:00.123456"},
    ],
)
def test_what_is_not_personal_is_left_alone(properties: dict[str, Any]) -> None:
    assert paths(properties) == ()


HEAVY = [
    {"a": ["4111111111111112"] * 1700},
    {"a": ["word"] * 4500, "b": "@"},
    {"a": ["1-11-1-1x1 11" * 70] * 35},
    {"a": ["a" * 989 + "@"] * 32},
    {"a": ["a@" * 490] * 32},
    {f"passwor{n}": {} for n in range(250)},
    {"a": [[["@"]]] * 3000},
]


@pytest.mark.parametrize("properties", HEAVY)
def test_what_is_looked_at_of_an_event_is_bounded(properties: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []
    monkeypatch.setattr(lint, "_is_personal", lambda key, text: looked_at.append(text))
    paths(properties)
    assert len(looked_at) <= lint.MOST_VALUES
    assert sum(map(len, looked_at)) <= lint.MOST_CHARACTERS


def test_the_value_is_never_told() -> None:
    assert "4111" not in str(paths({"card": "4111111111111111"}))


def near(redis: fakeredis.FakeRedis, *names: str, account_id: int = 1) -> dict[str, int]:
    warnings = Warnings()
    SeenNames().warn_of_near_names(redis, [(account_id, name) for name in names], warnings)
    return dict(warnings._accounts[account_id].counts) if warnings._accounts else {}


@pytest.mark.parametrize("name", ["featureUsed", "feature-used", "Feature Used", "LOGIN"])
def test_a_name_that_is_nearly_a_recognised_one_is_told(name: str) -> None:
    assert near(fakeredis.FakeRedis(), name) == {"near_duplicate_name": 1}


def test_names_that_differ_in_spelling_alone_are_told_over_workers() -> None:
    redis = fakeredis.FakeRedis()
    assert near(redis, "report_made") == {}
    assert near(redis, "report_made") == {}
    assert near(redis, "reportMade") == {"near_duplicate_name": 1}
    assert near(redis, "reportMade", account_id=2) == {}


def test_many_names_cost_few_round_trips(redis: Redis) -> None:
    names = [f"n{number:05}" for number in range(3000)]
    seen, warnings = SeenNames(), Warnings()
    redis.config_resetstat()
    seen.warn_of_near_names(redis, [(1, name) for name in names], warnings)
    seen.warn_of_near_names(redis, [(1, name) for name in names], warnings)
    calls = redis.info("commandstats")
    assert calls["cmdstat_hmget"]["calls"] == calls["cmdstat_hlen"]["calls"] == calls["cmdstat_hset"]["calls"] == 1


def test_the_names_of_an_account_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint, "MOST_NAMES", 3)
    redis = fakeredis.FakeRedis()
    near(redis, "a", "b")
    near(redis, "c", "d", "e")
    assert redis.hlen("windback:names:1") == 3


def test_spellings_of_one_batch_are_compared_with_each_other() -> None:
    assert near(fakeredis.FakeRedis(), "report_made", "reportMade") == {"near_duplicate_name": 1}


@pytest.mark.parametrize("name", ["login", "feature_used", "exported", "🦶", "登录"])
def test_a_name_of_its_own_is_left_alone(name: str) -> None:
    assert near(fakeredis.FakeRedis(), name) == {}
