from typing import Any

import fakeredis
import msgspec
import pytest

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
        {"password": None},
        {"at": "2025-12-01T10:00:00.123456"},
    ],
)
def test_what_is_not_personal_is_left_alone(properties: dict[str, Any]) -> None:
    assert paths(properties) == ()


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


@pytest.mark.parametrize("name", ["login", "feature_used", "exported", "🦶", "登录"])
def test_a_name_of_its_own_is_left_alone(name: str) -> None:
    assert near(fakeredis.FakeRedis(), name) == {}
