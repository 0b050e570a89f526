"""`windback backtest`: score a file of events as of past moments, and say how good that would have been."""

import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from api.commands.event_files import lines, opened
from scoring.event_roles import Meaning
from scoring.learning.backtest import Event, Report, Scored, Snapshot
from scoring.learning.backtest import backtest as compare
from scoring.learning.metrics import Metrics

_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
_MEASURES = ("auc", "pr_auc", "lift", "brier", "ece")
_HEADINGS = ("AUC", "PR-AUC", "lift", "Brier", "ECE")


@click.command("backtest")
@click.argument("events", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--snapshots", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="CSV customer_email,as_of,lapsed (0/1): what to score, and what happened.")  # fmt: skip
@click.option("--cutoff", "cutoffs", multiple=True, metavar="DATE",
              help="A moment to score everybody at, with outcomes from the events. May be repeated.")  # fmt: skip
@click.option("--horizon", default=30, show_default=True, type=click.IntRange(1, 365), help="Days ahead.")
@click.option("--churn-event", help="An event of the file that means that a customer has left.")
@click.option("--engagement-event", "engagement_events", multiple=True,
              help="An event of the file that counts as use of the product. May be repeated.")  # fmt: skip
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2, 50), help="Folds, by customer.")
@click.option("--scores", type=click.Path(dir_okay=False, writable=True, path_type=Path),
              help="Write customer_email,as_of,untrained,trained to this CSV file.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def backtest(
    events: Path,
    snapshots: Path | None,
    cutoffs: tuple[str, ...],
    horizon: int,
    churn_event: str | None,
    engagement_events: tuple[str, ...],
    folds: int,
    scores: Path | None,
    as_json: bool,
) -> None:
    """Score the file EVENTS (CSV or NDJSON, plain or .gz) as of past moments, untrained and trained, beside baselines.

    Needs no server. Only events up to each moment are used for it. Without --snapshots, the customers who were active
    at each --cutoff (by default one every horizon) are scored, and "lapsed" means no login and no feature used within
    the horizon after, or bills that tell so.
    """
    if snapshots and cutoffs:
        raise click.UsageError("--snapshots and --cutoff exclude each other: snapshots bring their own moments")
    moments = [_moment(text) for text in cutoffs]
    skipped: list[str] = []
    try:
        wanted = None if snapshots is None else list(_snapshots(snapshots))
        with _progress() as progress:
            report, scored = compare(
                _events(events, skipped),
                wanted,
                cutoffs=moments,
                horizon_days=horizon,
                folds=folds,
                meaning=Meaning(engagement_events, (churn_event,) if churn_event else ()),
                progress=progress,
            )
        if scores:
            _write(scores, scored)
    except (ValueError, OSError, EOFError) as error:
        raise click.ClickException(" ".join(str(error).split())) from None
    if skipped:
        click.echo(f"{len(skipped)} lines of {events} were skipped; the first: {skipped[0]}", err=True)
    click.echo(msgspec.json.encode(report).decode() if as_json else _table(report))


def _moment(text: str) -> float:
    try:
        return _epoch(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no ISO 8601 date or time", param_hint="--cutoff") from None


def _epoch(text: str) -> float:
    at = datetime.fromisoformat(text.strip())
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


@contextmanager
def _progress() -> Iterator[Callable[[int], None] | None]:
    """A counter on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    yield lambda count: click.echo(f"\r{count:,} events read", nl=False, err=True)
    click.echo(err=True)


def _events(path: Path, skipped: list[str]) -> Iterator[Event]:
    """The events of a file; lines that are none are noted in `skipped`."""
    for line in lines(path):
        try:
            if line.event is None:
                raise ValueError(line.fault)
            yield _event(line.event)
        except KeyError as missing:
            skipped.append(f"line {line.number}: {missing.args[0]} is missing")
        except (ValueError, TypeError, AttributeError) as error:
            skipped.append(f"line {line.number}: {error}")


def _event(raw: dict[str, Any]) -> Event:
    name, email, properties = raw["event"], raw["customer_email"].strip().lower(), raw.get("properties") or {}
    if not isinstance(name, str) or not name or not email or not isinstance(properties, dict):
        raise ValueError("event, customer_email or properties is not what it should be")
    at = _epoch(raw["timestamp"])
    if at < _EARLIEST:
        raise ValueError("timestamp is before 2000-01-01")
    return Event(email, name, at, properties)


def _snapshots(path: Path) -> Iterator[Snapshot]:
    with opened(path) as file:
        reader = csv.DictReader(file)
        missing = {"customer_email", "as_of", "lapsed"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path}: the CSV header lacks {', '.join(sorted(missing))}")
        for row in reader:
            if row["lapsed"] not in ("0", "1"):
                raise ValueError(f"{path} line {reader.line_num}: lapsed must be 0 or 1, not {row['lapsed']!r}")
            yield Snapshot(row["customer_email"].strip().lower(), _epoch(row["as_of"]), int(row["lapsed"]))


def _write(path: Path, scored: list[Scored]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("customer_email", "as_of", "untrained", "trained"))
        for one in scored:
            as_of = datetime.fromtimestamp(one.at, UTC).isoformat().replace("+00:00", "Z")
            trained = "" if one.trained is None else f"{one.trained:.9g}"
            writer.writerow((one.customer, as_of, f"{one.untrained:.9g}", trained))


def _table(report: Report) -> str:
    rows = {**report.baselines, "untrained": report.untrained, "trained": report.trained}
    base = report.untrained
    lines = [
        f"{report.events:,} events, {base.snapshots:,} snapshots of {report.customers:,} customers, "
        f"{base.lapses:,} lapsed within {report.horizon_days:g} days ({base.base_rate:.1%})",
        "",
        f"{'':26}" + "".join(f"{heading:>9}" for heading in _HEADINGS),
        *(_line(name, found) for name, found in rows.items()),
        "",
        f"trained and baselines: {report.folds} folds by customer"
        if report.trained
        else "trained: not possible with fewer than 20 lapses",
        "",
        "calibration, by tenths of risk" + "".join(f"{heading:>12}" for heading in ("said", "happened")),
    ]
    best = report.trained or report.untrained
    lines += [f"{k:>2} ({b.customers:,} snapshots)".ljust(30) + f"{b.said:12.3f}{b.happened:12.3f}"
              for k, b in enumerate(best.bins, 1)]  # fmt: skip
    return "\n".join(lines)


def _line(name: str, found: Metrics | None) -> str:
    values = [None if found is None else getattr(found, measure) for measure in _MEASURES]
    label = name.replace("_", " ")
    return f"{label:26}" + "".join(f"{'-' if value is None else format(value, '.4f'):>9}" for value in values)
