"""The roles of an account's own events: read, changed, and checked against the names that were really sent."""

import json
from collections.abc import Collection, Mapping, Sequence

from scoring.event_roles import explain_bad_mapping
from workers.accounts import renewals
from workers.store import Connection, sql


class Unmappable(ValueError):
    """A name can't be mapped so. The message says why."""


class NeverSent(Exception):
    """The account has never sent an event of this name: a misspelt mapping would do nothing, unseen."""

    def __init__(self, names: Collection[str]) -> None:
        listed = ", ".join(f"`{name}`" for name in sorted(names))
        super().__init__(f"No event called {listed} was ever sent; case is kept. Use force to map it all the same.")


def list_mappings(connection: Connection, account_id: int) -> dict[str, str]:
    """Returns the role of each of the account's own names."""
    row = connection.execute(sql("account_mappings"), {"account_id": account_id}).fetchone()
    return dict(sorted(row[0].items())) if row else {}


def replace_mappings(
    connection: Connection,
    account_id: int,
    mappings: Mapping[str, str],
    force: bool = False,
    cells: Sequence[Connection] = (),
) -> dict[str, str]:
    """Map these names, and no others. Returns them. `cells` are connections to the cells, if there are several. Raises
    Unmappable, NeverSent."""
    return _change(connection, account_id, mappings, None, force, cells)


def add_mappings(
    connection: Connection,
    account_id: int,
    mappings: Mapping[str, str],
    force: bool = False,
    cells: Sequence[Connection] = (),
) -> dict[str, str]:
    """Map these names as well. Returns all mappings. `cells` as above. Raises Unmappable, NeverSent."""
    return _change(connection, account_id, mappings, (), force, cells)


def remove_mappings(connection: Connection, account_id: int, names: Collection[str]) -> dict[str, str]:
    """Let these names stand for nothing but themselves. Returns what is left."""
    return _change(connection, account_id, {}, names, True)


def _change(
    connection: Connection,
    account_id: int,
    added: Mapping[str, str],
    removed: Collection[str] | None,
    force: bool,
    cells: Sequence[Connection] = (),
) -> dict[str, str]:
    """`removed` is None where everything goes that isn't added."""
    for name, role in added.items():
        if fault := explain_bad_mapping(name, role):
            raise Unmappable(fault)
    with connection.transaction():
        before = list_mappings(connection, account_id)
        unsent = set(added) - before.keys() - _sent_names(cells or [connection], account_id, added)
        if unsent and not force:
            raise NeverSent(unsent)
        kept = {} if removed is None else {name: role for name, role in before.items() if name not in removed}
        after = {**kept, **added}
        parameters = {"account_id": account_id, "mappings": json.dumps(after)}
        changed = connection.execute(sql("map_events"), parameters).fetchone()
    if changed:
        renewals.request_rescore(connection, account_id)
    return dict(sorted(after.items()))


def _sent_names(cells: Sequence[Connection], account_id: int, names: Collection[str]) -> set[str]:
    """The names that the totals of any cell contain; the caller brings these up to date."""
    parameters = {"account_id": account_id, "names": list(names)}
    return {name for cell in cells for (name,) in cell.execute(sql("find_sent_names"), parameters)}
