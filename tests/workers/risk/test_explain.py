import msgspec
import pytest

from scoring.model import PRIOR
from tests.sending import ago
from tests.workers.events import event, ingested
from tests.workers.worlds import account
from workers.accounts import models
from workers.learning.trainer import train
from workers.process import Process
from workers.risk import rescore
from workers.risk.explain import Scored, explain_score
from workers.store import Connection


@pytest.fixture
def scored(process: Process, connection: Connection) -> Scored:
    """Somebody's score: years of logins, then silence and an overdue invoice."""
    logins = [event(timestamp=ago(days=day)) for day in range(9, 900, 3)]
    ingested(process, *logins, event(event="invoice_overdue", timestamp=ago(days=5)))
    rescore.drain(process)
    columns = ", ".join(Scored._fields).replace("customer_id", "customer_id::text")
    row = connection.execute(f"SELECT {columns} FROM customers").fetchone()
    assert row
    return Scored(*row)


def test_all_parts_of_a_stored_score_are_found_again(scored: Scored, connection: Connection) -> None:
    """Of a history that is longer than a risk looks back, too."""
    explanation = explain_score(connection, scored, 30)
    assert explanation is not None
    assert explanation.probability == pytest.approx(scored.probability, abs=1e-6)
    assert {part.signal for part in explanation.parts if part.points > 1} == {"silence", "invoice_overdue"}


def test_events_since_then_change_nothing(scored: Scored, process: Process, connection: Connection) -> None:
    ingested(process, event(event="refund_requested"))
    explanation = explain_score(connection, scored, 30)
    assert explanation is not None
    assert not any(part.points for part in explanation.parts if part.signal == "refund_requested")


def test_a_past_that_changed_since_is_not_explained(scored: Scored, process: Process, connection: Connection) -> None:
    ingested(process, *[event(timestamp=ago(days=day), event="feature_used") for day in range(6, 8)])
    assert explain_score(connection, scored, 30) is None


def test_a_score_is_explained_by_the_model_that_made_it(scored: Scored, connection: Connection) -> None:
    """Though another one is in use meanwhile."""
    assert account(connection) == scored.account_id
    card = train(connection, scored.account_id, 30)
    other = msgspec.structs.replace(PRIOR, version="map-1", kind="map", baseline=1.0)
    models.save_models(connection, scored.account_id, [other], card)
    models.use_model(connection, scored.account_id, 1)
    explanation = explain_score(connection, scored, 30)
    assert explanation is not None
    assert explanation.probability == pytest.approx(scored.probability, abs=1e-6)
    assert explain_score(connection, scored._replace(model="map-1"), 30) is None
    assert explain_score(connection, scored._replace(model="map-2"), 30) is None
