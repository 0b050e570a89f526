import numpy as np
import pytest

from scoring.event_roles import PLAIN, Meaning, explain_bad_mapping, translate
from scoring.events import CHURNED, RECOGNISED
from scoring.learning.backtest import BacktestEvent, backtest
from scoring.learning.outcomes import at_risk, lapsed_within
from scoring.learning.samples import columns_of
from scoring.learning.training import learn
from scoring.rollup import DAY, Row
from scoring.score import ACTIVE, LAPSED, Scores, score
from tests.scoring.simulator import START, Kind, simulate
from tests.scoring.world import NOW, TODAY, logins, rollup, row

OURS = Meaning(("report_shared",), ("account_closed",))


def of(*rows: Row, meaning: Meaning = OURS) -> Scores:
    return score(translate(rollup(*rows), meaning), NOW)


def test_an_engagement_event_is_worth_what_a_used_feature_is() -> None:
    """The same history under another name: the same risk, and the same state."""
    ours, theirs = ([row(name, day) for day in range(3, 40, 2)] for name in ("report_shared", "feature_used"))
    assert of(*ours).probability == pytest.approx(of(*theirs).probability)
    assert of(*ours).state[0] == ACTIVE
    assert of(*ours, meaning=PLAIN).state[0] == LAPSED  # for all that is known, this customer never started
    both = [*logins(5, 9, 12), *ours]
    assert of(*both).probability[0] < of(*both, meaning=PLAIN).probability[0]


def test_a_payment_can_count_as_use_and_stays_a_payment() -> None:
    """An account that sends no logins may name its invoices; what they clear, they still clear."""
    paid = [*(row("invoice_paid", day) for day in range(3, 300, 30)), row("invoice_overdue", 5)]
    meaning = Meaning(("invoice_paid",))
    scores = of(*paid, meaning=meaning)
    assert scores.state[0] == ACTIVE
    assert scores.overdue_since == [None]
    assert of(*paid, *logins(200), meaning=meaning).probability[0] < of(*paid, *logins(200)).probability[0]


def test_who_has_churned_is_lapsed_until_seen_again() -> None:
    """By the account's own word; coming back is stronger, and leaves a risk that fades."""
    closed = [*logins(*range(4, 60, 2)), row("account_closed", 3)]
    assert (of(*closed).state[0], of(*closed, meaning=PLAIN).state[0]) == (LAPSED, ACTIVE)
    back, never = of(*closed, row("login", 1)), of(*logins(1, *range(4, 60, 2)))
    assert back.state[0] == ACTIVE
    assert never.probability[0] < back.probability[0] < of(*closed).probability[0]
    assert "Churn reported on 12 Jun" in [reason.text for reason in of(*closed).reasons[0]]


def test_the_label_knows_what_an_account_calls_churn_and_engagement() -> None:
    """Closing an account is a lapse, whatever is used afterwards; sharing a report is coming back."""
    at = np.array([(TODAY - 40) * DAY])

    def lapsed(*rows: Row, meaning: Meaning = OURS) -> bool:
        return bool(lapsed_within(translate(rollup(*rows), meaning), np.array([0]), at, 30)[0])

    assert lapsed(*logins(41, 45))
    assert not lapsed(*logins(41, 45), row("report_shared", 20))
    assert lapsed(*logins(41, 45), row("report_shared", 20), meaning=PLAIN)
    assert lapsed(*logins(41, 45, 20), row("account_closed", 30))
    assert not lapsed(*logins(41, 45, 20), row("account_closed", 5))


def test_nobody_who_has_churned_is_at_risk() -> None:
    """They are no snapshot to learn from, before they are seen again."""
    closed = translate(rollup(*logins(*range(5, 60)), row("account_closed", 4)), OURS)
    assert len(at_risk(closed, NOW)) == 0
    back = translate(rollup(*logins(2, *range(5, 60)), row("account_closed", 4)), OURS)
    assert len(at_risk(back, NOW)) == 1


def test_training_learns_from_them() -> None:
    """Renamed events teach what the recognised ones do; those with a meaning are no candidates for one."""
    simulated = simulate(Kind(), customers=800)
    renamed = simulated.rollup.where(np.ones(len(simulated.rollup.n), bool))
    renamed.names[:] = ["seat_used" if name == "login" else name for name in simulated.rollup.names]
    now = (START + 210) * DAY
    blind, seeing = (
        learn(renamed, now, horizon_days=30),
        learn(translate(renamed, Meaning(("seat_used",))), now, horizon_days=30),
    )
    assert blind.training.snapshots == 0
    assert seeing.training.replaced
    closing = Meaning(("seat_used",), ("subscription_downgraded_by_hand",))
    assert columns_of(translate(renamed, closing)) == columns_of(translate(renamed, Meaning(("seat_used",))))


def test_what_means_churn_is_a_column_of_its_own() -> None:
    rows = [*logins(*range(0, 60)), *(row("account_closed", day) for day in range(0, 60, 3))]
    assert "churned" in columns_of(translate(rollup(*rows), OURS))
    assert "event:account_closed" in columns_of(rollup(*rows))
    assert not any(CHURNED in name for name in columns_of(translate(rollup(*rows), OURS)))


def test_a_backtest_takes_them() -> None:
    events = [
        BacktestEvent(f"c{customer}", "report_shared", (START + day) * DAY, {})
        for customer in range(40)
        for day in range(0, 120 if customer % 2 else 50, 3)
    ]
    with pytest.raises(ValueError, match="nothing to score"):
        backtest(events)
    report, _ = backtest(events, meaning=OURS)
    assert report.untrained.snapshots > 50
    assert report.untrained.lapses == 20


@pytest.mark.parametrize("name", sorted(RECOGNISED))
def test_a_name_that_stands_for_a_recognised_event_is_worth_what_that_is(name: str) -> None:
    detail = "3" if name == "nps_response" else "exports"
    renamed = Meaning(stands_for={"Thing Done": name})
    both = [
        of(*logins(*range(9, 60, 3)), *(row(each, day, detail) for day in (8, 20)), meaning=renamed)
        for each in (name, "Thing Done")
    ]
    assert both[0].probability == pytest.approx(both[1].probability)
    assert both[0].reasons == both[1].reasons


def test_a_mapping_is_read_back_as_it_was_written() -> None:
    mappings = {"Signed In": "login", "closed": "churn", "report_shared": "engagement", "gone": "churn"}
    meaning = Meaning.of_mappings(mappings)
    assert meaning.mappings == mappings
    assert sorted(meaning.names_of({CHURNED})) == ["closed", "gone"]
    assert meaning.names_of({"feature_used"}) == ["report_shared"]


@pytest.mark.parametrize(
    ("name", "role", "fault"),
    [
        ("Signed In", "login", None),
        ("Signed In", "churn", None),
        ("Signed In", "sign_in", "choose one of"),
        ("login", "feature_used", "has its own meaning"),
        ("", "login", "can't be the name"),
        ("a\nb", "login", "can't be the name"),
        ("x" * 201, "login", "can't be the name"),
    ],
)
def test_what_can_be_mapped(name: str, role: str, fault: str | None) -> None:
    found = explain_bad_mapping(name, role)
    assert found is None if fault is None else found and fault in found
