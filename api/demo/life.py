"""One customer's life, day by day: a rhythm of visits, bills, tickets, and stories of which many end in leaving.

Chance comes from generators in the order of the days, so that a longer life begins with the shorter one. Side stories
(outages, calls) have a generator of their own.
"""

from random import Random
from typing import Any, Final, NamedTuple

from api.demo import stories
from api.demo.stories import Chapter, Story
from api.demo.words import BLAME, COMPLAINTS, FEATURES, INTEGRATIONS, PLANS, PRAISE, TICKETS

DAY, HOUR = 86400, 3600  # seconds
TRIAL_DAYS, MONTH_DAYS = 14, 30
OVERDUE: Final = 0.04  # of the bills
LEFT_UNPAID: Final = 0.15  # of the first bills after a customer left
LOSES_PATIENCE: Final = 0.11  # a day on which exports fail
COMPLAINS_IN_OUTAGE: Final = 0.15
CALLED: Final = 0.6  # of the saved customers, by a call
OUTAGE_EVERY, OUTAGE_DAYS = 90, (7, 8)  # the exports of everybody are out
TIERS: Final = list(PLANS)


class Moment(NamedTuple):
    """Something that a customer does; `at` in seconds since the company's first midnight."""

    at: int
    event: str
    properties: dict[str, Any]


class Life:
    """The life of a customer of long standing, or of one that begins a trial now."""

    def __init__(self, rng: Random, aside: Random, *, established: bool, seats: int = 1) -> None:
        self._rng = rng
        self.signs_up_at = rng.randrange(7 * HOUR, 17 * HOUR)  # of the first day; the first draw of all
        self._trial, self._new = not established, not established
        self._plan, self._seats = rng.choices(TIERS, (34, 44, 22))[0], seats
        if seats > 1:
            self._plan = TIERS[-1]
        rare = rng.random() < 0.05
        self._visits = rng.uniform(0.03, 0.12) if rare else 0.1 + 0.85 * rng.betavariate(2.0, 1.3)  # on a working day
        self._weekends = 0.9 if rng.random() < 0.12 else rng.uniform(0.02, 0.2)  # share of that on others
        self._hour = min(max(rng.gauss(12.0, 3.0), 7.0), 19.0)
        self._features = [] if rng.random() < 0.07 else rng.sample(list(FEATURES), rng.randint(2, 5))
        self._fragile = rng.lognormvariate(-0.1, 0.5)
        self._team, self._integrates_in = rng.random() < 0.45, rng.randint(3, 60) if rng.random() < 0.35 else -1
        self._asked_in, self._bill_in = rng.randint(10, 70), rng.randrange(MONTH_DAYS) if established else TRIAL_DAYS
        self._failing_days = 0
        self._tickets: list[int] = []  # days until each is resolved
        self._invoices = 0
        self._came = self._owes = self.gone = self._closed = False
        self._chapter = None if established else self._first_chapter()
        self._begins, self._today = 0, list[Moment]()
        self._aside, self._outage, self._outage_ticket = aside, False, 0

    def live(self, day: int, *, working_day: bool) -> list[Moment]:
        """Yields the moments of the next day, in order."""
        self._begins, self._today = day * DAY, []
        self._outage = day % OUTAGE_EVERY in OUTAGE_DAYS
        self._answer_outage()
        if self._new:
            self._add(self.signs_up_at, "trial_started", plan=self._plan)
        if not self.gone:
            self._visit(working_day)
            self._tell()
        self._bill()
        self._new = False
        return sorted(self._today, key=lambda moment: moment.at)

    def _add(self, second: float, event: str, **properties: Any) -> None:
        self._today.append(Moment(self._begins + min(int(second), DAY - 1), event, properties))

    def _chance(self, probability: float) -> bool:
        return self._rng.random() < probability

    def _office_hour(self) -> float:
        return self._rng.uniform(8, 18) * HOUR

    def _first_chapter(self) -> Chapter | None:
        drawn = self._rng.random()
        if drawn < 0.015:
            return self._chapter_of(stories.NEVER_CAME)
        return self._chapter_of(stories.NOT_ONBOARDED) if drawn < 0.13 else None

    def _chapter_of(self, story: Story) -> Chapter:
        return Chapter(story, self._rng.randint(*story.days))

    def _in(self, *wanted: Story) -> bool:
        return self._chapter is not None and self._chapter.story in wanted

    # Visits.

    def _visit(self, working_day: bool) -> None:
        chance = self._visits * (1.0 if working_day else self._weekends)
        chance *= self._chapter.use if self._chapter else 1.0
        if not self._came and not self._in(stories.NEVER_CAME):
            chance = max(chance, 0.95 if self._new else 0.3)
        if not self._chance(chance):
            return
        self._came = True
        usual = (self._hour + self._rng.gauss(0, 1.5)) * HOUR
        second = max(usual, self.signs_up_at + 60) if self._new else min(max(usual, 5 * HOUR), 21 * HOUR)
        self._add(second, "login", plan=self._plan, device=self._rng.choice(("desktop", "desktop", "mobile")))
        for _ in range(self._rng.randint(1, 4)):
            second = self._use(second + self._rng.randint(20, 400))
        self._extras(second)

    def _use(self, second: float) -> float:
        """Use a feature, mostly the favourite one. Customers stop using it before they leave."""
        lost = self._in(stories.DRIFTING) and self._chapter and self._chapter.progress > 0.3
        features = self._features[1:] if lost else self._features
        if not features:
            return second
        feature = features[min(int(self._rng.expovariate(1.2)), len(features) - 1)]
        page, usual = FEATURES[feature]
        seconds = int(usual * self._rng.lognormvariate(0, 0.5) * (self._chapter.use if self._chapter else 1.0)) + 5
        self._add(second, "feature_used", feature=feature, page=page, plan=self._plan, duration_seconds=seconds)
        return second + seconds

    def _extras(self, second: float) -> None:
        """Adds events that only this product has: some predict who stays, some are noise."""
        if self._outage:
            self._see_outage(second + 30)
        if self._failing_days and self._chance(0.75):
            self._add(second + 30, "export_failed", reason=self._rng.choice(("timeout", "too_many_rows")))
        if self._team and self._chance(0.06):
            self._add(second + 60, "team_member_invited", role=self._rng.choice(("viewer", "editor")))
        if self._chance(0.10):
            self._add(second + 90, "report_shared", channel=self._rng.choice(("link", "pdf")))
        if self._chance(0.06):
            self._add(second + 120, "help_article_viewed", page="/help/" + self._rng.choice(list(FEATURES)))
        if self._chance(0.01):
            self._add(second + 150, "theme_changed", theme=self._rng.choice(("dark", "light")))

    def _see_outage(self, second: float) -> None:
        self._add(second, "outage_seen", feature="exports")
        if not self._outage_ticket and self._aside.random() < COMPLAINS_IN_OUTAGE:
            self._outage_ticket = self._aside.randint(2, 5)
            self._add(second + 300, "support_ticket_opened", subject=self._aside.choice(COMPLAINTS))

    def _answer_outage(self) -> None:
        if self._outage_ticket:
            self._outage_ticket -= 1
            if not self._outage_ticket:
                self._add(self._aside.uniform(8, 18) * HOUR, "support_ticket_resolved", answered_by="sam")

    # The story.

    def _tell(self) -> None:
        """Adds the day's events besides visits, and moves the story on."""
        self._occasions()
        if self._failing_days:
            self._failing_days -= 1
        elif self._chance(0.0045):
            self._failing_days = self._rng.randint(8, 20)
        if self._chapter is None:
            self._chapter = self._begin()
            return
        if self._in(stories.FRUSTRATED) and self._chance(0.10):
            self._open_ticket(COMPLAINTS, self._rng.randint(9, 40))
        self._chapter.day += 1
        if self._chapter.day >= self._chapter.days:
            self._end(self._chapter.story)

    def _begin(self) -> Chapter | None:
        if self._failing_days and self._chance(LOSES_PATIENCE):
            return self._chapter_of(stories.FRUSTRATED)
        if self._trial or self._owes:
            return self._chapter_of(stories.UNPAID) if self._owes else None
        kept = self._fragile * (0.5 if self._team else 1.0) * (0.5 if self._integrates_in == 0 else 1.0)
        for story, probability in stories.A_DAY.items():
            if self._chance(probability * kept):
                self._downgrade(story)
                return self._chapter_of(story)
        return None

    def _downgrade(self, story: Story) -> None:
        if story == stories.DOWNGRADED and self._plan != TIERS[0]:
            before, self._plan = self._plan, TIERS[TIERS.index(self._plan) - 1]
            self._add(self._office_hour(), "subscription_downgraded", previous_plan=before, plan=self._plan)

    def _end(self, story: Story) -> None:
        self._chapter = None
        if self._chance(story.ends_well):
            self._tickets, self._failing_days = [min(left, 1) for left in self._tickets], 0
            if self._aside.random() < CALLED:
                self._add(self._aside.uniform(8, 18) * HOUR, "success_call", topic=story.name, by="kim")
            if self._owes:
                self._pay()
            return
        self.gone = True
        if story == stories.FRUSTRATED and self._chance(0.45):
            self._add(self._office_hour(), "refund_requested", amount=self._amount(), reason=self._rng.choice(BLAME))

    # Occasions.

    def _occasions(self) -> None:
        if self._integrates_in > 0:
            self._integrates_in -= 1
            if self._integrates_in == 0:
                self._add(self._office_hour(), "integration_connected", integration=self._rng.choice(INTEGRATIONS))
        if self._chance(0.0025):
            self._open_ticket(TICKETS, self._rng.choice((1, 1, 2, 3, 12)))
        self._answer_tickets()
        if not self._chapter and not self._trial and self._plan != TIERS[-1] and self._chance(0.0012):
            before, self._plan = self._plan, TIERS[TIERS.index(self._plan) + 1]
            self._fragile *= 0.5
            self._add(self._office_hour(), "subscription_upgraded", previous_plan=before, plan=self._plan)
        self._asked_in -= 1
        if self._asked_in == 0:
            self._asked_in = self._rng.randint(50, 80)
            self._respond()

    def _open_ticket(self, subjects: tuple[str, ...], days: int) -> None:
        self._tickets.append(days)
        self._add(self._office_hour(), "support_ticket_opened", subject=self._rng.choice(subjects))

    def _answer_tickets(self) -> None:
        self._tickets = [left - 1 for left in self._tickets]
        for _ in range(self._tickets.count(0)):
            self._add(self._office_hour(), "support_ticket_resolved", answered_by=self._rng.choice(("sam", "kim")))
        self._tickets = [left for left in self._tickets if left > 0]

    def _respond(self) -> None:
        """Half of those who are asked answer."""
        if not self._chance(0.5):
            return
        angry = self._in(stories.FRUSTRATED) or self._failing_days > 0
        likely = (0, 6) if angry else (3, 8) if self._chapter else (6, 10)
        score = self._rng.randint(*likely)
        comment = {"comment": self._rng.choice(PRAISE if score > 8 else BLAME)} if score > 8 or score < 4 else {}
        self._add(self._office_hour(), "nps_response", score=score, **comment)

    # Bills.

    def _bill(self) -> None:
        self._bill_in -= 1
        if self._bill_in >= 0 or self._closed:
            return
        self._bill_in = MONTH_DAYS - 1
        if self._trial:
            self._trial = False
            self._add(6 * HOUR, "trial_ended", plan=self._plan, converted=not self.gone)
            self._closed = self.gone
        if self._owes or self.gone or self._chance(OVERDUE):
            self._remind()
        else:
            self._pay()

    def _remind(self) -> None:
        """A bill isn't paid; those who left get no other one."""
        unpaid = not self._owes and not self._closed and (not self.gone or self._chance(LEFT_UNPAID))
        self._closed = self._closed or self.gone
        if unpaid:
            self._owes = True
            self._invoices += 1
            self._add(6 * HOUR, "invoice_overdue", **self._invoice())

    def _invoice(self) -> dict[str, Any]:
        """Returns the properties of the open or last bill."""
        return {
            "invoice_id": f"{self.signs_up_at:05}-{self._invoices:03}",
            "amount": self._amount(),
            "currency": "USD",
        }

    def _amount(self) -> int:
        """Dollars a month."""
        return PLANS[self._plan] * self._seats

    def _pay(self) -> None:
        self._invoices += not self._owes
        self._owes = False
        self._add(6.5 * HOUR, "invoice_paid", **self._invoice())
        self._add(6.5 * HOUR + 5, "subscription_renewed", plan=self._plan, amount=self._amount())
