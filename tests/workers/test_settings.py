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
        ({"PORT": "eighty"}, "PORT is wrong"),
        ({"PORT": "70000"}, "PORT is wrong"),
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


def test_what_a_process_needs_is_named() -> None:
    with pytest.raises(SettingsError, match="REDIS_URL is not set"):
        load({"DATABASE_URL": "postgresql://x"}).needs("database_url", "redis_url")


def test_the_example_names_every_setting() -> None:
    """A setting that .env.example does not name, nobody finds."""
    example = (Path(__file__).parents[2] / ".env.example").read_text()
    for field in settings.Settings.__struct_fields__:
        assert f"{settings.variable(field)}=" in example
