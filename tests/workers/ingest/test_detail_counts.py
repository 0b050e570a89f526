from tests.workers.events import T0, event, request
from workers.buffer.entries import Entry
from workers.buffer.fold import Fold
from workers.buffer.rows import make_rows
from workers.buffer.staging import stage
from workers.ingest import detail_counts
from workers.ingest.detail_counts import DetailCounts


def views(*pages: str, **fields: str) -> Fold:
    sent = [event(event="page_viewed", properties={"page": page}, **fields) for page in pages]
    return stage(make_rows(Entry(b"batch", [request(*sent, received_us=T0)]))).added


def test_each_detail_of_a_customer_day_and_name_counts_once() -> None:
    counts = DetailCounts()
    assert counts.add(views("/a", "/b")).tolist() == [2, 2]
    assert counts.add(views("/b", "/c")).tolist() == [3, 3]
    assert counts.add(views("/a", customer_email="joe@example.com")).tolist() == [1]
    assert counts.add(views("/a", timestamp="2025-10-01")).tolist() == [1]
    assert counts.add(views("/a", "/b", "/c")).tolist() == [3, 3, 3]


def test_rows_without_a_detail_count_for_nothing() -> None:
    assert DetailCounts().add(views("", "/a")).tolist() == [0, 1]


def test_thousands_of_details_are_counted_about_right() -> None:
    counts = DetailCounts()
    for first in range(0, 100_000, 10_000):
        latest = counts.add(views(*(f"/{page}" for page in range(first, first + 10_000))))
    assert 90_000 < latest[0] <= 100_000


def test_what_was_counted_is_forgotten_in_the_end() -> None:
    counts = DetailCounts()
    for page in range(0, detail_counts.MOST_ROWS + 10_001, 10_000):
        counts.add(views(*(f"/{number}" for number in range(page, page + 10_000))))
    assert counts.add(views("/new"))[0] < 20_001
