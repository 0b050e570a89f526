"""`windback backtest`: scores a file of events as of past moments, and reports how good that would have been."""

import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from api.history.event_files import UNDATED, FileLine, read_events
from api.history.records import Columns, Record, read_records
from api.history.text_files import FileFault, TextFile
from api.history.times import ORDERS, Dates
from api.track.rules import valid_email
from api.words import count_of
from scoring.event_roles import Meaning
from scoring.learning.backtest import BacktestEvent, Report, ScoredSnapshot, Snapshot
from scoring.learning.backtest import backtest as compare
from scoring.learning.metrics import Metrics
from workers.buffer.entries import normalise_email, parse_instant

SNAPSHOT_COLUMNS = Columns(("customer_email", "as_of", "lapsed"), ("customer_email", "as_of", "lapsed"))
_MEASURES = ("auc", "pr_auc", "lift", "brier", "ece")
_HEADINGS = ("AUC", "PR-AUC", "lift", "Brier", "ECE")


@click.command("backtest")
@click.argument("events", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--snapshots", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="CSV customer_email,as_of,lapsed (0/1): what to score, and what happened.")  # fmt: skip
@click.option("--cutoff", "cutoffs", multiple=True, metavar="DATE",
              help="A moment to score everybody at, with outcomes from the events. May be repeated.")  # fmt: skip
@click.option("--horizon", default=30, show_default=True, type=click.IntRange(1, 365), help="Days ahead.")
@click.option("--churn-event", help="An event of the file that means a customer has churned.")
@click.option("--engagement-event", "engagement_events", multiple=True,
              help="An event of the file that counts as use of the product. May be repeated.")  # fmt: skip
@click.option("--dates", type=click.Choice(ORDERS), help="The order in dates like 3/4/2025; else they are skipped.")
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
    dates: Dates | None,
    folds: int,
    scores: Path | None,
    as_json: bool,
) -> None:
    """Test predictions on a file of past events. EVENTS is CSV or NDJSON, plain or .gz. It is scored as of past
    moments, untrained and trained, beside baselines.

    Needs no server. Only events up to each moment are used for it. Without --snapshots, the customers who were active
    at each --cutoff (by default one every horizon) are scored, and "lapsed" means no login and no feature used within
    the horizon after, or unpaid bills. Untrained is the day-one formula, adjusted to the silences known by each moment.
    """
    if snapshots and cutoffs:
        raise click.UsageError("--snapshots and --cutoff exclude each other: snapshots bring their own moments")
    moments = [_moment(text) for text in cutoffs]
    log = FileLog(dates)
    reading = snapshots or events
    try:
        wanted = None if snapshots is None else list(_read_snapshots(snapshots))
        reading = events
        with _progress() as progress, TextFile(events) as file:
            report, scored = compare(
                log.read(file),
                wanted,
                cutoffs=moments,
                horizon_days=horizon,
                folds=folds,
                meaning=Meaning(engagement_events, (churn_event,) if churn_event else ()),
                progress=progress,
            )
        if not report.events:
            raise ValueError(f"{events} holds no event that can be used")
        if scores:
            _write(scores, scored)
    except FileFault as error:
        where = reading if error.number is None else f"{reading}:{error.number}"
        raise click.ClickException(f"{where}: {error}") from None
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise click.ClickException(f"{log.describe_skipped()}. {reason}" if log.skipped else reason) from None
    if log.skipped:
        click.echo(log.describe_skipped(), err=True)
    click.echo(msgspec.json.encode(report).decode() if as_json else _table(report))


class FileLog:
    """Reads events, and keeps the lines that hold none; `dates` is the order in 3/4/2025."""

    def __init__(self, dates: Dates | None = None) -> None:
        self.dates = dates
        self.lines = 0
        self.skipped: list[FileLine] = []

    def read(self, file: TextFile) -> Iterator[BacktestEvent]:
        """The events of a file. Raises FileFault."""
        for line in read_events(file, no_time=UNDATED, dates=self.dates):
            self.lines += 1
            if line.event is None:
                self.skipped.append(line)
            else:
                yield _to_event(line.event)

    def describe_skipped(self) -> str:
        """One sentence: how many lines were skipped, and why the first was."""
        first = self.skipped[0]
        count = f"{len(self.skipped):,} of {count_of(self.lines, 'line')} skipped"
        return f"{count}; the first: line {first.number}: {first.fault.rstrip('.')}"


def _moment(text: str) -> float:
    try:
        return parse_instant(text.strip()).timestamp()
    except ValueError:
        raise click.BadParameter(f"{text!r} is not an ISO 8601 date or time", param_hint="--cutoff") from None


@contextmanager
def _progress() -> Iterator[Callable[[int], None] | None]:
    """A counter on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    yield lambda count: click.echo(f"\r{count:,} events read", nl=False, err=True)
    click.echo(err=True)


def _to_event(event: dict[str, Any]) -> BacktestEvent:
    at = parse_instant(event["timestamp"]).timestamp()
    return BacktestEvent(normalise_email(event["customer_email"]), event["event"], at, event.get("properties") or {})


def _read_snapshots(path: Path) -> Iterator[Snapshot]:
    with TextFile(path) as file:
        for record in read_records(file, SNAPSHOT_COLUMNS):
            yield _to_snapshot(record)


def _to_snapshot(record: Record) -> Snapshot:
    if record.fields is None:
        raise FileFault(record.fault, record.number)
    email, as_of, lapsed = (str(record.fields.get(name) or "").strip() for name in SNAPSHOT_COLUMNS.required)
    if lapsed not in ("0", "1"):
        raise FileFault(f"lapsed must be 0 or 1, not {lapsed!r}", record.number)
    if not valid_email(email):
        raise FileFault("customer_email must be an address like local@domain.tld", record.number)
    try:
        return Snapshot(normalise_email(email), parse_instant(as_of).timestamp(), int(lapsed))
    except ValueError:
        raise FileFault("as_of must be ISO 8601, like 2025-12-01T10:00:00Z", record.number) from None


def _write(path: Path, scored: list[ScoredSnapshot]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("customer_email", "as_of", "untrained", "trained"))
        for snapshot in scored:
            as_of = datetime.fromtimestamp(snapshot.at, UTC).isoformat().replace("+00:00", "Z")
            trained = "" if snapshot.trained is None else f"{snapshot.trained:.9g}"
            writer.writerow((snapshot.customer, as_of, f"{snapshot.untrained:.9g}", trained))


def _table(report: Report) -> str:
    rows = {**report.baselines, "untrained": report.untrained, "trained": report.trained}
    base = report.untrained
    lines = [
        _summarise(report),
        "",
        f"{report.events:,} events, {base.snapshots:,} snapshots of {report.customers:,} customers, "
        f"{base.lapses:,} lapsed within {report.horizon_days:g} days ({base.base_rate:.1%})",
        "",
        f"{'':26}" + "".join(f"{heading:>9}" for heading in _HEADINGS),
        *(_line(name, metrics) for name, metrics in rows.items()),
        "",
        f"trained and baselines: {report.folds} folds by customer"
        if report.trained
        else "trained: not possible with fewer than 20 lapses",
        "",
        "calibration, by tenths of risk" + "".join(f"{heading:>12}" for heading in ("predicted", "actual")),
    ]
    best = report.trained or report.untrained
    lines += [f"{k:>2} ({b.customers:,} snapshots)".ljust(30) + f"{b.predicted:12.3f}{b.actual:12.3f}"
              for k, b in enumerate(best.bins, 1)]  # fmt: skip
    return "\n".join(lines)


def _summarise(report: Report) -> str:
    """Describes the use of the scores in a sentence: customers reached per message."""
    best = report.trained or report.untrained
    if not best.lift:
        return "Nobody churned within the horizon, so nothing can be said of the scores."
    return (
        "Writing to the riskiest 10% each month would have reached "
        f"{report.reached:,} of the {best.lapses:,} who left, with {count_of(report.written, 'message')} "
        f"({best.lift:.1f} times as many as by chance)."
    )


def _line(name: str, metrics: Metrics | None) -> str:
    values = [None if metrics is None else getattr(metrics, measure) for measure in _MEASURES]
    label = name.replace("_", " ")
    return f"{label:26}" + "".join(f"{'-' if value is None else format(value, '.4f'):>9}" for value in values)
