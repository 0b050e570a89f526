import time

from starlette.testclient import TestClient

from tests.workers.alerts.worlds import alert, rise
from workers.accounts.keys import NewKey
from workers.alerts import webhooks
from workers.store import Connection

DAY = 86400.0


def test_nothing_is_known_at_first(acme: TestClient) -> None:
    assert acme.get("/api/v1/alerts/effect").json() == {
        "alerted": {"customers": 0, "lapsed": 0},
        "held_out": {"customers": 0, "lapsed": 0},
        "difference": None,
        "interval": None,
        "needed": None,
        "by_strategy": [],
    }


def test_both_groups_are_held_side_by_side(acme: TestClient, connection: Connection, key: NewKey) -> None:
    ((account_id,),) = connection.execute("SELECT account_id FROM accounts").fetchall()
    connection.execute("UPDATE accounts SET holdout_percent = 50")
    webhooks.create(connection, account_id, "https://example.com/")
    emails = [f"c{number}@example.com" for number in range(40)]
    rises = [rise(connection, account_id, email) for email in emails]
    alert(connection, account_id, rises, time.time() - 40 * DAY)
    alert(connection, account_id, [rise(connection, account_id, "young@example.com")])
    connection.execute(  # those who were alerted came back, all but one
        """
        INSERT INTO customer_days (customer_id, day, event, detail, n, value, last_at)
        SELECT customer_id, (at + interval '5 days')::date, 'login', '', 1, 0, at + interval '5 days'
        FROM alerts WHERE NOT held_out AND at < now() - interval '1 day' ORDER BY customer_id OFFSET 1
        """
    )
    effect = acme.get("/api/v1/alerts/effect").json()
    alerted, held_out = effect["alerted"], effect["held_out"]
    assert alerted["customers"] + held_out["customers"] == 40
    assert alerted["lapsed"] == 1
    assert held_out["lapsed"] == held_out["customers"]
    low, high = effect["interval"]
    assert low < effect["difference"] < high < 0
    assert effect["needed"] == 0
    (strategy,) = effect["by_strategy"]
    assert strategy == {"strategy": "re_engagement", **{name: effect[name] for name in strategy if name in effect}}
