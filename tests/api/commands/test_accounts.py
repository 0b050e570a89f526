"""`windback accounts`."""

import pytest

from tests.api.command_line import Run
from tests.workers.events import store_names
from tests.workers.worlds import account
from workers.accounts import mappings
from workers.accounts.registry import list_accounts
from workers.process import Process
from workers.store import Connection


def test_what_is_set_is_shown_and_what_is_not_named_stays(run: Run, connection: Connection) -> None:
    account(connection, "acme")
    events = "--churn-event account_closed --engagement-event report_shared --engagement-event seat_used"
    done = run(f"accounts set --account acme {events}")
    assert done.exit_code == 0
    assert run("accounts set --account acme --horizon-days 60").exit_code == 0
    shown = run("accounts list").stdout.splitlines()[1].split()
    assert shown == ["acme", "60", "chosen", "account_closed", "report_shared,", "seat_used"]


def test_choices_can_be_taken_back(run: Run, connection: Connection) -> None:
    account(connection, "acme")
    run("accounts set --account acme --churn-event closed --engagement-event used --horizon-days 60")
    run("accounts set --account acme --churn-event '' --engagement-event '' --horizon-days 0")
    (choices,) = list_accounts(connection, "acme")
    assert (choices.mappings, choices.horizon_chosen) == ({}, None)
    shown = run("accounts list --account acme").stdout.splitlines()[1].split()
    assert shown == ["acme", "30", "default", "-", "-"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--account", "nobody", "--churn-event", "x"], 1, "there is no account nobody"),
        (["--account", "acme"], 2, "nothing to set"),
        (["--account", "acme", "--churn-event", "login"], 2, "has its own meaning already"),
        (["--account", "acme", "--engagement-event", "  "], 2, "can't be the name of an event"),
        (["--account", "acme", "--churn-event", "x", "--engagement-event", "x"], 2, "both churn and engagement"),
        (["--account", "acme", "--horizon-days", "366"], 2, "366"),
    ],
)
def test_what_makes_no_sense_is_refused(
    run: Run, connection: Connection, arguments: list[str], code: int, message: str
) -> None:
    account(connection, "acme")
    done = run("accounts set", *arguments)
    assert (done.exit_code, message in done.stderr) == (code, True)


def test_a_name_is_mapped_and_unmapped(run: Run, connection: Connection, process: Process) -> None:
    account_id = account(connection, "acme")
    store_names(process, account_id, "Signed In")
    done = run("accounts map --account acme 'Signed In' login")
    assert (done.exit_code, done.stdout) == (0, "Signed In → login\n")
    assert "Signed In=login" in run("accounts list").stdout
    run("accounts set --account acme --churn-event closed")
    assert mappings.list_mappings(connection, account_id) == {"Signed In": "login", "closed": "churn"}
    assert run("accounts unmap --account acme 'Signed In'").exit_code == 0
    assert mappings.list_mappings(connection, account_id) == {"closed": "churn"}
    assert run("accounts unmap --account acme 'Signed In'").exit_code == 1


def test_a_name_that_was_never_sent_needs_force(run: Run, connection: Connection) -> None:
    account(connection, "acme")
    refused = run("accounts map --account acme 'Sined In' login")
    assert refused.exit_code == 1
    assert "No event called `Sined In` was ever sent" in refused.stderr
    assert "--force" in refused.stderr
    assert run("accounts map --account acme --force 'Sined In' login").exit_code == 0


@pytest.mark.parametrize(("name", "event"), [("login", "feature_used"), ("Signed In", "no_such_event"), (" ", "login")])
def test_a_mapping_that_makes_no_sense_is_misuse(run: Run, connection: Connection, name: str, event: str) -> None:
    account(connection, "acme")
    assert run("accounts", "map", "--account", "acme", "--force", name, event).exit_code == 2
