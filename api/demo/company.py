"""The simulated company: its customers, their arrival, and everything they did until now.

It begins with customers of long standing, wins new ones at an even pace, and goes on so for ever: a later look at the
same company shows what an earlier one did, and what has happened since.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Any, NamedTuple

from api.demo.life import DAY, Life, Moment
from api.demo.words import address, seats_of

DAYS = 120  # of history on the first look
CUSTOMERS = 500  # by then
OLD_SHARE = 0.6  # of them are there from the beginning
SEED = 1


class Company(NamedTuple):
    """`begins`: the first midnight, in epoch seconds."""

    begins: int
    customers: int = CUSTOMERS
    seed: int = SEED


class DemoCustomer(NamedTuple):
    """A customer and everything they did, oldest first."""

    email: str
    moments: list[Moment]

    @property
    def plan(self) -> str | None:
        """The latest plan that an event names."""
        return next((values["plan"] for _, _, values in reversed(self.moments) if "plan" in values), None)

    @property
    def pays(self) -> bool:
        """True once an invoice was paid."""
        return any(moment.event == "invoice_paid" for moment in self.moments)


def begun(now: float) -> int:
    """Returns the beginning of a company that has DAYS days of history."""
    return (int(now) // DAY - DAYS) * DAY


def joined(company: Company, number: int) -> int:
    """The day on which a customer comes: the number of customers is reached after DAYS days, and grows on then."""
    old = int(company.customers * OLD_SHARE)
    new = company.customers - old
    return max((number - old) * DAYS // new + (number >= company.customers), 0)


def signed_up(company: Company, number: int) -> int | None:
    """Returns the beginning of a customer's history in seconds since the first midnight; None for customers of long
    standing."""
    if number < int(company.customers * OLD_SHARE):
        return None
    return joined(company, number) * DAY + _life(company, number).signs_up_at


def customers(company: Company, until: float) -> Iterator[DemoCustomer]:
    """All customers who have done anything by `until`, in epoch seconds."""
    last = int(until) - company.begins
    for number in count():
        day = joined(company, number)
        if day * DAY > last:
            return
        moments = [moment for moment in _live(company, number, day, last // DAY) if moment.at <= last]
        if moments:
            yield DemoCustomer(address(number), moments)


def events(company: Company, people: list[DemoCustomer]) -> list[dict[str, Any]]:
    """Returns these customers' moments as events for the API, oldest first."""
    every = sorted(
        (moment.at, person.email, moment.event, moment.properties) for person in people for moment in person.moments
    )
    return [
        {
            "event": event,
            "customer_email": email,
            "timestamp": _timestamp(company.begins + at),
            "properties": properties,
        }
        for at, email, event, properties in every
    ]


def _life(company: Company, number: int) -> Life:
    rng = Random(f"{company.seed}/{number}")  # noqa: S311
    aside = Random(f"{company.seed}/{number}/aside")  # noqa: S311
    return Life(rng, aside, established=number < int(company.customers * OLD_SHARE), seats=seats_of(address(number)))


def _live(company: Company, number: int, first: int, last: int) -> Iterator[Moment]:
    life, monday = _life(company, number), company.begins // DAY - 4  # 5 January 1970 was a Monday
    for day in range(first, last + 1):
        yield from life.live(day, working_day=(monday + day) % 7 < 5)


def _timestamp(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
