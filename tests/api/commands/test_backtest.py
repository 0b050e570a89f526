import csv
import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from api.commands.backtest import backtest

START = datetime(2026, 1, 1, 9, tzinfo=UTC)


def lines() -> list[dict[str, object]]:
    """Customers who come every other day until they stop, one later than the other."""
    return [
        {
            "event": "login",
            "customer_email": f"C{customer}@Example.com",
            "timestamp": (START + timedelta(days=day)).isoformat(),
            "properties": {"page": "/home"},
        }
        for customer in range(50)
        for day in range(0, min(120, 30 + 4 * customer), 2)
    ]


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines())
    return path


def run(*args: object) -> Result:
    return CliRunner().invoke(backtest, [str(arg) for arg in args])


def test_the_report_compares_untrained_and_trained_with_baselines(events: Path) -> None:
    """A table for people, the same as JSON for programs."""
    table = run(events, "--cutoff", "2026-02-20", "--cutoff", "2026-03-20")
    assert table.exit_code == 0, table.output
    first = r"Writing to the riskiest 10% each month would have reached \d+ of the \d+ who left, with \d+ messages?"
    assert re.match(first, table.output)
    for word in ("AUC", "PR-AUC", "lift", "Brier", "ECE", "base rate", "recency", "untrained", "trained"):
        assert word in table.output
    report = json.loads(run(events, "--cutoff", "2026-02-20", "--json").output)
    assert set(report) >= {"untrained", "trained", "baselines", "horizon_days"}
    assert {"auc", "pr_auc", "brier", "ece", "lift", "bins"} <= set(report["untrained"])


def test_an_account_may_have_words_of_its_own(events: Path, tmp_path: Path) -> None:
    """Events that count as use, and one that means churn, are named on the command line."""
    ours = tmp_path / "ours.jsonl"
    with gzip.open(events, "rt") as file:
        ours.write_text(file.read().replace('"login"', '"seat_used"').replace('"feature_used"', '"report_shared"'))
    blind = run(ours, "--cutoff", "2026-02-20")
    assert blind.exit_code == 1
    assert "an engagement event of your own" in blind.output
    words = ("--engagement-event", "seat_used", "--engagement-event", "report_shared", "--churn-event", "closed")
    seeing = run(ours, "--cutoff", "2026-02-20", "--json", *words)
    plain = run(events, "--cutoff", "2026-02-20", "--json")
    assert json.loads(seeing.output)["untrained"]["snapshots"] == json.loads(plain.output)["untrained"]["snapshots"]


def test_snapshots_are_scored_one_by_one(events: Path, tmp_path: Path) -> None:
    """`--scores` writes a row for each snapshot, in their order; emails are compared as they are stored."""
    snapshots, scores = tmp_path / "snapshots.csv", tmp_path / "scores.csv"
    snapshots.write_text(
        "customer_email,as_of,lapsed\nc9@example.com,2026-02-01T23:59:59Z,0\nC1@example.com ,2026-02-01,1\n"
    )
    assert run(events, "--snapshots", snapshots, "--scores", scores).exit_code == 0
    rows = list(csv.DictReader(scores.read_text().splitlines()))
    assert [row["customer_email"] for row in rows] == ["c9@example.com", "c1@example.com"]
    assert rows[0]["as_of"] == "2026-02-01T23:59:59Z"
    assert all(0 < float(row["untrained"]) < 1 and row["trained"] == "" for row in rows)


def test_csv_events_give_the_same_as_ndjson(events: Path, tmp_path: Path) -> None:
    """Properties may be columns of their own or one column of JSON."""
    flat, nested = tmp_path / "flat.csv", tmp_path / "nested.csv"
    for path, column, value in ((flat, "page", "/home"), (nested, "properties", '{"page": "/home"}')):
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["event", "customer_email", "timestamp", column])
            writer.writerows([line["event"], line["customer_email"], line["timestamp"], value] for line in lines())
    wanted = run(events, "--cutoff", "2026-02-20", "--json").output
    assert run(flat, "--cutoff", "2026-02-20", "--json").output == wanted
    assert run(nested, "--cutoff", "2026-02-20", "--json").output == wanted


def test_dates_with_slashes_are_read_in_the_order_of_the_option(events: Path, tmp_path: Path) -> None:
    american = tmp_path / "american.csv"
    with american.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["event", "customer_email", "timestamp", "page"])
        for line in lines():
            at = datetime.fromisoformat(str(line["timestamp"]))
            writer.writerow([line["event"], line["customer_email"], f"{at:%m/%d/%Y %I:%M %p}", "/home"])
    wanted = run(events, "--cutoff", "2026-02-20", "--json").output
    assert run(american, "--cutoff", "2026-02-20", "--dates", "month-first", "--json").output == wanted
    assert "say if the day or the month comes first" in run(american, "--cutoff", "2026-02-20").stderr


def test_lines_that_are_no_events_are_skipped_and_said(tmp_path: Path) -> None:
    """One line on stderr counts them and shows the first; the report is not touched."""
    path = tmp_path / "events.jsonl"
    bad = ["{", '"text"', '{"event": "login"}', '{"event": "login", "customer_email": "a@b.c", "timestamp": "soon"}']
    path.write_text("\n".join([*bad, *(json.dumps(line) for line in lines())]))
    result = run(path, "--cutoff", "2026-02-20", "--json")
    assert result.exit_code == 0
    assert "4 of 2,475 lines skipped" in result.stderr
    assert "line 1:" in result.stderr
    assert result.stderr.count("\n") == 1
    json.loads(result.stdout)


@pytest.mark.parametrize("when", ["2099-01-01T00:00:00Z", "9999-12-31", "1997-01-01"])
@pytest.mark.parametrize("event", ["login", "contract_ends"])
def test_an_event_in_the_future_spoils_nothing(tmp_path: Path, when: str, event: str) -> None:
    path, spoilt = tmp_path / "events.jsonl", tmp_path / "spoilt.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines()))
    line = {"event": event, "customer_email": "zoe@example.com", "timestamp": when}
    spoilt.write_text(path.read_text() + "\n" + json.dumps(line))
    result = run(spoilt, "--json")
    assert json.loads(result.stdout) == json.loads(run(path, "--json").stdout)
    assert "1 of 2,472 lines skipped; the first: line 2472: " in result.stderr
    assert ("1 hour ahead" in result.stderr) == (when > "2026")


HEAD = "event,customer_email,timestamp\n"
LIST = '{"event":"login","customer_email":"a@b.cd","timestamp":[2026]}\n'
ALL_SKIPPED = "3 of 3 lines skipped; the first: line"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.jsonl", LIST * 3, f"{ALL_SKIPPED} 1: `timestamp` is not ISO 8601"),
        ("x.csv", HEAD + "login,a@b.cd,01/05/2026\n" * 3, f"{ALL_SKIPPED} 2: `timestamp` is '01/05/2026'"),
        ("x.csv", "event,customer_email\nlogin,a@b.cd\n", "x.csv:1: the header names no column timestamp"),
        ("x.csv", "event,email,timestamp\nlogin,a@b.cd,2026-01-05\n", "has no column customer_email"),
        ("x.jsonl", '{"event":"login","customer_email":7,"timestamp":null}\n', "`customer_email` must be a string"),
        ("x.csv", HEAD + 'login,"a@b.cd,2026-01-05\n', "x.csv:2: a quoted cell is never closed"),
    ],
)
def test_where_nothing_is_left_why_comes_first(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    result = run(path)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert words in result.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("event,customer_email,occurred_at\nlogin,a@b.cd,2026-01-01\n", "rename the column occurred_at\n"),
        ("event,customer_email,timestamp\nlogin,a@b.cd,\n", "line 2: it has no timestamp. There is nothing to score"),
    ],
)
def test_no_option_is_named_that_only_imports_have(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text(text)
    result = run(path)
    assert words in result.stderr
    assert "--now" not in result.stderr


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_snapshots_are_read_as_events_are(events: Path, tmp_path: Path, encoding: str) -> None:
    snapshots = tmp_path / "snapshots.csv"
    snapshots.write_bytes("Customer_Email;As_Of;Lapsed\nc9@example.com;2026-02-01;0\n".encode(encoding))
    assert run(events, "--snapshots", snapshots, "--json").exit_code == 0


def test_failures_are_one_line_and_exit_with_1(events: Path, tmp_path: Path) -> None:
    """Wrong files and moments without an outcome."""
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("a,b\n1,2\n")
    labels = tmp_path / "labels.csv"
    labels.write_text("customer_email,as_of,lapsed\na@b.c,2026-02-01,yes\n")
    for args in ((wrong,), (events, "--snapshots", wrong), (events, "--snapshots", labels)):
        result = run(*args)
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
    assert run(events, "--cutoff", "2036-01-01").exit_code == 1


def test_misuse_exits_with_2(events: Path) -> None:
    """Unknown files, dates that are none, and options that exclude each other."""
    assert run("missing.jsonl").exit_code == 2
    assert run(events, "--cutoff", "soon").exit_code == 2
    assert run(events, "--horizon", "0").exit_code == 2
    assert run(events, "--cutoff", "2026-02-20", "--snapshots", events).exit_code == 2
