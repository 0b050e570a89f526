"""Track records in the line: when they are due, and what is kept of them."""

from tests.workers.events import count
from tests.workers.worlds import fill, world
from workers.accounts import track_records as wishes
from workers.learning import nightly, track_records
from workers.learning.trainer import train
from workers.process import Process
from workers.redis import PREFIX
from workers.risk.rebuild import rebuild_batch
from workers.store import Connection
from workers.upkeep.erasure import erase


def test_a_track_record_is_due_after_an_import_and_after_each_training(
    process: Process, connection: Connection
) -> None:
    account_id = fill(connection, world(60, 120))
    assert track_records.list_due(connection) == []
    connection.execute("INSERT INTO rebuilds SELECT customer_id, first_seen FROM customers")
    nightly.issue_track_job(process)
    while rebuild_batch(process):
        pass
    assert track_records.list_due(connection) == [account_id]
    nightly.issue_track_job(process)
    nightly.issue_track_job(process)
    assert process.redis.llen(f"{PREFIX}:rq:queue:score") == 1
    nightly.run(process)
    assert track_records.list_due(connection) == []
    assert count(connection, "departures") > 5
    train(connection, account_id, 30)
    assert track_records.list_due(connection) == [account_id]


def test_a_new_one_takes_the_place_of_the_one_before(process: Process, connection: Connection) -> None:
    account_id = fill(connection, world(60, 120))
    track_records.compute(connection, account_id, process.settings.levels)
    before = count(connection, "departures"), count(connection, "flags")
    track_records.compute(connection, account_id, process.settings.levels)
    assert (count(connection, "departures"), count(connection, "flags")) == before
    assert min(before) > 5


def test_an_erased_customer_is_in_none(process: Process, connection: Connection) -> None:
    account_id = fill(connection, world(60, 120))
    track_records.compute(connection, account_id, process.settings.levels)
    for (email,) in connection.execute("SELECT email FROM customers").fetchall():
        erase(connection, account_id, email)
    assert (count(connection, "departures"), count(connection, "flags")) == (0, 0)


def test_a_wish_that_comes_while_one_is_computed_is_kept(process: Process, connection: Connection) -> None:
    account_id = fill(connection, world(20, 60))
    wishes.request(connection, account_id)
    wishes.request(connection, account_id)
    assert track_records.list_due(connection) == [account_id]
    track_records.compute_due(process)
    assert track_records.list_due(connection) == []
    wishes.request(connection, account_id)
    assert track_records.list_due(connection) == [account_id]
