"""`windback train` and `windback models`."""

import re

import pytest

from tests.api.command_line import Run
from tests.workers.worlds import account, fill, world
from workers.accounts.models import find_in_use
from workers.store import Connection


def test_training_shows_what_was_tried_and_decided(run: Run, connection: Connection) -> None:
    account_id = fill(connection, world())
    account(connection, "empty")
    result = run("train")
    assert (result.exit_code, result.stderr) == (0, "")
    used = find_in_use(connection, account_id).model.version
    lines = result.stdout.splitlines()
    assert lines[0].startswith("account acme: ")
    assert "LOG LOSS" in lines[2]
    assert [line.split()[0] for line in lines[3:6]] == ["prior-1", "recalibrated", "map"]
    assert f"switched to {used}: " in result.stdout
    assert "account empty: nothing to learn from yet" in result.stdout
    assert re.search(r"account \w+: a new model did better .* held \d+% of those who churned \(\d", result.stdout)
    assert "kept prior-1: nobody was active a horizon ago" in result.stdout


def test_one_account_can_be_trained(run: Run, connection: Connection) -> None:
    fill(connection, world(20, 60))
    account(connection, "other")
    assert "account other" not in run("train --account acme").stdout


def test_models_are_listed_and_rolled_back(run: Run, connection: Connection) -> None:
    account_id = fill(connection, world())
    run("train")
    used = find_in_use(connection, account_id).model.version
    listed = run("models list --account acme").stdout.splitlines()
    assert [line.split()[1] for line in listed if line.endswith("in use")] == [used]
    assert listed[0].split()[3:6] == ["DAYS", "LAPSES", "LOG"]
    assert listed[0].split()[-2:] == ["ECE", "STATE"]
    assert {line.split()[3] for line in listed[1:]} == {"30"}, "half a year is too short to learn another horizon"
    assert run("models rollback --account acme").stdout == "account acme: prior-1 is in use\n"
    assert "in use" not in run("models list").stdout
    again = run("models rollback --account acme")
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr == "Error: account acme: the day-one formula is in use: there is nothing to go back to\n"


@pytest.mark.parametrize("command", [["train"], ["models", "list"], ["models", "rollback"]])
def test_an_unknown_account_is_told(run: Run, command: list[str]) -> None:
    result = run(*command, "--account", "nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: there is no account nobody; `windback accounts list` shows them\n"
