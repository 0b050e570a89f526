"""A switch to another model: how long it takes, and how long a live event waits for its score meanwhile."""

import threading
import time
from functools import partial

import msgspec

from scoring.model import PRIOR
from tests.bench import rescore, stream
from tests.bench.measure import Line, interleaved
from tests.bench.world import World
from workers.accounts import models, renewals
from workers.accounts.models import Card
from workers.process import Process
from workers.risk.rescore import drain, rescore_due
from workers.store import Connection, connect

NAME = "bench_renewal"
COPIES = 20  # of the customers of the rescoring benchmark, where it may take its time
COPY_CUSTOMERS = """
WITH copies AS MATERIALIZED (
    SELECT gen_random_uuid() AS new_id, customer_id, copy || '-' || email AS email, first_seen, last_seen
    FROM customers CROSS JOIN generate_series(1, %(copies)s) AS copy
), days AS (
    INSERT INTO customer_days (customer_id, day, event, detail, n, value, last_at, plan)
    SELECT new_id, day, event, detail, n, value, last_at, plan FROM customer_days JOIN copies USING (customer_id)
)
INSERT INTO customers (customer_id, account_id, email, first_seen, last_seen, rescore_at)
SELECT new_id, 1, email, first_seen, last_seen, now() FROM copies
"""
CARD = Card("prior-1", "map-1", "", 30, None, None, 0, 0, 0, {}, [])


def run(world: World) -> list[Line]:
    """Everything scored once; then the switch, with one worker, and an event every fifth of a second."""
    with world.database(name=NAME) as url:
        _fill(world, url)
        seconds, delay = interleaved({"switch": partial(_switch, world)}, 1)["switch"]
    customers = stream.CUSTOMERS * (COPIES if world.long else 1)
    return [
        Line(f"renewal: {customers:,} customers scored anew and switched", seconds, "s", None, "100,000 in 60"),
        Line("renewal: the longest wait of a live score meanwhile", delay, "s", None, "at most 2"),
    ]


def _fill(world: World, url: str) -> None:
    with connect(url) as connection:
        rescore.fill_customers(url)
        if world.long:
            connection.execute("SET statement_timeout = 0")
            connection.execute(COPY_CUSTOMERS, {"copies": COPIES - 1})
            connection.execute("VACUUM ANALYZE")
        connection.execute("INSERT INTO accounts (account_id, name) VALUES (1, 'acme') ON CONFLICT DO NOTHING")
        with world.process(url) as process:
            while rescore_due(process):
                pass
        connection.execute("VACUUM ANALYZE customers")


def _switch(world: World) -> list[float]:
    with world.database(NAME) as url, connect(url) as connection, world.process(url) as process:
        model = msgspec.structs.replace(PRIOR, version="map-1", kind="map", baseline=PRIOR.baseline + 0.5)
        models.save_models(connection, 1, [model], CARD)
        renewals.request_switch(connection, 1, 1)
        ending = threading.Event()
        delays: list[float] = []
        events = threading.Thread(target=_send_events, args=(url, ending, delays))
        events.start()
        start = time.perf_counter()
        _work(process, connection)
        seconds = time.perf_counter() - start
        ending.set()
        events.join()
    return [seconds, max(delays)]


def _work(process: Process, connection: Connection) -> None:
    while renewals.is_pending(connection):
        drain(process)


def _send_events(url: str, ending: threading.Event, delays: list[float]) -> None:
    """Makes one customer after the other due by an event, and waits for each one's score."""
    with connect(url) as connection:
        number = 0
        while not ending.is_set():
            email, number = stream.email(number % stream.CUSTOMERS), number + 1
            start = time.perf_counter()
            due = "UPDATE customers SET rescore_at = now(), due_because = 'event' WHERE email = %s"
            connection.execute(due, [email])
            waiting = "SELECT due_because IS NOT NULL FROM customers WHERE email = %s LIMIT 1"
            while connection.execute(waiting, [email]).fetchone() == (True,) and not ending.wait(0.01):
                pass
            delays.append(time.perf_counter() - start)
            ending.wait(0.2)
