import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.events import RECOGNISED
from scoring.history import history_of
from scoring.levels import LevelBounds
from scoring.model import PRIOR, logit, points, sigmoid
from scoring.prior import BASE_RATE
from scoring.rollup import DAY, Row
from scoring.score import ACTIVE, LAPSED, NEW, Scores, score
from tests.scoring.plain import risk_of
from tests.scoring.world import NOW, any_row, any_rows, details, logins, rollup, row

NEGATIVE = [
    ("subscription_downgraded", ""),
    ("invoice_overdue", ""),
    ("refund_requested", ""),
    ("support_ticket_opened", ""),
    ("nps_response", "3"),
]


def of(*rows: Row, now: float = NOW) -> Scores:
    return score(rollup(*rows), now)


def risk(*rows: Row, now: float = NOW) -> float:
    return float(of(*rows, now=now).probability[0])


@given(any_rows, st.floats(1, 365))
def test_a_risk_is_a_probability_whatever_happened(rows: list[Row], horizon: float) -> None:
    """Risks are finite and within 0 to 1, due times lie ahead by at most a day."""
    scores = score(rollup(*rows, customers=3), NOW, horizon_days=horizon)
    assert ((scores.probability >= 0) & (scores.probability <= 1)).all()
    assert ((scores.next_due > NOW) & (scores.next_due <= NOW + DAY)).all()
    assert all(len(reasons) <= 6 for reasons in scores.reasons)


@given(any_rows, st.lists(st.floats(0, 400), min_size=2, max_size=6))
def test_a_risk_never_falls_in_silence(rows: list[Row], waits: list[float]) -> None:
    """While nothing but time passes, every customer's risk stays or rises."""
    world = rollup(*rows, customers=3)
    risks = np.array([score(world, NOW + wait * DAY).probability for wait in [0, *sorted(waits)]])
    assert (np.diff(risks, axis=0) >= -1e-12).all()


@given(any_rows, st.randoms())
def test_the_order_of_rows_carries_no_meaning(rows: list[Row], random: object) -> None:
    """Shuffled rows give the same scores, reasons and advice."""
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, two = score(rollup(*rows, customers=3), NOW), score(rollup(*shuffled, customers=3), NOW)
    assert one.probability == pytest.approx(two.probability, abs=1e-9)
    assert [[reason.text for reason in reasons] for reasons in one.reasons] == [
        [reason.text for reason in reasons] for reasons in two.reasons
    ]
    assert one.advice == two.advice
    assert one.plan == two.plan


@given(any_rows)
def test_contributions_add_up_to_the_logit(rows: list[Row]) -> None:
    """Baseline and contributions are the whole risk: in log-odds, and as points above the baseline's risk."""
    scores = score(rollup(*rows, customers=3), NOW)
    total = scores.baseline + scores.contributions.sum(axis=1)
    assert sigmoid(total) == pytest.approx(scores.probability)
    shares = points(scores.baseline, scores.contributions).sum(axis=1)
    assert shares == pytest.approx(100 * (scores.probability - float(sigmoid(np.array(scores.baseline)))), abs=1e-6)


@given(st.lists(any_row(customers=1), max_size=20), st.sampled_from(NEGATIVE), st.floats(0, 400))
def test_a_negative_signal_never_lowers_the_risk(rows: list[Row], signal: tuple[str, str], days_ago: float) -> None:
    """One complaint, unpaid invoice, downgrade, refund request or low score more: never a lower risk.

    An NPS response replaces the one before, so it may only come last; a ticket must not be the one that was resolved.
    """
    event, detail = signal
    days_ago = days_ago if event != "nps_response" else 0.0
    before, after = risk(*rows), risk(*rows, row(event, days_ago, detail))
    assert after >= before - 1e-12


def test_a_complaint_before_the_first_login_makes_nobody_a_slow_old_customer() -> None:
    """A rhythm is known since the first event that is no complaint."""
    assert risk(*logins(56), row("invoice_overdue", 219)) >= risk(*logins(56))


@given(any_rows)
def test_a_customer_is_due_when_silence_alone_changes_the_level(rows: list[Row]) -> None:
    """Just before the due time the level is still the same; just after it, if within a day, it has changed."""
    levels, world = LevelBounds(), rollup(*rows, customers=3)
    scores = score(world, NOW, levels=levels)
    for customer, due in enumerate(scores.next_due):
        before = score(world, max(NOW, due - 1), levels=levels).probability[customer]
        assert levels.name(before) == levels.name(scores.probability[customer])
        if due < NOW + DAY:
            after = score(world, due + 1, levels=levels).probability[customer]
            assert levels.name(after) != levels.name(scores.probability[customer])


def test_silence_crosses_a_level_at_its_due_time() -> None:
    """A daily user who stops becomes medium at a moment that was known the day before."""
    world = rollup(*logins(*range(60)))
    now = NOW
    while (due := float(score(world, now).next_due[0])) == now + DAY:
        now = due
    assert score(world, due - 1).probability[0] < 0.2 <= score(world, due + 1).probability[0]


def test_a_customer_without_a_history_gets_the_base_rate() -> None:
    """No rows: the base rate, new, low confidence, no reasons."""
    scores = of()
    assert scores.probability[0] == pytest.approx(BASE_RATE)
    assert scores.state[0] == NEW
    assert scores.low_confidence[0]
    assert scores.reasons[0] == []


def test_what_lies_after_now_is_not_looked_at() -> None:
    """A row one second ahead changes nothing, except that the customer is due when it comes to count."""
    rows = logins(1, 5, 9)
    plain, ahead = of(*rows), of(*rows, row("invoice_overdue", -1 / DAY), row("login", -40))
    assert plain.probability[0] == ahead.probability[0]
    assert plain.reasons == ahead.reasons
    assert ahead.next_due[0] == pytest.approx(NOW + 1)


def test_a_regular_visitor_is_safer_than_a_fading_one() -> None:
    """The same number of active days says less the longer ago they are."""
    assert risk(*logins(*range(0, 40, 4))) < risk(*logins(*range(9, 49, 4))) < risk(*logins(*range(29, 69, 4)))


def test_use_of_a_feature_is_engagement_as_much_as_a_login() -> None:
    """Either event makes the same active day."""
    assert risk(row("feature_used", 3), row("feature_used", 8)) == pytest.approx(risk(*logins(3, 8)))


def test_more_events_on_a_day_are_still_one_active_day() -> None:
    """A million events change nothing beyond the day they fall on."""
    assert risk(row("login", 3, n=1_000_000), row("feature_used", 3, "exports", n=50)) == risk(*logins(3))


def test_a_paid_invoice_clears_the_overdue_one() -> None:
    """Overdue raises the risk until a payment comes."""
    history = logins(1, 3, 5, 8)
    overdue, paid = [*history, row("invoice_overdue", 4)], [*history, row("invoice_overdue", 4), row("invoice_paid", 2)]
    assert risk(*paid) < risk(*history) < risk(*overdue)
    assert of(*overdue).overdue_since[0] == NOW - 4 * DAY
    assert of(*paid).overdue_since[0] is None


def test_open_tickets_are_never_below_zero() -> None:
    """A resolution without its opening does not pay for the next ticket."""
    assert of(row("support_ticket_resolved", 9, n=5), row("support_ticket_opened", 5)).open_tickets == [1]
    assert of(row("support_ticket_opened", 5, n=2), row("support_ticket_resolved", 3)).open_tickets == [1]
    assert of(row("support_ticket_opened", 5), row("support_ticket_resolved", 3)).open_tickets == [0]


def test_a_ticket_that_waits_a_week_raises_the_risk() -> None:
    """The oldest ticket counts, the first opened being the first resolved."""
    history = logins(0.1, 3, 5, 30)
    waiting = [row("support_ticket_opened", 20), row("support_ticket_opened", 3), row("support_ticket_resolved", 2)]
    fresh, old = [row("support_ticket_opened", 6)], [row("support_ticket_opened", 8)]
    assert risk(*history, *waiting) < risk(*history, *old)
    assert risk(*history) < risk(*history, *fresh) < risk(*history, *old)


def test_the_last_nps_response_is_the_one_that_counts() -> None:
    """Detractors are at a higher risk, promoters at a lower, passives and unreadable scores at neither."""
    history = logins(1, 3, 5, 8)
    plain = risk(*history)
    assert risk(*history, row("nps_response", 2, "3")) > plain > risk(*history, row("nps_response", 2, "9"))
    assert risk(*history, row("nps_response", 2, "7")) == plain == risk(*history, row("nps_response", 2, ""))
    assert risk(*history, row("nps_response", 6, "3"), row("nps_response", 2, "8")) == plain
    assert of(row("nps_response", 6, "3"), row("nps_response", 2, "8")).nps == [8]


def test_states_follow_the_own_cadence() -> None:
    """Lapsed after 14 days, or twice the own median gap where that is longer, and never while a return is likely."""
    assert of(*logins(13.9, 15, 16)).state[0] == ACTIVE
    assert of(*logins(*range(15, 60))).state[0] == LAPSED
    assert of(*logins(55, 85, 115)).state[0] == ACTIVE
    assert of(*logins(91, 121, 151)).state[0] == LAPSED
    weekly = of(*logins(*range(21, 200, 7)))
    assert (weekly.state[0], weekly.probability[0] < 0.5) == (ACTIVE, True)


def test_patience_ends_after_ninety_days() -> None:
    """Two visits that lie 300 days apart are no rhythm to wait for."""
    assert of(*logins(200, 500)).state[0] == LAPSED


def test_nobody_is_new_for_longer_than_the_horizon() -> None:
    """A customer who never came is lapsed after max(14 days, the horizon): never started."""
    assert of(row("trial_started", 3)).state[0] == NEW
    assert of(row("trial_started", 29)).state[0] == NEW
    never = of(row("trial_started", 31))
    assert never.state[0] == LAPSED
    assert never.reasons[0][0].text == "Never started: no login or feature used"
    short = score(rollup(row("trial_started", 15)), NOW, horizon_days=7)
    assert short.state[0] == LAPSED


def test_a_customer_who_pays_and_never_logs_in_is_active() -> None:
    """Judged by the rhythm of the payments: steady over the month, and lapsed when two of them are missing."""
    paying = [[row("invoice_paid", day) for day in range(first, 390, 30)] for first in (2, 15, 28, 100)]
    scores = [of(*rows) for rows in paying]
    assert [made.state[0] for made in scores] == [ACTIVE, ACTIVE, ACTIVE, LAPSED]
    assert scores[2].probability[0] - scores[0].probability[0] < 0.2
    assert scores[0].horizon_days[0] == 60
    assert scores[3].reasons[0][0].text.startswith("No payment for 100 days")


def test_no_low_risk_is_lapsed() -> None:
    """Level and state never contradict each other."""
    for gap in (1, 2, 7, 14, 30, 90):
        for silent in (0, 10, 14, 20, 31, 45, 61, 91, 150):
            made = of(*logins(*range(silent, silent + 30 * gap, gap)))
            assert made.state[0] != LAPSED or made.probability[0] >= 0.5


def test_a_newcomer_is_not_the_safest_of_all() -> None:
    """A single active day is weak evidence, and the reasons name it; help comes from the second silent day on."""
    rows = [row("trial_started", 3), *logins(3)]
    newcomer = of(*rows)
    assert 0.3 < newcomer.probability[0] < 0.6
    assert risk(*logins(0)) > risk(*logins(0, 1)) > risk(*logins(0, 1, 2, 3, 4))
    assert "Only 1 active day so far" in [reason.text for reason in newcomer.reasons[0]]
    assert newcomer.advice[0].strategy == "onboarding_help"


def test_what_servers_send_is_no_activity() -> None:
    """Twenty drip mails change nothing about a trial that nobody has used."""
    mails = [row("email_sent", day / 7) for day in range(20)]
    assert risk(row("trial_started", 3), *mails) == risk(row("trial_started", 3))


def test_a_slow_regular_customer_is_asked_over_twice_the_own_rhythm() -> None:
    """Once a month for a year, the last time yesterday: low, active, and nothing to do; the same for each quarter."""
    monthly, quarterly = of(*logins(*range(1, 366, 30))), of(*logins(*range(5, 366, 90)))
    assert (monthly.horizon_days[0], quarterly.horizon_days[0]) == (60, 180)
    assert monthly.probability[0] < 0.2
    assert quarterly.probability[0] < 0.4
    assert (monthly.advice[0].strategy, quarterly.advice[0].strategy) == ("none", "none")
    late = of(*logins(*range(20, 366, 30))).reasons[0]
    assert any(reason.text.endswith("usually active every 30 days: this risk looks 60 days ahead") for reason in late)


@pytest.mark.parametrize(
    ("matter", "floor"),
    [
        ([row("refund_requested", 1)], 0.5),
        ([row("trial_ended", 6)], 0.25),
        ([row("subscription_downgraded", 2, plan="free")], 0.5),
    ],
)
def test_an_open_matter_lifts_the_risk_whatever_the_activity(matter: list[Row], floor: float) -> None:
    """A daily user who asks for the money back stands high in the list, and the lift is the matter's own share."""
    made = of(*logins(*range(60)), *matter)
    assert made.probability[0] == pytest.approx(floor)
    assert made.reasons[0][0].signal == matter[0][2]
    assert of(*logins(*range(60)), *matter, row("subscription_renewed", 0.5)).probability[0] < 0.1
    old = [(*part[:6], part[6] - 40 * DAY, part[7]) for part in matter]
    assert of(*logins(*range(60)), *((part[0], int(part[6] // DAY), *part[2:]) for part in old)).probability[0] < 0.2


def test_several_open_matters_add_up() -> None:
    """Everything bad at once is critical."""
    rows = [row("refund_requested", 1), row("subscription_downgraded", 2, plan="free"), row("nps_response", 1, "0")]
    made = of(*logins(*range(60)), *rows, row("invoice_overdue", 9), row("support_ticket_opened", 5))
    assert made.probability[0] == pytest.approx(0.75)


def test_a_renewal_clears_an_overdue_invoice() -> None:
    """It is a payment."""
    made = of(*logins(*range(60)), row("invoice_overdue", 40), row("subscription_renewed", 10))
    assert made.overdue_since == [None]


def test_no_risk_is_certain_and_no_share_is_over_a_hundred_points() -> None:
    """A daily user rises within the second week of silence, and never reaches 100 %."""
    risks = [risk(*logins(*range(silent, silent + 90))) for silent in (0, 3, 7, 14, 30, 60, 400)]
    assert risks == sorted(risks)
    assert 0.15 < risks[2] < 0.35
    assert 0.35 < risks[3] < 0.65
    assert risks[-1] <= 0.99
    made = of(*logins(*range(14, 104)), row("invoice_overdue", 40), row("refund_requested", 20))
    assert all(abs(reason.points) <= 100 for reason in made.reasons[0])


def test_a_custom_event_moves_nothing_until_a_model_weighs_it() -> None:
    """The day-one formula knows the recognised events only."""
    assert risk(*logins(1, 5), row("report_shared", 2)) == risk(*logins(1, 5))


def test_thousands_of_custom_events_cost_nothing() -> None:
    """Only those that a model weighs are looked at one by one."""
    rows = [row(f"custom {k}", k % 50) for k in range(5000)]
    history = history_of(rollup(*rows, row("invoice_paid", 3)), NOW, ["event:custom 7", "activity"])
    assert set(history.signals) == {"invoice_paid", "custom 7"}


def test_the_plan_is_the_last_one_named() -> None:
    """By time, not by order of rows."""
    assert of(row("login", 2, plan="pro"), row("login", 9, plan="free")).plan == ["pro"]


@pytest.mark.parametrize("horizon", [0, -1, float("nan"), float("inf")])
def test_a_horizon_must_be_positive(horizon: float) -> None:
    """A senseless horizon is an error, not a number."""
    with pytest.raises(ValueError, match="horizon_days"):
        score(rollup(), NOW, horizon_days=horizon)


def test_the_baseline_of_the_day_one_formula_is_its_base_rate() -> None:
    """Unknown facts count neither against nor for a customer."""
    assert PRIOR.baseline == pytest.approx(logit(BASE_RATE))


def test_payments_count_until_the_first_engagement() -> None:
    """A customer who pays monthly is known to be there before any login; complaints are no sign of that."""
    never, paying = risk(row("trial_started", 300)), risk(*(row("invoice_paid", day) for day in range(5, 300, 30)))
    assert paying < 0.35 < 0.6 < never
    assert risk(row("trial_started", 300), *(row("support_ticket_opened", day) for day in range(5, 300, 30))) >= never


def test_a_first_login_does_not_forget_the_payments_before() -> None:
    """The days of payments stay active days; later ones are none any more."""
    paying = [row("invoice_paid", day) for day in range(5, 300, 30)]
    assert risk(*paying, row("login", 4)) < risk(row("login", 4))
    before = of(*paying, row("login", 4)).contributions[0]
    after = of(*paying, row("login", 4), row("invoice_paid", 2)).contributions[0]
    assert before[0] == pytest.approx(after[0])


@st.composite
def recent_row(draw: st.DrawFn) -> Row:
    """A row of the last 300 days, of no more events a day than count. Ids of invoices are tested in test_invoices."""
    event = draw(st.sampled_from([*RECOGNISED, "login", "feature_used", "report_shared"]))
    detail = "" if event.startswith("invoice_") else draw(details(event))
    plan = draw(st.sampled_from([None, "pro", "free"]))
    return row(event, draw(st.floats(0, 300)), detail, n=draw(st.integers(1, 3)), plan=plan)


@given(st.lists(recent_row(), max_size=25), st.sampled_from([14.0, 30.0, 90.0]))
def test_a_risk_is_the_formula_to_the_last_digit(rows: list[Row], horizon: float) -> None:
    """No optimisation changes a risk."""
    vectorised = score(rollup(*rows), NOW, horizon_days=horizon).probability[0]
    assert vectorised == pytest.approx(risk_of(rows, NOW, horizon), abs=1e-9)


def test_words_fit_the_sign_of_their_points() -> None:
    """What raises a risk reads so: few active days are only so many, and a first day is no proof of loyalty."""
    regular, first_day = of(*logins(*range(31, 400, 30))), of(*logins(0.04))
    raising = [reason.text for scores in (regular, first_day) for reason in scores.reasons[0] if reason.points > 0]
    assert "Active today for the first time" in raising
    assert all(text.startswith("Only ") for text in raising if "active day" in text)
    assert not [text for text in raising if text.startswith("Active on")]
