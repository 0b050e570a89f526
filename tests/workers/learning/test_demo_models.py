"""Models that learnt from the simulated company: used for nobody else."""

import pytest

from tests.workers.worlds import fill, world
from workers.accounts import models, renewals
from workers.learning import demo_models
from workers.learning.trainer import find_last_training, train
from workers.process import Process
from workers.risk import renewal
from workers.risk.renewal_state import Means
from workers.risk.rollups import DEMO
from workers.store import Connection, sql
from workers.upkeep.erasure import erase


@pytest.fixture
def taught(connection: Connection) -> int:
    """An account that has trained on the simulated company, its only customers."""
    account_id = fill(connection, world(300, 180))
    connection.execute("UPDATE customers SET email = split_part(email, '@', 1) || '@demo.example'")
    card = train(connection, account_id, 30)
    assert card.demo
    assert models.find_in_use(connection, account_id).version is not None
    return account_id


def settle(connection: Connection, process: Process, account_id: int) -> None:
    demo_models.put_aside_all(process)
    renewal.run(connection, Means(process.settings.levels, None, process.redis), account_id)


def add_customer(connection: Connection, account_id: int) -> None:
    query = """
        INSERT INTO customers (customer_id, account_id, email, first_seen, last_seen, rescore_at)
        VALUES (gen_random_uuid(), %s, 'jane@example.com', now(), now(), now())
    """
    connection.execute(query, [account_id])


def test_it_is_used_while_they_are_the_only_customers(connection: Connection, process: Process, taught: int) -> None:
    settle(connection, process, taught)
    assert models.find_in_use(connection, taught).version is not None


def test_the_first_customer_of_ones_own_puts_it_aside(connection: Connection, process: Process, taught: int) -> None:
    add_customer(connection, taught)
    settle(connection, process, taught)
    assert models.find_in_use(connection, taught).version is None
    assert find_last_training(connection, taught) is None
    assert not renewals.is_pending(connection)


def test_it_goes_with_the_company(connection: Connection, process: Process, taught: int) -> None:
    for number in range(300):
        erase(connection, taught, f"c{number}@example.com")  # their ids are hashes of these
    assert not demo_models.is_taught_by_demo(connection, taught)
    settle(connection, process, taught)
    assert models.find_in_use(connection, taught).version is None


def test_a_training_that_comes_first_starts_from_the_formula(
    connection: Connection, process: Process, taught: int
) -> None:
    add_customer(connection, taught)
    card = train(connection, taught, 30)
    assert (card.against, card.demo) == ("prior-1", False)
    assert models.find_in_use(connection, taught).version is None


def test_a_model_of_ones_own_stays(connection: Connection, process: Process) -> None:
    account_id = fill(connection, world(300, 180))
    card = train(connection, account_id, 30)
    assert not card.demo
    version = models.find_in_use(connection, account_id).version
    settle(connection, process, account_id)
    assert version is not None
    assert models.find_in_use(connection, account_id).version == version


def test_simulated_customers_count_in_no_checked_scores(connection: Connection, taught: int) -> None:
    add_customer(connection, taught)
    parameters = {"account_id": taught, "at": "now", "horizon_days": 30, "contact_event": None}
    connection.execute(
        "WITH known AS MATERIALIZED (SELECT customer_id FROM customers)"
        " INSERT INTO risk_history (customer_id, at, probability, level, state, model)"
        " SELECT customer_id, now() - interval '1 hour', 0.5, 'high', 'active', 'prior-1' FROM known"
    )
    asked = [{**parameters, "with_demo": with_demo, "demo": DEMO} for with_demo in (True, False)]
    everybody, own = (len(connection.execute(sql("said_then"), each).fetchall()) for each in asked)
    assert everybody > own == 1
