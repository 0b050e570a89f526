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
LARGE: Final = (
    ("Northwind Traders", 2400),
    ("Contoso", 1800),
    ("Tailspin Toys", 950),
)  # and dollars a month, each seat
KINDS: Final = ("Studio", "Labs", "& Co", "Consulting", "Retail", "Logistics")
INTEGRATIONS: Final = ("slack", "hubspot", "salesforce", "sheets")


def address(number: int) -> str:
    """The e-mail of a customer, each another one."""
    rounds, first = divmod(number, len(FIRST))
    last = (rounds + number) % len(LAST)
    again = number // (len(FIRST) * len(LAST))
    return f"{FIRST[first]}.{LAST[last]}{again or ''}@{DOMAIN}"


def traits_of(email: str) -> dict[str, Any]:
    """Name, company, plan and monthly revenue of a customer. One company in a dozen is a large one: it is worth more
    than many others together."""
    first, last = email.removesuffix(f"@{DOMAIN}").split(".")
    name = f"{first.title()} {last.rstrip('0123456789').title()}"
    number = crc32(email.encode())
    if number % 12 == 0:
        company, mrr = LARGE[number // 12 % len(LARGE)]
        return {"name": name, "company": company, "plan": "business", "mrr": mrr * 100, "currency": "USD"}
    return {"name": name, "company": f"{last.rstrip('0123456789').title()} {KINDS[number % len(KINDS)]}"}
