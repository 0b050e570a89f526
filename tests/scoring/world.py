"""A tiny world for scoring tests: rows written the way one speaks of them."""

from datetime import UTC, datetime

from hypothesis import strategies as st

from scoring.events import RECOGNISED
from scoring.rollup import DAY, Rollup, Row

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC).timestamp()
TODAY = int(NOW // DAY)


def row(
    event: str,
    days_ago: float,
    detail: str = "",
    *,
    customer: int = 0,
    n: int = 1,
    value: float = 0.0,
    plan: str | None = None,
) -> Row:
    """A row of the rollup, its last event `days_ago` days before NOW."""
    at = NOW - days_ago * DAY
    return (customer, int(at // DAY), event, detail, n, value, at, plan)


def logins(*days_ago: float, customer: int = 0) -> list[Row]:
    return [row("login", days, customer=customer) for days in days_ago]


def rollup(*rows: Row, customers: int = 1) -> Rollup:
    return Rollup.from_rows(customers, rows)


def details(event: str) -> st.SearchStrategy[str]:
    if event == "nps_response":
        return st.sampled_from(["", *map(str, range(11))])
    if event.startswith("invoice_"):
        return st.sampled_from(["", "invoice:1", "invoice:2"])
    return st.sampled_from(["", "exports", "reports", "/home"])


@st.composite
def any_row(draw: st.DrawFn, customers: int = 3) -> Row:
    """A row that the ingest could have written, up to ten years back."""
    event = draw(st.sampled_from([*RECOGNISED, "report_shared"]))
    return row(
        event,
        draw(st.floats(0, 60) | st.floats(0, 3650)),
        draw(details(event)),
        customer=draw(st.integers(0, customers - 1)),
        n=draw(st.integers(1, 3) | st.integers(1, 2_000_000_000)),
        value=draw(st.sampled_from([0.0, 1.0, 3600.0, 1e9])),
        plan=draw(st.sampled_from([None, "pro", "free"])),
    )


any_rows = st.lists(any_row(), max_size=30)
