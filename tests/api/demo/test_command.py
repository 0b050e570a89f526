import pytest

from api.demo.command import Listed, Stranger, continued
from api.demo.company import Company, begun, customers
from api.demo.life import DAY

NOW = 1_795_442_550.0


def listed(company: Company, until: float) -> list[Listed]:
    """As the service knows them."""
    return [
        Listed(person.email, company.begins + person.moments[0].at, company.begins + person.moments[-1].at, True)
        for person in customers(company, until)
    ]


def test_without_a_demo_one_begins() -> None:
    assert continued([], NOW, 20, 3) == (Company(begun(NOW), 20, 3), NOW)


def test_on_the_same_day_it_ends_where_it_did() -> None:
    company = Company(begun(NOW), 60)
    before = listed(company, NOW)
    continued_company, until = continued(before, NOW + 3600, 60)
    assert continued_company == company
    assert listed(continued_company, until) == before


def test_on_a_later_day_it_goes_on_until_then() -> None:
    company = Company(begun(NOW), 60)
    assert continued(listed(company, NOW), NOW + 40 * DAY, 60) == (company, NOW + 40 * DAY)


def test_customers_that_were_erased_meanwhile_do_no_harm() -> None:
    company = Company(begun(NOW), 60)
    assert continued(listed(company, NOW)[::7], NOW, 60)[0] == company


def test_another_company_is_not_continued() -> None:
    other = Company(begun(NOW), 60, seed=2)
    with pytest.raises(Stranger):
        continued(listed(other, NOW), NOW, 60)


def test_a_company_of_another_version_is_not_continued() -> None:
    """Signed up at the same moments, but lived otherwise."""
    earlier = listed(Company(begun(NOW), 60), NOW)
    other = [one._replace(last_seen=one.last_seen - 60) if number % 2 else one for number, one in enumerate(earlier)]
    with pytest.raises(Stranger):
        continued(other, NOW, 60)
