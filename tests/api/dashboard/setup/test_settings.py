"""The page Settings, and the welcome that notices the first event."""

from collections.abc import Callable

import pytest
from redis import Redis
from starlette.testclient import TestClient

from tests.api.dashboard.conftest import token_in
from tests.workers.events import event
from tests.workers.worlds import fill, world
from workers.accounts.registry import list_accounts
from workers.learning import nightly
from workers.process import Process
from workers.store import Connection


def post(client: TestClient, **fields: str) -> tuple[int, str]:
    token = token_in(client.get("/settings").text)
    answer = client.post("/settings", data={"token": token, **fields})
    return answer.status_code, answer.text


def test_everything_is_found_from_the_page(signed_in: TestClient) -> None:
    page = signed_in.get("/settings").text
    for address in ("/mappings", "/alerts", "/drafts", "/companies", "/keys", "/model"):
        assert f'href="{address}"' in page
        assert signed_in.get(address).status_code == 200
    for level in ("20%", "50%", "75%", "WINDBACK_LEVEL_HIGH"):
        assert level in page


def test_the_horizon_is_chosen_and_left_to_learning_again(signed_in: TestClient, connection: Connection) -> None:
    status, page = post(signed_in, action="horizon", horizon="60")
    assert (status, "next <b>60 days</b>. You chose this number." in page) == (200, True)
    assert list_accounts(connection, "acme")[0].horizon_chosen == 60
    post(signed_in, action="horizon", horizon="")
    assert list_accounts(connection, "acme")[0].horizon_chosen is None


@pytest.mark.parametrize("horizon", ["0", "366", "03651", "-1", "many", "1.5", "\u0661"])
def test_a_horizon_that_is_none_is_refused(signed_in: TestClient, horizon: str) -> None:
    status, page = post(signed_in, action="horizon", horizon=horizon)
    assert (status, "from 1 to 365" in page) == (422, True)


def test_the_share_of_customers_held_out_is_chosen(signed_in: TestClient, connection: Connection) -> None:
    status, page = post(signed_in, action="holdout", percent="10")
    assert (status, 'name="percent" inputmode="numeric" value="10"' in page) == (200, True)
    assert list_accounts(connection, "acme")[0].holdout_percent == 10
    post(signed_in, action="holdout", percent="0")
    assert list_accounts(connection, "acme")[0].holdout_percent == 0
    assert 'href="/settings#holdout"' in signed_in.get("/alerts/effect").text


@pytest.mark.parametrize("percent", ["", "91", "-1", "ten", "1.5", "1000", "0901"])
def test_a_share_that_is_none_is_refused(signed_in: TestClient, connection: Connection, percent: str) -> None:
    status, page = post(signed_in, action="holdout", percent=percent)
    assert (status, "from 0 to 90" in page) == (422, True)
    assert list_accounts(connection, "acme")[0].holdout_percent == 0


def test_a_training_begins_when_somebody_asks_for_it(
    signed_in: TestClient, connection: Connection, process: Process, redis: Redis
) -> None:
    account_id = fill(connection, world())
    status, page = post(signed_in, action="train")
    assert (status, "starts within seconds" in page) == (200, True)
    assert redis.smembers(nightly.WANTED) == {str(account_id).encode()}
    nightly.run(process)
    trainings = connection.execute("SELECT count(*) FROM trainings WHERE account_id = %s", [account_id]).fetchone()
    assert trainings == (1,)
    assert not redis.exists(nightly.WANTED)


def test_without_an_earlier_model_nothing_is_rolled_back(signed_in: TestClient) -> None:
    assert "roll_back" not in signed_in.get("/settings").text
    status, page = post(signed_in, action="roll_back")
    assert (status, "nothing to go back to" in page) == (422, True)


def test_an_address_for_stripe_is_made_and_removed(signed_in: TestClient) -> None:
    assert post(signed_in, action="stripe", secret="sk_live_x")[0] == 422
    _, page = post(signed_in, action="stripe", secret="whsec_0123456789")
    assert "/api/v1/webhooks/stripe/" in page
    assert "whsec_0123456789" not in page
    (source,) = signed_in.get("/api/v1/webhooks/stripe").json()["sources"]
    post(signed_in, action="unstripe", token_of=source["token"])
    assert signed_in.get("/api/v1/webhooks/stripe").json() == {"sources": []}


def test_an_action_that_is_none_is_not_found(signed_in: TestClient) -> None:
    assert post(signed_in, action="delete_all")[0] == 404


def test_the_welcome_notices_the_first_event(signed_in: TestClient, work: Callable[[], None]) -> None:
    page = signed_in.get("/").text
    for text in ('data-waits-for="/first-event"', "curl", "requests.post", "await fetch", "windback.js", "writeKey",
                 "windback import"):  # fmt: skip
        assert text in page
    assert signed_in.get("/first-event").json() == {"arrived": False}
    signed_in.post("/api/v1/track", json=event())
    work()
    assert signed_in.get("/first-event").json() == {"arrived": True}
