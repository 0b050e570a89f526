from pathlib import Path

import pytest

from workers import settings
from workers.settings import SettingsError, load


def test_an_empty_environment_gives_the_defaults() -> None:
    assert load({}) == settings.Settings()


def test_a_setting_is_read_by_its_name() -> None:
    loaded = load({"PORT": "9000", "WINDBACK_LEVEL_HIGH": "60", "REDIS_URL": "redis://x", "WINDBACK_DATA_DIR": "/d"})
    assert (loaded.port, loaded.level_high, loaded.redis_url, loaded.data_dir) == (9000, 60.0, "redis://x", Path("/d"))


def test_a_secret_can_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://secret\n")
    assert load({"DATABASE_URL_FILE": str(tmp_path / "url")}).database_url == "postgresql://secret"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"PORT": "eighty"}, "PORT is wrong: it must be a whole number from 1 to 65535, not 'eighty'"),
        ({"PORT": "70000"}, "PORT is wrong: it must be a whole number from 1 to 65535, not '70000'"),
        ({"WINDBACK_LOG_LEVEL": "loud"}, "WINDBACK_LOG_LEVEL is wrong: it must be debug, error, info or warning"),
        ({"WINDBACK_LOG_FORMAT": "xml"}, "WINDBACK_LOG_FORMAT is wrong: it must be auto, json or text, not 'xml'"),
        ({"WINDBACK_LEVEL_HIGH": "x"}, "WINDBACK_LEVEL_HIGH is wrong: it must be a number between 0 and 100"),
        ({"WINDBACK_RETENTION_DAYS": "0"}, "WINDBACK_RETENTION_DAYS is wrong: it must be a whole number of at least 1"),
        ({"WINDBACK_BATCH_EVENTS": "0"}, "WINDBACK_BATCH_EVENTS is wrong"),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL is wrong: it must begin with postgresql://"),
        ({"REDIS_URL": "localhost"}, "REDIS_URL is wrong"),
        ({"WINDBACK_LEVEL_HIGH": "10"}, "must rise"),
        ({"DATABASE_URL_FILE": "/nowhere"}, "DATABASE_URL_FILE can't be read"),
    ],
)
def test_a_wrong_value_is_named_with_its_reason(environment: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load(environment)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgresql://w:hid%den@h/x"),
        ("DATABASE_URL", "postgresql://w:hid%zzden@h/x"),
        ("DATABASE_URL", "postgresql://w:hid@den@h/x"),
        ("DATABASE_URL", "postgresql://w:hid/den@h/x"),
        ("DATABASE_URL", "postgresql://w:hid?den@h/x"),
        ("DATABASE_URL", "postgresql://w:hid#den@h/x"),
        ("DATABASE_URL", "postgresql://w:hid[den@h/x"),
        ("REDIS_URL", "redis://:hid/den@h/0"),
        ("REDIS_URL", "redis://:hid@den@h/0"),
        ("REDIS_URL", "redis://:hid?den@h/0"),
        ("REDIS_URL", "redis://:hid[den@h/0"),
        ("REDIS_URL", "redis://:hid#den@h/0"),
    ],
)
def test_a_password_is_shown_by_no_error(name: str, url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({name: url})
    assert str(caught.value).startswith(f"{name} is wrong: ")
    assert "percent-encode" in str(caught.value)
    assert not any(part in str(caught.value) for part in ("hid", "den"))


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hidden@h/0?socket_timeout=hidden",
        "redis://:hidden@h/0?hidden=1",
        "rediss://:hidden@h/0?ssl_cert_reqs=hidden",
        "unix:///tmp/redis.sock?db=hidden",
    ],
)
def test_a_wrong_option_of_redis_is_named_and_its_value_is_not(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^REDIS_URL is wrong: an option") as caught:
        load({"REDIS_URL": url})
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "postgresql://w:a%40b%2Fc@h1:5432,h2/x?options=-csearch_path%3Dwb"),
        ("DATABASE_URL", "postgresql://postgres@/postgres?host=%2Ftmp%2Fa%40b&port=5432"),
        ("DATABASE_URL", "postgres://[::1]:5432/x"),
        ("REDIS_URL", "rediss://user:a%40b@h:6380/1"),
        ("REDIS_URL", "unix:///tmp/a@b/redis.sock"),
        ("REDIS_URL", "unix:///tmp/redis.sock?db=2"),
        ("REDIS_URL", "redis://h/0?socket_timeout=2.5&health_check_interval=10"),
    ],
)
def test_unusual_urls_are_taken(name: str, url: str) -> None:
    assert getattr(load({name: url}), name.lower()) == url


def test_a_misspelt_setting_is_named() -> None:
    unknown = settings.explain_unknown(
        {
            "WINDBACK_DATA_DIRR": "/x",
            "WINDBACK_HOST": "x",
            "WINDBACK_API_KEY_FILE": "x",
            "PORTS": "1",
            "WINDBACK_X": "1",
        }
    )
    assert unknown["WINDBACK_DATA_DIRR"].endswith("did you mean WINDBACK_DATA_DIR?")
    assert set(unknown) == {"WINDBACK_DATA_DIRR", "WINDBACK_X"}


def test_what_a_process_needs_is_named() -> None:
    with pytest.raises(SettingsError, match="REDIS_URL is not set"):
        load({"DATABASE_URL": "postgresql://x"}).needs("database_url", "redis_url")


def test_the_example_names_every_setting() -> None:
    """A setting that .env.example does not name, nobody finds."""
    example = (Path(__file__).parents[2] / ".env.example").read_text()
    for field in settings.Settings.__struct_fields__:
        assert f"{settings.variable(field)}=" in example
