"""The line over several cells: each customer in one of them, nothing lost, nothing twice."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rq import Queue

from tests.cells.conftest import MakeWorld, World
from tests.waiting import wait_until
from tests.workers.events import count
from workers import clock, jobs, logs, tickets
from workers.buffer import ledger
from workers.buffer.entries import hash_customer
from workers.cells import cell_of
from workers.settings import Settings
from workers.store import connect

NOW = datetime.now(UTC)


def history(customers: int = 60, days: int = 20) -> list[dict[str, Any]]:
    """Customers' events, old and new, mixed."""
    return [
        {
            "event": ("login", "feature_used", "report_shared")[(customer + day) % 3],
            "customer_email": f"c{customer}@example.com",
            "timestamp": (NOW - timedelta(days=day, minutes=customer)).isoformat(),
            "properties": {"feature": f"f{day % 4}", "plan": ("free", "pro")[customer % 2]},
        }
        for day in range(days)
        for customer in range(customers)
        if (customer + day) % (2 + customer % 5) == 0
    ]


def counted(world: World) -> list[int]:
    """The number of stored events of each cell."""
    return [count(place.connection(), "events") for place in world.places]


def test_events_are_stored_in_the_cells_of_their_customers(make_world: MakeWorld) -> None:
    world = make_world(4)
    events = history()
    world.track(*events, *events)
    world.work()
    assert sum(counted(world)) == len(events)
    assert all(counted(world))
    for number, place in enumerate(world.places):
        rows = place.connection().execute("SELECT customer_id::text FROM customers").fetchall()
        assert {cell_of(customer_id, 4) for (customer_id,) in rows} == {number}


def wait_for_tickets(world: World, queue: str, number: int) -> None:
    """Wait until the door has issued so many: it does so after the answer."""
    wait_until(lambda: tickets.count_waiting(world.redis, queue) == number)


def test_a_ticket_that_was_lost_with_its_process_is_issued_again(make_world: MakeWorld) -> None:
    """At once, as soon as no ticket of another cell waits; unless the cell's Postgres is away, which has time."""
    world = make_world(2)
    first, second = world.places
    world.track(*history())
    for queue in ("ingest", "import"):
        wait_for_tickets(world, queue, 2)
        world.redis.delete(f"{Queue.redis_queue_namespace_prefix}{queue}")
        first.ask_later(queue)
        for place in (first, second, second):
            clock.issue_ingest_tickets(place)
        assert tickets.count_waiting(world.redis, queue) == 1
        tickets.clear_mark(second.redis, queue, second.cell.prefix)
        clock.issue_ingest_tickets(second)
        assert tickets.count_waiting(world.redis, queue) == 2


def test_nothing_of_a_customer_is_at_home(make_world: MakeWorld) -> None:
    world = make_world(4)
    world.track(*history())
    world.work()
    assert [count(world.process.connection(), table) for table in ("customers", "events", "landed")] == [0, 0, 0]


def test_the_ledgers_of_all_cells_add_up(make_world: MakeWorld) -> None:
    world = make_world(4)
    events = history()
    world.track(*events, *events)
    world.work()
    pipeline = world.redis.pipeline(transaction=False)
    for place in world.places:
        for lane in place.lanes.values():
            ledger.queue_read(pipeline, lane)
    whole = ledger.merge([ledger.parse(reply) for reply in pipeline.execute()])
    assert (whole.accepted, whole.stored, whole.duplicate) == (2 * len(events), len(events), len(events))
    assert (whole.unaccounted, whole.buffered) == (0, 0)


def test_customers_are_scored_in_their_cells(make_world: MakeWorld) -> None:
    world = make_world(4)
    world.track(*history())
    world.work()
    for place in world.places:
        assert count(place.connection(), "customers") == count(place.connection(), "customers WHERE level IS NOT NULL")


@pytest.mark.usefixtures("restored_logging")
def test_records_of_a_job_name_its_cell(
    make_world: MakeWorld, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of an outage, too."""
    world = make_world(2)
    logs.configure(Settings())
    monkeypatch.setattr(jobs, "current", world.process)
    for number, place in enumerate(world.places):
        world.track({"event": "login", "customer_email": find_email(number)})
        end_session = "SELECT pg_terminate_backend(%s::integer)"
        with connect(place.cell) as connection:
            connection.execute(end_session, [place.connection().info.backend_pid])
        jobs.ingest_live(number)
    jobs.score(1)
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [record["cell"] for record in records if record["message"] == "ingested"] == ["000", "001"]
    assert {record.get("cell") for record in records if "Postgres can't" in record["message"]} == {"000", "001"}


def find_email(cell: int) -> str:
    """An address of a customer of the cell, of two."""
    emails = (f"c{number}@example.com" for number in itertools.count())
    return next(email for email in emails if cell_of(hash_customer(1, email), 2) == cell)
