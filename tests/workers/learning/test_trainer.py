"""Learning as part of the line: from the tables to a model in use, and back."""

from datetime import timedelta
from typing import Any

import pytest

from scoring.learning import training
from scoring.levels import LevelBounds
from scoring.model import PRIOR, Model
from tests.workers.events import count
from tests.workers.worlds import account, fill, world
from workers.accounts import models
from workers.accounts.models import find_in_use, list_models
from workers.accounts.renewals import request_roll_back
from workers.accounts.serving import Serving
from workers.learning import trainer
from workers.learning.trainer import train
from workers.process import Process
from workers.risk import renewal, rescore
from workers.risk.renewal_state import Means
from workers.store import Connection, connect


def rolled_back(connection: Connection, account_id: int) -> Model:
    request_roll_back(connection, account_id)
    renewal.run(connection, Means(LevelBounds()), account_id)
    return find_in_use(connection, account_id).model


def test_training_switches_to_a_better_model_and_keeps_all_that_was_tried(connection: Connection, acme: int) -> None:
    card = train(connection, acme, 30)
    assert card.against == "prior-1"
    used = find_in_use(connection, acme)
    assert used.model.version == card.chosen != "prior-1"
    kept = list_models(connection)
    assert [version.version for version in kept] == list(range(1, len(kept) + 1))
    assert {version.kind for version in kept} == card.holdout.keys() - {"in use"}
    assert [version.name for version in kept if version.in_use] == [card.chosen]
    assert kept[0].card == card
    assert card.holdout[used.model.kind].log_loss < card.holdout["in use"].log_loss
    assert card.lapses > 50
    assert card.since is not None
    assert card.until is not None
    assert timedelta(days=170) < card.until - card.since < timedelta(days=180)


def test_a_further_training_on_the_same_data_changes_nothing(connection: Connection, acme: int) -> None:
    """An early model may be recalibrated once more: after that, nothing moves."""
    first, second, third = (train(connection, acme, 30) for _ in range(3))
    assert second.against == first.chosen
    assert first.chosen.startswith("early") or second.chosen == first.chosen
    assert (third.against, third.chosen) == (second.chosen, second.chosen)
    assert find_in_use(connection, acme).model.version == second.chosen
    assert count(connection, "trainings") == 3


def test_without_lapses_the_formula_stays(connection: Connection) -> None:
    """An account with nothing, or with nothing yet: the training is noted, and no model."""
    account_id = account(connection)
    card = train(connection, account_id, 30)
    assert (card.chosen, card.snapshots, count(connection, "models")) == ("prior-1", 0, 0)
    assert find_in_use(connection, account_id).model is PRIOR


def test_rolling_back_goes_to_what_was_in_use_before(connection: Connection, acme: int) -> None:
    train(connection, acme, 30)
    first = find_in_use(connection, acme)
    connection.execute("UPDATE models SET weights = jsonb_set(weights, '{baseline}', '3'), in_use = in_use")
    second = train(connection, acme, 30)
    assert second.against == first.model.version != second.chosen
    assert rolled_back(connection, acme).version == first.model.version
    assert rolled_back(connection, acme) is PRIOR
    with pytest.raises(models.NoEarlierModel, match="nothing to go back to"):
        rolled_back(connection, acme)


def test_a_training_that_was_overtaken_keeps_nothing(
    connection: Connection, acme: int, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model is judged against the one in use; if that is another one by then, the judgement is void."""
    learning = training.learn

    def slow(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(trainer, "learn", learning)
        with connect(database_url) as other:
            train(other, acme, 30)
        return learning(*arguments, **options)

    monkeypatch.setattr(trainer, "learn", slow)
    with pytest.raises(trainer.Overtaken, match="train again"):
        train(connection, acme, 30)
    assert count(connection, "trainings") == 1


def test_scores_say_which_model_made_them(process: Process, connection: Connection, acme: int) -> None:
    """A batch that is due may hold customers of several accounts: each has its own model."""
    fill(connection, world(20, 60), "other")
    card = train(connection, acme, 30)
    connection.execute("UPDATE customers SET rescore_at = now()")
    while rescore.rescore_due(process):
        pass
    rows = connection.execute("SELECT DISTINCT account_id, model FROM customers ORDER BY 1").fetchall()
    assert [model for _, model in rows] == [card.chosen, "prior-1"]


def test_a_worker_knows_of_another_model_at_once(connection: Connection, acme: int) -> None:
    serving = Serving()
    assert serving.find(connection, acme).model is PRIOR
    card = train(connection, acme, 30)
    assert serving.find(connection, acme).model.version == card.chosen
