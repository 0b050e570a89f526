import threading
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import psycopg
import pytest
from redis import Redis
from rq.timeouts import JobTimeoutException

from tests.workers.events import T0, count, entry, event, push, push_events, request
from workers import retry, tickets
from workers.buffer import rows, stream
from workers.buffer.attempts import Attempts
from workers.buffer.entries import Request, hash_customer
from workers.buffer.lanes import HISTORY, LIVE, Lane
from workers.buffer.stream import Reader
from workers.ingest import batches, dead_letters, ingest
from workers.ingest.batches import Batch, Batches
from workers.ingest.giving_way import GivingWay
from workers.ingest.ingest import drain
from workers.ingest.transaction import Outcome, store_batch
from workers.process import Process
from workers.risk import rescore
from workers.store import Connection

JANE = hash_customer(1, "jane@example.com")


def ingested(process: Process, *events: dict[str, Any]) -> Outcome:
    push_events(process.redis, *events)
    return drain(process, LIVE)


def test_an_event_is_stored_with_its_customer_its_rollup_and_its_due_time(
    process: Process, connection: Connection
) -> None:
    properties = {"feature": "exports", "duration_seconds": 30, "plan": "pro"}
    ingested(process, event(event="feature_used", timestamp="2025-12-01T10:00:00Z", properties=properties))
    assert connection.execute("SELECT event, occurred_at, properties FROM events").fetchall() == [
        ("feature_used", datetime(2025, 12, 1, 10, tzinfo=UTC), properties)
    ]
    assert connection.execute("SELECT email, account_id, rescore_at <= now() FROM customers").fetchall() == [
        ("jane@example.com", 1, True)
    ]
    assert connection.execute("SELECT day, event, detail, n, value, plan FROM customer_days").fetchall() == [
        (date(2025, 12, 1), "feature_used", "exports", 1, 30.0, "pro")
    ]


def test_the_rollup_counts_by_day_and_keeps_the_latest(process: Process, connection: Connection) -> None:
    def used(time: str, plan: str) -> dict[str, Any]:
        return event(timestamp=f"2025-12-01T{time}Z", properties={"duration_seconds": 10, "plan": plan})

    ingested(process, used("10:00:00", "pro"), used("12:00:00", "team"))
    ingested(process, used("11:00:00", "basic"))
    assert connection.execute("SELECT n, value, last_at, plan FROM customer_days").fetchall() == [
        (3, 30.0, datetime(2025, 12, 1, 12, tzinfo=UTC), "team")
    ]


def test_the_same_event_is_stored_once(process: Process, connection: Connection) -> None:
    """Within a batch, over batches and over lanes."""
    same = event(timestamp="2025-12-01T10:00:00Z", properties={"a": 1})
    assert ingested(process, same, same) == Outcome(stored=1, duplicate=1)
    push_events(process.redis, same, lane=HISTORY)
    assert drain(process, HISTORY) == Outcome(duplicate=1)
    assert connection.execute("SELECT n FROM customer_days").fetchall() == [(1,)]


def test_the_same_event_id_is_stored_once_with_any_timestamp_or_none(process: Process, connection: Connection) -> None:
    ingested(process, event(event_id="a"), event(event_id="a", timestamp="2025-12-01"), event(event_id="b"))
    outcome = ingested(process, event(event_id="a"), event(event_id="b", timestamp="2025-12-02"))
    assert outcome == Outcome(duplicate=2)
    assert count(connection, "events") == 2


def test_an_event_id_belongs_to_its_customer(process: Process) -> None:
    assert ingested(process, event(event_id="a"), event(event_id="a", customer_email="b@c.de")).stored == 2


def test_events_without_identity_are_new_each_time(process: Process) -> None:
    assert ingested(process, event(), event()).stored == 2
    assert ingested(process, event()).stored == 1


def test_an_entry_that_is_delivered_twice_is_stored_once(
    process: Process, connection: Connection, redis: Redis
) -> None:
    """A worker that dies between COMMIT and acknowledgement costs nothing."""
    one = entry(request(event(), event(), event(event_id="x")))
    push(redis, one, one, events=3)
    assert drain(process, LIVE) == Outcome(stored=3, duplicate=3)
    assert connection.execute("SELECT sum(n) FROM customer_days").fetchall() == [(3,)]


def test_what_is_stored_leaves_the_buffer(process: Process, redis: Redis) -> None:
    ingested(process, event(), event())
    assert redis.xlen(LIVE.stream) == 0
    assert redis.hgetall(LIVE.ledger) == {b"accepted": b"2", b"settled": b"2"}


def test_a_customer_is_not_rescored_more_often_than_every_few_seconds(process: Process, connection: Connection) -> None:
    ingested(process, event())
    connection.execute("UPDATE customers SET scored_at = now(), rescore_at = now() + interval '1 day'")
    ingested(process, event())
    (row,) = connection.execute("SELECT extract(epoch FROM rescore_at - scored_at)::float8 FROM customers")
    assert row == (process.settings.rescore_seconds,)


def test_a_duplicate_makes_nobody_due(process: Process, connection: Connection) -> None:
    """Importing a file again costs no rescoring."""
    same = event(timestamp="2025-12-01")
    ingested(process, same)
    connection.execute("UPDATE customers SET rescore_at = 'infinity'")
    ingested(process, same)
    assert connection.execute("SELECT rescore_at::text FROM customers").fetchall() == [("infinity",)]


def test_a_stored_event_asks_for_a_rescore(process: Process, redis: Redis) -> None:
    ingested(process, event())
    assert tickets.count_waiting(redis, "score") == 1


def test_a_full_batch_calls_for_more_hands(process: Process, redis: Redis) -> None:
    process.settings = _with_batch(process, 100)
    push_events(redis, *[event() for _ in range(100)])
    drain(process, LIVE)
    assert tickets.count_waiting(redis, LIVE.queue) == 1


def test_poison_is_isolated(process: Process, connection: Connection) -> None:
    """A data error goes to dead_letters with its reason; everything else of its batch is stored."""
    bad = event(event="poison", properties={"a": "\0"})
    outcome = ingested(process, *[event() for _ in range(20)], bad, *[event() for _ in range(20)])
    assert outcome == Outcome(stored=40, dead=1)
    ((customer, reason, body),) = connection.execute("SELECT customer_id::text, reason, body FROM dead_letters")
    assert customer.replace("-", "") == JANE
    assert b"poison" in body
    assert reason


def test_an_undecodable_entry_is_a_dead_letter(process: Process, connection: Connection, redis: Redis) -> None:
    push(redis, b"\xc1garbage", entry(request(event())))
    assert drain(process, LIVE) == Outcome(stored=1, dead=1)
    assert connection.execute("SELECT reason, body FROM dead_letters").fetchall() == [("undecodable", b"\xc1garbage")]


def test_an_outage_keeps_everything_in_the_buffer(process: Process, redis: Redis, database_url: str) -> None:
    """Postgres away is no reason to lose or to bury anything."""
    away = Process(_with_database(process, "postgresql://127.0.0.1:1/nowhere"), redis)
    away.stopping.set()  # one try is enough
    push_events(redis, event())
    assert drain(away, LIVE) == Outcome()
    assert redis.xlen(LIVE.stream) == 1
    assert tickets.count_waiting(redis, LIVE.queue) == 1
    back = Process(_with_database(process, database_url), redis)
    back.name = away.name
    assert drain(back, LIVE).stored == 1
    back.disconnect()


def test_what_a_dead_worker_had_read_is_claimed(process: Process, redis: Redis, connection: Connection) -> None:
    push_events(redis, event())
    dead = Reader(redis, LIVE, "dead worker")
    dead.read_left_over(60, 1000)
    assert dead.read(10, 0.1)
    assert Reader(redis, LIVE, "next").read_left_over(60, 1000) == []
    (claimed,) = Reader(redis, LIVE, "next").read_left_over(0, 1000)
    assert claimed.events == 1


def test_a_connection_lost_in_mid_batch_is_opened_again(process: Process, connection: Connection) -> None:
    process.connection()
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    assert ingested(process, event()).stored == 1


def test_workers_over_the_same_customers_neither_deadlock_nor_lose_counts(
    process: Process, connection: Connection, redis: Redis
) -> None:
    emails = [f"c{n}@example.com" for n in range(50)]
    for turn in range(40):
        shuffled = [event(customer_email=email, properties={"turn": turn}) for email in emails]
        push_events(redis, *(reversed(shuffled) if turn % 2 else shuffled))
    workers = [Process(_with_batch(process, 200), redis) for _ in range(4)]
    threads = [threading.Thread(target=drain, args=(worker, LIVE)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers:
        worker.disconnect()
    assert count(connection, "events") == 2000
    assert connection.execute("SELECT min(n), max(n), count(*) FROM customer_days").fetchall() == [(40, 40, 50)]
    assert redis.xlen(LIVE.stream) == 0


def test_a_batch_is_read_up_to_its_size(process: Process, redis: Redis) -> None:
    for _ in range(stream.READ_ENTRIES + 10):
        push_events(redis, *[event() for _ in range(10)])
    reader = Reader(redis, LIVE, "reader")
    reader.read_left_over(60, 1000)
    batch = reader.read(events=5000, wait_seconds=0.01)
    assert sum(waiting.events for waiting in batch) == (stream.READ_ENTRIES + 10) * 10


def test_a_data_error_is_no_outage(process: Process) -> None:
    with pytest.raises(psycopg.DataError):
        process.connection().execute("SELECT 'x'::integer")


def _with_database(process: Process, url: str) -> Any:
    return msgspec.structs.replace(process.settings, database_url=url)


def _with_batch(process: Process, events: int) -> Any:
    return msgspec.structs.replace(process.settings, batch_events=events)


def test_a_large_left_over_is_taken_up_whole(process: Process, redis: Redis, connection: Connection) -> None:
    for _ in range(stream.READ_ENTRIES * 2 + 10):
        push_events(redis, event())
    process.name = "it"
    mine = Reader(redis, LIVE, "it")
    mine.read_left_over(60, 1000)
    mine.read(events=5000, wait_seconds=0.01)
    assert drain(process, LIVE).stored == stream.READ_ENTRIES * 2 + 10


def test_a_customer_who_is_due_anyway_is_left_alone_and_seen_all_the_same(
    process: Process, connection: Connection
) -> None:
    """The row is written once until the next score, however many batches come; last_seen follows with the score."""
    ingested(process, event(timestamp="2025-12-01"))
    (before,) = connection.execute("SELECT ctid::text FROM customers").fetchall()
    ingested(process, event(timestamp="2025-12-02"))
    assert connection.execute("SELECT ctid::text FROM customers").fetchall() == [before]
    ingested(process, event(timestamp="2025-11-30"))
    rescore.rescore_due(process)
    assert connection.execute("SELECT first_seen::date, last_seen::date FROM customers").fetchall() == [
        (date(2025, 11, 30), date(2025, 12, 2))
    ]


def test_what_cannot_be_read_of_an_entry_is_buried_alone(
    process: Process, connection: Connection, redis: Redis
) -> None:
    """A request that no JSON reader takes, an event with a time that is none: the others of their entry are stored."""
    broken = Request(1, T0, b'{"event": ')
    push(redis, entry(request(event()), broken, request(event(), event(timestamp="never"), event())), events=5)
    assert drain(process, LIVE) == Outcome(stored=3, dead=2)
    letters = connection.execute("SELECT customer_id::text, account_id, reason FROM dead_letters ORDER BY 1").fetchall()
    assert [(account, reason) for _, account, reason in letters] == [(1, "undecodable")] * 2
    assert letters[1][0].replace("-", "") == JANE


def test_a_letter_of_what_could_not_be_read_is_replayed_alone(
    process: Process, connection: Connection, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored events aren't stored again; two events of one entry stay two."""
    with monkeypatch.context() as fault:
        fault.setattr(rows, "parse_instant", _out_of_order)
        sent = [event(), event(timestamp="2025-12-01"), event(timestamp="2025-12-02")]
        push(redis, entry(request(*sent)), events=3)
        assert drain(process, LIVE) == Outcome(stored=1, dead=2)
    (replayed,) = dead_letters.replay(connection, dead_letters.list_ids(connection, []), 5)
    assert (replayed.letters, replayed.outcome) == (2, Outcome(stored=2))
    assert count(connection, "events") == 3


def _out_of_order(timestamp: str) -> datetime:
    raise ValueError(timestamp)


def test_a_batch_is_read_while_another_is_stored(
    process: Process, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was read ahead is stored before a ticket ends, also when its time is over."""
    monkeypatch.setattr(batches, "AHEAD_OF_EVENTS", 1)
    small = _with_batch(process, 150)
    for _ in range(200):
        push_events(redis, event())
    reader = Reader(redis, LIVE, process.name)
    with Batches(reader, Attempts(redis, LIVE), small) as reading:
        first = reading.next(0.01)
        assert first
        reading.read_ahead(first)
        reading.read_ahead(first)
    pending: Any = redis.xpending(LIVE.stream, "ingest")
    assert pending["pending"] == 102
    reading.no_more()
    second = reading.next(0.01)
    assert second
    assert first.events + second.events == 102
    assert reading.next(0.01) is None


def test_an_import_that_gives_way_rests_and_reads_nothing_ahead(
    process: Process, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While live events come; all of the import is stored."""
    monkeypatch.setattr(batches, "AHEAD_OF_EVENTS", 1)
    monkeypatch.setattr(GivingWay, "find_rest", lambda self: 0.001)
    rests: list[float | None] = []
    ahead: list[bool] = []
    read_ahead = Batches.read_ahead

    def wait(seconds: float | None = None) -> bool:
        rests.append(seconds)
        return False

    def note(self: Batches, batch: Batch) -> None:
        ahead.append(self.reads_ahead)
        read_ahead(self, batch)

    monkeypatch.setattr(process.stopping, "wait", wait)
    monkeypatch.setattr(Batches, "read_ahead", note)
    process.settings = _with_batch(process, 1)
    for _ in range(3):
        push_events(redis, event(), lane=HISTORY)
    assert drain(process, HISTORY).stored == 3
    assert ahead == [True, False, False]
    assert rests == [0.001] * 3


def test_a_ticket_whose_time_is_over_leaves_nothing_pending(
    process: Process, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "BUDGET_SECONDS", -1)
    monkeypatch.setattr(batches, "AHEAD_OF_EVENTS", 1)
    process.settings = _with_batch(process, 1)
    for _ in range(3):
        push_events(redis, event())
    assert drain(process, LIVE).stored == 2
    pending: Any = redis.xpending(LIVE.stream, "ingest")
    assert pending["pending"] == 0
    assert tickets.count_waiting(redis, LIVE.queue) == 1


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An entry's data that no process can read in the time of a job."""
    read = rows.read_entry

    def poison(data: bytes, position: int = 0) -> object:
        if data == b"poison":
            raise JobTimeoutException
        return read(data)

    monkeypatch.setattr(batches, "read_entry", poison)
    return b"poison"


def test_an_entry_that_is_never_read_in_time_is_set_aside_and_the_others_stored(
    process: Process, redis: Redis, connection: Connection, poisoned: bytes
) -> None:
    """Each job is ended by RQ; the next one tries fewer entries, and the last one none but the bad one."""
    for number in range(30):
        push(redis, poisoned) if number == 20 else push_events(redis, event())
    ended = 0
    while redis.xlen(LIVE.stream):
        try:
            drain(process, LIVE)
        except JobTimeoutException:
            ended += 1
        assert ended < 20
    assert count(connection, "events") == 29
    assert connection.execute("SELECT reason, fingerprint, body FROM dead_letters").fetchall() == [
        ("undecodable", "undecodable: FailsAlone", b"poison")
    ]
    assert not redis.hgetall("windback:attempts:live")


def test_a_statement_that_takes_too_long_is_tried_with_fewer_events(
    process: Process, redis: Redis, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(20):
        push_events(redis, event())
    monkeypatch.setattr(retry, "RETRY_SECONDS", 0)
    monkeypatch.setattr(ingest, "store_batch", slow_for_more_than(2))
    ended = 0
    while redis.xlen(LIVE.stream):
        try:
            drain(process, LIVE)
        except psycopg.errors.QueryCanceled:
            ended += 1
        assert ended < 20
    assert (count(connection, "events"), count(connection, "dead_letters")) == (20, 0)


def slow_for_more_than(entries: int) -> Callable[..., Any]:
    """`store_batch` on a Postgres that can't store more entries than these in time."""

    def store(connection: Connection, lane: Lane, batch: Batch, *rest: Any) -> Any:
        if len(batch.entries) > entries:
            raise psycopg.errors.QueryCanceled
        return store_batch(connection, lane, batch, *rest)

    return store
