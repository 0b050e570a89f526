"""`windback import --from …` against a running service, and the dry run without one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from starlette.testclient import TestClient

from api.cli import main
from api.commands.history.progress import Progress
from tests.api.history.test_presets import AMPLITUDE, SEGMENT
from workers.accounts.keys import NewKey


def imported(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["import", *arguments])


def test_history_from_elsewhere_is_stored_under_its_people(
    acme: TestClient, url: str, key: NewKey, work: Callable[[], None], tmp_path: Path
) -> None:
    events = [{**AMPLITUDE, "user_properties": {}, "$insert_id": f"a-{n}", "user_id": f"u{n % 3}"} for n in range(9)]
    (tmp_path / "export.json").write_text("\n".join(map(json.dumps, events)))
    (tmp_path / "people.csv").write_text("user_id,email\nu0,jane@example.com\nu1,joe@example.com\n")
    options = ("--from", "amplitude", "--people", str(tmp_path / "people.csv"), "--rename", "Signed In=login")
    for _ in range(2):
        done = imported(str(tmp_path / "export.json"), *options, "--url", url, "--api-key", key.secret)
        assert done.exit_code == 0, done.output
        assert "2 people taken" in done.output
        assert "9 events taken" in done.output
        work()
    for email in ("jane@example.com", "joe@example.com"):
        assert acme.get(f"/api/v1/customers/{email}").json()["events"] == {"login": 3}
    assert "windback_events_unresolved 3.0" in acme.get("/metrics").text


def test_identities_in_a_file_are_sent_as_well(
    acme: TestClient, url: str, key: NewKey, work: Callable[[], None], tmp_path: Path
) -> None:
    identity = {"type": "identify", "userId": "u1", "traits": {"email": "jane@example.com", "plan": "pro"}}
    event = {**SEGMENT, "context": {}}
    (tmp_path / "export.ndjson").write_text(f"{json.dumps(event)}\n{json.dumps(identity)}\n")
    done = imported(str(tmp_path / "export.ndjson"), "--from", "segment", "--url", url, "--api-key", key.secret)
    assert done.exit_code == 0, done.output
    assert "1 identity taken" in done.output
    work()
    assert acme.get("/api/v1/customers/jane@example.com").json()["events"] == {"Signed In": 1}


def test_a_dry_run_says_what_there_is_and_sends_nothing(tmp_path: Path) -> None:
    events = [{**AMPLITUDE, "user_properties": {}}, {**AMPLITUDE, "event_type": "login"}, {"event_type": "x"}]
    (tmp_path / "export.json").write_text("\n".join(map(json.dumps, events)))
    done = imported(str(tmp_path / "export.json"), "--from", "amplitude", "--dry-run")
    assert done.exit_code == 1
    for text in ("2 events, 2 names, 1 line refused", "Signed In", "(your own)", "from 2026-01-01T10:00:00",
                 "1 event of 1 user id without an address", "export.json:3: it names neither"):  # fmt: skip
        assert text in done.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--rename", "x"), "is not like NAME=NAME"),
        (("--column", "email=mail"), "is no field of ours"),
        (("--from", "nobody"), "nobody"),
    ],
)
def test_options_that_make_no_sense_are_misuse(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    (tmp_path / "a.csv").write_text("event,customer_email\n")
    done = imported(str(tmp_path / "a.csv"), *options, "--dry-run")
    assert (done.exit_code, said in done.output) == (2, True)


def test_a_file_of_people_without_addresses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("user_id,email\nu1,nobody\n")
    (tmp_path / "a.csv").write_text("event,customer_email\n")
    done = imported(str(tmp_path / "a.csv"), "--people", str(tmp_path / "people.csv"), "--dry-run")
    assert (done.exit_code, "people.csv:2" in done.output) == (1, True)


def test_progress_says_the_share_the_rate_and_what_is_left() -> None:
    now = iter([0.0, 10.0])
    progress = Progress(Path("a.csv"), lambda: next(now))
    assert progress.describe(1000, 0.25) == "a.csv: 25%, 1,000 events, 100 a second, 30 s left"
