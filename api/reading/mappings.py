"""The roles of an account's own events: `GET` and `PUT /api/v1/mappings`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from api.bodies import read_json
from api.database import in_database
from api.errors import Refused
from api.reading.common import Count, account_of, answer, fetch, fetch_all, fetch_merged
from api.reading.query import accepts
from api.reading.statements import Sums
from scoring.event_roles import ROLES
from scoring.events import MAX_EVENT_NAME
from scoring.proposals import Proposal, SentName, names_of_use, propose
from workers import placement
from workers.accounts import mappings
from workers.accounts.mappings import NeverSent, Unmappable
from workers.store import Connection, sql
from workers.upkeep import totals

MOST_BYTES = 1 << 20
BY_NAME = Sums(("event",), ("events", "customers", "customer_days"))
MOST_NAMES = 1_000  # for which something is proposed, the most frequent: each takes some microseconds

Name = Annotated[str, Meta(min_length=1, max_length=MAX_EVENT_NAME)]
Role = Annotated[str, Meta(extra_json_schema={"enum": list(ROLES)})]


class ProposedMapping(Struct):
    """The probable role of a name, by its words and its senders. `likely` ones are ticked on the page."""

    event: str
    stands_for: Role
    likely: bool
    count: Count
    customers: Count


class NameMapping(Struct, forbid_unknown_fields=True):
    """A name of the account's own, and the event that it stands for."""

    name: Name
    event: Role


class NewMappings(Struct, forbid_unknown_fields=True):
    """The mappings that hold from now on: all of them. `force` maps names that were never sent as well."""

    mappings: dict[Name, Role] | list[NameMapping]
    force: bool = False


class Mappings(Struct):
    """The role of each of the account's own names, and proposals for the others."""

    mappings: dict[str, Role]
    proposals: list[ProposedMapping]


class SentNames(NamedTuple):
    """The names that an account sends, the most frequent first, and their roles."""

    names: list[SentName]
    mappings: dict[str, str]

    @property
    def proposals(self) -> list[Proposal]:
        """Returns the probable roles of the names that are not mapped."""
        return propose(self.names, self.mappings)


@accepts()
async def show_or_put_mappings(request: Request) -> Response:
    """`GET /api/v1/mappings`, and `PUT`: replaces all mappings; names that are left out stand for themselves again."""
    account_id = await account_of(request)
    if request.method == "PUT":
        wanted = await read_json(request, NewMappings, "invalid_mapping", MOST_BYTES)
        await save_mappings(request, account_id, _pairs(wanted), wanted.force)
    sent = await read_names(request, account_id)
    return answer(Mappings(sent.mappings, [ProposedMapping(*proposal) for proposal in sent.proposals]))


async def read_names(request: Request, account_id: int) -> SentNames:
    """The names that were sent, and their mappings. Raises Refused, store_unavailable."""
    parameters = {"account_id": account_id, "limit": MOST_NAMES}
    rows = await fetch_merged(request, sql("list_sent_names"), parameters, BY_NAME)
    rows = sorted(rows, key=lambda row: (-row["events"], row["event"]))[:MOST_NAMES]
    return SentNames([SentName(**row) for row in rows], await read_mappings(request, account_id))


async def read_mappings(request: Request, account_id: int) -> dict[str, str]:
    """The account's mappings, by name. Raises Refused, store_unavailable."""
    mapped = await fetch(request, sql("mappings_of_account"), {"account_id": account_id})
    return dict(sorted(mapped[0]["mappings"].items())) if mapped else {}


async def is_use_sent(request: Request, account_id: int) -> bool:
    """True if the account sends a name that counts as use of its product. Raises Refused, store_unavailable."""
    use = names_of_use(await read_mappings(request, account_id))
    parameters = {"account_id": account_id, "names": use}
    return any(row["sent"] for (row,) in await fetch_all(request, sql("is_any_sent"), parameters))


async def save_mappings(request: Request, account_id: int, wanted: Mapping[str, str], force: bool = False) -> None:
    """Replace the account's mappings. Raises Refused: invalid_mapping, store_unavailable."""
    await _change(request, lambda home, cells: mappings.replace_mappings(home, account_id, wanted, force, cells))


async def change_mappings(request: Request, account_id: int, added: Mapping[str, str], removed: list[str]) -> None:
    """Change some of the account's mappings. Raises Refused: invalid_mapping, store_unavailable."""

    def change(home: Connection, cells: Sequence[Connection]) -> None:
        mappings.remove_mappings(home, account_id, removed)
        mappings.add_mappings(home, account_id, added, cells=cells)

    await _change(request, change)


async def _change(request: Request, work: Callable[[Connection, Sequence[Connection]], object]) -> None:
    settings = request.app.state.settings

    def run(home: Connection) -> None:
        with placement.connect_cells(settings) as cells:
            for cell in cells or [home]:
                totals.tally_few(cell)  # names that were sent a moment ago
            work(home, cells)

    try:
        await in_database(request, run)
    except (Unmappable, NeverSent) as error:
        raise Refused("invalid_mapping", str(error)) from None


def _pairs(wanted: NewMappings) -> dict[str, str]:
    if isinstance(wanted.mappings, dict):
        return wanted.mappings
    return {each.name: each.event for each in wanted.mappings}
