"""Words of the simulated company: products, names of customers, their comments."""

from typing import Any, Final
from zlib import crc32

DOMAIN: Final = "demo.example"  # reserved by RFC 2606: nobody has an address there

_FIRST: Final = (
    "ada ahmed alice amara anton bea carlos chen chloe daniel diego elena emma farid fiona george grace hana hugo ines "
    "ivan jonas julia kenji laila lena liam maya mateo nina noah olga omar priya ravi sofia"
)
_LAST: Final = (
    "abbott adeyemi ahlberg alvarez banerjee becker brandt bruno castillo chandra costa dubois eriksson fischer garcia "
    "haddad hansen ibrahim ivanova jensen kaya keller kowalski laurent lindgren martin mendes moreau murphy nakamura "
    "novak okafor patel petrov quinn rossi sato silva tanaka weber"
)
FIRST, LAST = _FIRST.split(), _LAST.split()

PLANS: Final = {"starter": 19, "pro": 49, "business": 199}  # a month, in dollars

FEATURES: Final = {  # its page, and for how many seconds it is used as a rule
    "reports": ("/reports", 420),
    "exports": ("/exports", 150),
    "dashboards": ("/dashboards", 360),
    "alerts": ("/alerts", 90),
    "segments": ("/segments", 300),
    "api_console": ("/developers", 240),
    "schedules": ("/schedules", 120),
    "templates": ("/templates", 180),
}

TICKETS: Final = (
    "How do I add a second workspace?",
    "Numbers differ between two reports",
    "Invoice address needs changing",
    "Can't invite a colleague",
    "Scheduled report came twice",
)
COMPLAINTS: Final = (
    "Cannot export data",
    "Export fails again",
    "Still waiting for an answer",
    "Dashboard takes a minute to load",
    "Lost a report that I saved yesterday",
)
PRAISE: Final = ("Saves me hours every week", "Does what it says", "Great support")
BLAME: Final = ("Exports keep failing", "Too slow for what it costs", "Nobody answers my tickets")
LARGE: Final = {"Northwind Traders": 12, "Contoso": 9, "Tailspin Toys": 5}  # and the seats that each customer pays for
LARGE_IN: Final = 12  # one customer in so many works for a large company
KINDS: Final = ("Studio", "Labs", "& Co", "Consulting", "Retail", "Logistics")
INTEGRATIONS: Final = ("slack", "hubspot", "salesforce", "sheets")


def address(number: int) -> str:
    """The e-mail of a customer, each another one."""
    rounds, first = divmod(number, len(FIRST))
    last = (rounds + number) % len(LAST)
    again = number // (len(FIRST) * len(LAST))
    return f"{FIRST[first]}.{LAST[last]}{again or ''}@{DOMAIN}"


def company_of(email: str) -> str:
    """The company that a customer works for. A large one is worth more than many others together."""
    number = crc32(email.encode())
    if number % LARGE_IN == 0:
        return list(LARGE)[number // LARGE_IN % len(LARGE)]
    return f"{_last_name(email)} {KINDS[number % len(KINDS)]}"


def seats_of(email: str) -> int:
    """The number of seats that a customer pays for."""
    return LARGE.get(company_of(email), 1)


def traits_of(email: str, plan: str | None, *, pays: bool) -> dict[str, Any]:
    """Name, company, plan and, of a customer who pays, the monthly revenue."""
    traits: dict[str, Any] = {"name": f"{email.partition('.')[0].title()} {_last_name(email)}"}
    traits["company"] = company_of(email)
    if plan:
        traits["plan"] = plan
    if plan and pays:
        traits |= {"mrr": PLANS[plan] * seats_of(email) * 100, "currency": "USD"}
    return traits


def _last_name(email: str) -> str:
    return email.removesuffix(f"@{DOMAIN}").partition(".")[2].rstrip("0123456789").title()
