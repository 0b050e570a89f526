from collections import Counter
from datetime import UTC, datetime
from functools import cache

import msgspec
import pytest

from api.demo.company import CUSTOMERS, DAYS, Company, DemoCustomer, begun, customers, events
from api.demo.life import DAY
from api.demo.words import DOMAIN, address, traits_of
from scoring.events import RECOGNISED, detail_of, plan_of, value_of
from scoring.learning.training import REGRESS, learn
from scoring.levels import NAMES, LevelBounds
from scoring.rollup import Rollup, Row
from scoring.score import score
from scoring.states import ACTIVE
from workers.buffer.lint import find_personal_data, strip_spelling

STRATEGIES = {
    "payment_recovery", "refund_rescue", "support_follow_up", "detractor_outreach", "downgrade_rescue",
    "onboarding_help", "trial_conversion", "re_engagement", "none",
}  # fmt: skip
NOW = datetime(2026, 11, 23, 14, 2, 30, tzinfo=UTC).timestamp()
DATES = [NOW, NOW + 40.6 * DAY, NOW + 213.8 * DAY]


@cache
def told(now: float) -> tuple[Company, list[DemoCustomer]]:
    company = Company(begun(now))
    return company, list(customers(company, now))


def rollup(company: Company, people: list[DemoCustomer]) -> Rollup:
    """The daily counts that ingest would make of it."""

    def row(number: int, at: int, event: str, properties: dict[str, object]) -> Row:
        detail, value = detail_of(event, properties), value_of(event, properties)
        return (number, at // DAY, event, detail, 1, value, float(at), plan_of(properties))

    return Rollup.from_rows(
        len(people),
        (
            row(number, company.begins + moment.at, moment.event, moment.properties)
            for number, person in enumerate(people)
            for moment in person.moments
        ),
    )


@pytest.mark.parametrize("now", DATES)
def test_there_are_as_many_customers_as_were_asked_for_all_with_events(now: float) -> None:
    company, people = told(now)
    assert len(people) == CUSTOMERS == len({person.email for person in people})
    every = [moment for person in people for moment in person.moments]
    assert 40_000 < len(every) < 80_000
    assert set(RECOGNISED) < {moment.event for moment in every}
    assert now - 0.5 * DAY < company.begins + max(moment.at for moment in every) <= now
    assert min(moment.at for moment in every) >= 0
    for person in people:
        assert person.moments == sorted(person.moments, key=lambda moment: moment.at)


def test_the_same_seed_gives_the_same_company_and_another_one_another() -> None:
    company = Company(begun(NOW), 20)
    assert list(customers(company, NOW)) == list(customers(company, NOW))
    assert list(customers(company, NOW)) != list(customers(company._replace(seed=2), NOW))


def test_a_later_look_begins_with_what_an_earlier_one_saw() -> None:
    company = Company(begun(NOW), 50)
    early = {person.email: person.moments for person in customers(company, NOW)}
    late = {person.email: person.moments for person in customers(company, NOW + 30 * DAY)}
    assert len(late) > len(early)
    for email, moments in early.items():
        assert late[email][: len(moments)] == moments
        assert all(company.begins + moment.at > NOW for moment in late[email][len(moments) :])


def test_work_is_done_on_working_days() -> None:
    company, people = told(NOW)
    logins = Counter(
        datetime.fromtimestamp(company.begins + moment.at, UTC).weekday()
        for person in people
        for moment in person.moments
        if moment.event == "login"
    )
    assert max(logins[5], logins[6]) < min(logins[day] for day in range(5)) / 2


def test_events_are_in_order_complete_and_by_nobody_real() -> None:
    company = Company(begun(NOW), 30)
    people = list(customers(company, NOW))
    simulated = events(company, people)
    assert len(simulated) == sum(len(person.moments) for person in people)
    assert [event["timestamp"] for event in simulated] == sorted(event["timestamp"] for event in simulated)
    assert {event["customer_email"].partition("@")[2] for event in simulated} == {DOMAIN}
    assert len({address(number) for number in range(10_000)}) == 10_000


def test_events_give_no_cause_for_warnings() -> None:
    """No names that are nearly the same, and nothing that looks like personal data."""
    company = Company(begun(NOW), 100)
    simulated = events(company, list(customers(company, NOW)))
    names = {event["event"] for event in simulated}
    assert len({strip_spelling(name) for name in names}) == len(names)
    assert not any(find_personal_data(msgspec.json.encode(event), event["properties"]) for event in simulated)


@pytest.mark.parametrize("now", DATES)
def test_risks_of_all_levels_are_there_and_every_advice(now: float) -> None:
    company, people = told(now)
    scores = score(rollup(company, people), now)
    assert {LevelBounds().name(probability) for probability in scores.probability.tolist()} == set(NAMES)
    assert {advice.strategy for advice in scores.advice} - {"feature_win_back"} == STRATEGIES
    assert (scores.state == ACTIVE).sum() > CUSTOMERS / 2


@pytest.mark.parametrize("now", [*DATES[:2], *(NOW + day * DAY for day in range(1, 7))])
def test_there_is_something_to_learn(now: float) -> None:
    """On every day of the week: enough leave, the formula sees most of it coming, what is learnt does better, and
    people are leaving just now."""
    company, people = told(now)
    days = rollup(company, people)
    training = learn(days, now, horizon_days=30).training
    assert training.lapses > 2 * REGRESS
    assert training.replaced
    assert (training.holdout["in use"].auc or 0) > 0.75
    scores = score(days, now, model=training.model)
    active = scores.probability[scores.state == ACTIVE]
    assert (active > LevelBounds().high).sum() >= 3
    assert (active < LevelBounds().medium).sum() > CUSTOMERS / 3


def test_export_failures_tell_of_leaving_and_the_noise_does_not() -> None:
    company, people = told(NOW)
    training = learn(rollup(company, people), NOW, horizon_days=30).training
    assert [candidate.event for candidate in training.candidates if candidate.in_use] == ["export_failed"]


def test_the_company_begins_so_long_ago() -> None:
    assert begun(NOW) == NOW // DAY * DAY - DAYS * DAY


def test_the_story_has_an_outage_calls_and_companies_of_unequal_worth() -> None:
    _, people = told(NOW)
    days = {moment.at // DAY for person in people for moment in person.moments if moment.event == "outage_seen"}
    assert days <= {7, 8, 97, 98}
    assert {97, 98} & days
    called = sum(moment.event == "success_call" for person in people for moment in person.moments)
    assert called > 10
    traits = [traits_of(person.email, person.plan, pays=person.pays) for person in people]
    assert all(values["name"] and values["company"] and values["plan"] for values in traits)
    worth = Counter[str]()
    for values in traits:
        worth[values["company"]] += values.get("mrr", 0) // 100
    assert worth.most_common(1)[0][1] > 10_000


def test_a_customer_pays_each_month_what_the_bills_say() -> None:
    _, people = told(NOW)
    for person in people:
        paid = [moment.properties["amount"] for moment in person.moments if moment.event == "invoice_paid"]
        mrr = traits_of(person.email, person.plan, pays=person.pays).get("mrr")
        assert (mrr is None) == (not paid)
        plans = {moment.properties.get("plan") for moment in person.moments} - {None}
        assert len(plans) > 1 or not paid or mrr == paid[-1] * 100
