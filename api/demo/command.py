"""`windback demo`: sends the simulated company to a running service through its API, and removes it again.

Run again it adds nothing on the same day, and what has happened since on a later one.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import click

from api.commands.client import Client, ServiceFailed, open_service, service_options
from api.commands.importing import send_all
from api.demo.company import CUSTOMERS, SEED, Company, DemoCustomer, begun, customers, events, signed_up
from api.demo.life import DAY
from api.demo.words import DOMAIN, address, traits_of
from api.history.event_files import FileLine

PAGE = 1000  # customers
IDENTITIES = 100  # a request
ERASED_TOGETHER = 16  # the service does erasures that wait in one go
ADDRESSES = 100_000  # that are looked for
STORED_SECONDS = 180.0
POLL_SECONDS = 0.5
FORGOTTEN_SECONDS = 60.0


class Listed(NamedTuple):
    """A demo customer as the service knows it; times in epoch seconds."""

    email: str
    first_seen: float
    last_seen: float
    scored: bool


class Stranger(Exception):
    """The demo customers of the account did not come from this company. `windback demo --remove` removes them."""


@click.command()
@service_options
@click.option("--remove", is_flag=True, help="Erase the demo's customers instead.")
@click.option("--customers", "size", default=CUSTOMERS, type=click.IntRange(5, 10_000), hidden=True)
@click.option("--seed", default=SEED, hidden=True)
def demo(url: str | None, api_key: str | None, data_dir: Path, remove: bool, size: int, seed: int) -> None:
    """Add a simulated company to a running service. It has 500 customers, and what they did in the last 120 days.

    Their addresses end in @demo.example. Safe to run again: on a later day that adds what has happened since.
    """
    try:
        client = open_service(url, api_key, data_dir)
        if remove:
            _remove(client)
        else:
            _fill(client, size, seed)
    except Stranger:
        raise click.ClickException(
            "this account holds another demo company; remove it first: windback demo --remove"
        ) from None
    except ServiceFailed as error:
        raise click.ClickException(str(error)) from None


def _fill(client: Client, size: int, seed: int) -> None:
    listed, others = _list_customers(client)
    if others:
        click.echo(f"note: the account has customers of its own ({others:,}); until the demo is removed,", err=True)
        click.echo("      its customers are listed among them. The model learns from your own customers only", err=True)
    company, until = continued(listed, time.time(), size, seed)
    people = list(customers(company, until))
    count = _send(client, company, people)
    _identify(client, people)
    _wait_until_stored(client, company, people)
    _say(_summarise(client.url, len(people), count, company, already=bool(listed)))


def continued(listed: list[Listed], now: float, size: int = CUSTOMERS, seed: int = SEED) -> tuple[Company, float]:
    """The company that these customers are of, or a new one, and until when to tell of it; epoch seconds.

    On the day of the last run it ends where it did then. Raises Stranger.
    """
    company = Company(begun(now), size, seed)
    if not listed:
        return company, now
    numbers = {address(number): number for number in range(ADDRESSES)}
    starts = Counter(
        customer.first_seen - came
        for customer in listed
        if customer.email in numbers and (came := signed_up(company, numbers[customer.email])) is not None
    )
    begins = int(starts.most_common(1)[0][0]) if starts else -1
    if begins % DAY or not 0 <= begins <= now or starts[begins] <= len(starts) // 2:
        raise Stranger
    company, last = company._replace(begins=begins), max(customer.last_seen for customer in listed)
    ends = {person.email: begins + person.moments[-1].at for person in customers(company, last)}
    alike = sum(ends.get(customer.email) == customer.last_seen for customer in listed)
    if alike < 2 * len(listed) / 3:  # of another version; some may lack an event or have one more
        raise Stranger
    return company, last if last // DAY == now // DAY else now


def _send(client: Client, company: Company, people: list[DemoCustomer]) -> int:
    """Send what happened, oldest first. Returns how many events that were."""
    lines = (FileLine(number, event) for number, event in enumerate(events(company, people), 1))
    show, accepted = _progress("events"), 0
    for result in send_all(lines, client):
        accepted += result.accepted
        show(accepted)
        if result.refused:
            raise ServiceFailed(f"the service refused an event: {result.refused[0].reason}")
    return accepted


def _identify(client: Client, people: list[DemoCustomer]) -> None:
    """Send the company of each customer, and what it pays a month."""
    identities = [
        {"customer_email": person.email, "traits": traits_of(person.email, person.plan, pays=person.pays)}
        for person in people
    ]
    for start in range(0, len(identities), IDENTITIES):
        body = json.dumps({"identities": identities[start : start + IDENTITIES]}).encode()
        reply = client.ask("POST", "/api/v1/identify", body)
        if reply.status >= HTTPStatus.BAD_REQUEST:
            raise ServiceFailed(f"the service refused an identity: {reply.fault}")


def _wait_until_stored(client: Client, company: Company, people: list[DemoCustomer]) -> None:
    """Wait until each customer has a risk that includes the last event. After the time limit, only print a note."""
    last = {person.email: company.begins + person.moments[-1].at for person in people}
    show, give_up = _progress("customers with a risk"), time.monotonic() + STORED_SECONDS
    while True:
        listed, _ = _list_customers(client)
        ready = sum(customer.scored and customer.last_seen >= last.get(customer.email, 0) for customer in listed)
        show(ready)
        if ready >= len(last):
            return
        if time.monotonic() > give_up:
            click.echo("all events are sent, but not all are stored yet; `windback status` shows why", err=True)
            return
        client.stopped.wait(POLL_SECONDS)


def _remove(client: Client) -> None:
    """Erases all of them, also those whose events were still in the buffer."""
    gone, rows = 0, Counter[str]()
    show = _progress("customers erased")
    with ThreadPoolExecutor(ERASED_TOGETHER) as pool:
        while listed := _list_customers(client)[0]:
            paths = [f"/api/v1/customers/{quote(customer.email)}" for customer in listed]
            for answer in pool.map(lambda path: client.require("DELETE", path, "erased"), paths):
                gone += 1
                rows.update(answer["erased"])
                show(gone)
    if gone:
        _say(f"{gone:,} demo customers erased, and {rows['events']:,} events of theirs")
        _wait_until_forgotten(client)
    else:
        click.echo("there are no demo customers in this account")


def _wait_until_forgotten(client: Client) -> None:
    """Wait until no model that learnt from the demo is in use. After the time limit, only print a note."""
    model, give_up = client.require("GET", "/api/v1/model", "name", "from_demo"), time.monotonic() + FORGOTTEN_SECONDS
    learnt = model["name"] if model["from_demo"] else None
    while model["from_demo"] and time.monotonic() < give_up and not client.stopped.wait(POLL_SECONDS):
        model = client.require("GET", "/api/v1/model", "name", "from_demo")
    if model["from_demo"]:
        _say(f"The model in use, {model['name']}, learnt from them. It is put aside as soon as the workers run")
    elif learnt:
        _say(f"The model {learnt} learnt from them and is put aside; {model['name']} is in use again")


def _list_customers(client: Client) -> tuple[list[Listed], int]:
    """The demo's customers, and how many others there are."""
    own, others = [], 0
    for customer in _all(client):
        if customer["email"].endswith(f"@{DOMAIN}"):
            first, last = (datetime.fromisoformat(customer[name]).timestamp() for name in ("first_seen", "last_seen"))
            own.append(Listed(customer["email"], first, last, customer["risk"] is not None))
        else:
            others += 1
    return own, others


def _all(client: Client) -> Iterator[dict[str, Any]]:
    """All customers of the account, by address."""
    asked: dict[str, Any] = {"sort": "email", "limit": PAGE}
    while True:
        page = client.require("GET", f"/api/v1/customers?{urlencode(asked)}", "customers", "next_cursor")
        yield from page["customers"]
        if not page["next_cursor"]:
            return
        asked["cursor"] = page["next_cursor"]


def _summarise(url: str, people: int, count: int, company: Company, *, already: bool) -> str:
    since = f"{datetime.fromtimestamp(company.begins, UTC):%Y-%m-%d}"
    again = "  (what was there already is not stored twice)" if already else ""
    return f"""{people:,} customers and {count:,} events of a simulated company since {since}{again}

  Look at    {url}/
  Learn      windback train    (else it learns by itself within ten minutes, and then by night)
  Remove     windback demo --remove    (with the same options; erases all addresses at {DOMAIN})"""


def _say(text: str) -> None:
    """Prints a line that stays, in place of the counter."""
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    click.echo(text)


def _progress(what: str) -> Callable[[int], None]:
    """A counter on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        return lambda count: None
    return lambda count: click.echo(f"\r\033[K{count:,} {what}", nl=False, err=True)
