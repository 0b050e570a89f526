from pathlib import Path

import pytest
from click.testing import CliRunner
from redis import Redis

from api.cli import main
from tests.api.command_line import Run
from workers.accounts import keys
from workers.store import Connection


def test_a_key_is_made_shown_once_listed_and_revoked(run: Run, connection: Connection, redis: Redis) -> None:
    result = run("keys create --account acme")
    secret = result.stdout.strip()
    assert (result.exit_code, secret[:8]) == (0, "sk_live_")
    assert keys.is_valid(connection, secret)
    listed = run("keys list").stdout
    assert secret not in listed
    assert "acme" in listed
    assert "works" in listed
    (only,) = keys.list_keys(connection)
    refused = run("keys revoke", str(only.key_id))
    assert (refused.exit_code, "the last secret key of account acme (never used)" in refused.stderr) == (1, True)
    assert keys.is_valid(connection, secret)
    assert run("keys revoke --yes", str(only.key_id)).exit_code == 0
    assert not keys.is_valid(connection, secret)
    assert "revoked" in run("keys list").stdout


def test_a_publishable_key_has_its_limit(run: Run, connection: Connection) -> None:
    result = run("keys create --account acme --publishable --rate-limit 7")
    assert result.stdout.startswith("pk_live_")
    assert [(key.publishable, key.rate_limit) for key in keys.list_keys(connection)] == [(True, 7)]


def test_only_the_last_secret_key_asks_for_more(run: Run, connection: Connection) -> None:
    """A publishable key, another account's, or one of two may go; which key is whose, names say."""
    for line in ("acme --name website --publishable", "acme --name 'old server'", "acme --name server", "other"):
        assert run(f"keys create --account {line}").exit_code == 0
    assert [key.name for key in keys.list_keys(connection)] == ["website", "old server", "server", None]
    assert "old server" in run("keys list").stdout
    first, second, third, other = (str(key.key_id) for key in keys.list_keys(connection))
    assert [run("keys revoke", key).exit_code for key in (first, second, third, other)] == [0, 0, 1, 1]
    assert run("keys revoke", second).exit_code == 0  # twice is the same as once
    assert run("keys create --account acme --name", "x" * 81).exit_code == 2


def test_migrating_says_what_was_done(run: Run) -> None:
    assert run("migrate").stdout == "nothing to apply: the schema is current\n"


@pytest.mark.parametrize(
    ("arguments", "environment", "exit_code", "words"),
    [
        (["keys", "revoke", "99"], {}, 1, "there is no key 99"),
        (["keys", "revoke", "x"], {}, 2, "not a valid integer"),
        (["keys", "create"], {}, 2, "--account"),
        (["keys", "create", "--account", " "], {}, 2, "blank"),
        (["keys", "create", "--account", "a", "--rate-limit", "0"], {}, 2, "--rate-limit"),
        (["nothing"], {}, 2, "No such command"),
        (["migrate"], {"DATABASE_URL": "mysql://x"}, 1, "DATABASE_URL is wrong"),
        (["migrate"], {"DATABASE_URL": "postgresql://127.0.0.1:1/x"}, 1, "DATABASE_URL: "),
        (["keys", "list"], {"DATABASE_URL": "postgresql://127.0.0.1:1/x"}, 1, "DATABASE_URL: "),
        (["keys", "create", "--account", "a"], {"REDIS_URL": "redis://127.0.0.1:1"}, 1, "REDIS_URL: "),
        (["migrate"], {"PORT": "x"}, 1, "PORT is wrong"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(
    run: Run, arguments: list[str], environment: dict[str, str], exit_code: int, words: str
) -> None:
    result = run(*arguments, **environment)
    assert result.exit_code == exit_code
    assert words in result.stderr
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", [[], ["up"], ["migrate"], ["keys"], ["keys", "create"], ["keys", "revoke"]])
def test_everything_has_help(command: list[str]) -> None:
    result = CliRunner().invoke(main, [*command, "--help"])
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage:")


def test_a_mistyped_folder_is_told_and_not_made(run: Run, tmp_path: Path) -> None:
    typo = tmp_path / "typo"
    result = run("keys list --data-dir", str(typo), DATABASE_URL="", REDIS_URL="")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "There is no Windback in" in result.stderr
    assert not typo.exists()


@pytest.mark.parametrize("command", ["keys list", "check", "migrate"])
@pytest.mark.parametrize("unset", ["DATABASE_URL", "REDIS_URL"])
def test_a_url_that_is_not_set_is_named_and_no_folder_is_made(
    run: Run, tmp_path: Path, command: str, unset: str
) -> None:
    """A second database beside the Redis of production would hide that the setting is missing."""
    folder = tmp_path / "none"
    result = run(f"{command} --data-dir", str(folder), **{unset: ""})
    if (command, unset) == ("migrate", "REDIS_URL"):  # it needs Postgres alone
        assert result.exit_code == 0
    else:
        assert result.exit_code == 1
        assert f"{unset} is not set" in result.output
    assert not folder.exists()
