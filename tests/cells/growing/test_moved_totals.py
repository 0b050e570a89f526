"""Totals when customers are merged, or move to another address: with days whose events retention has pruned among them,
within a cell and between cells, they are what they were before, and what counting everything anew gives."""

import random
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.cells.conftest import MakeWorld, World
from tests.cells.test_identities import identify
from tests.cells.test_line import NOW
from tests.cells.test_relocations import Guillotine, finish, guillotine
from tests.workers.upkeep.counting import assert_right, levels, levels_by_risks, rows
from workers import clock
from workers.buffer.entries import hash_customer
from workers.buffer.lanes import LANES
from workers.cells import cell_of
from workers.identities import ledger_moves
from workers.ingest import ingest, resolving
from workers.upkeep import retention, totals
from workers.upkeep.retention import Before

__all__ = ["guillotine"]

CELLS = 3
MIDNIGHT = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
PRUNED_DAYS = 30
BEFORE = MIDNIGHT - timedelta(days=PRUNED_DAYS, hours=-12)  # noon of this day: half of it is pruned
HISTORIES = {  # the days ago of logins in the morning and in the afternoon
    "kept": ((2, 9), (2,)),
    "pruned": ((40, 41, 50), ()),
    "half pruned": ((30, 40), (30,)),
    "both": ((2, 30, 41), (9, 30, 50)),
    "none": ((), ()),
}
TOTALS = {
    "event_days": "SELECT account_id, event, day, n, customers, counted FROM event_days",
    "event_returns": "SELECT account_id, event, day, previous::text, customers FROM event_returns WHERE customers <> 0",
    "event_hours": "SELECT account_id, event, hour, n, customers FROM event_hours",
}


def email_in(cell: int, name: str) -> str:
    """An address of this cell."""
    emails = (f"{name}.{n}@example.com" for n in range(1000))
    return next(email for email in emails if cell_of(hash_customer(1, email), CELLS) == cell)


def login(user_id: str, at: datetime) -> dict[str, Any]:
    return {"event": "login", "user_id": user_id, "timestamp": at.isoformat()}


def history(user_id: str, kind: str) -> list[dict[str, Any]]:
    """Logins of which those up to BEFORE are pruned later. No two customers' logins are the same event."""
    mornings, afternoons = HISTORIES[kind]
    minute = timedelta(minutes=random.Random(user_id).randrange(50), seconds=1)
    return [
        *(login(user_id, MIDNIGHT - timedelta(days=day, hours=-9) + minute) for day in mornings),
        *(login(user_id, MIDNIGHT - timedelta(days=day, hours=-15) + minute) for day in afternoons),
    ]


def prune(world: World) -> None:
    """As a pass of retention."""
    for place in world.places:
        connection = place.connection()
        totals.tally(connection)
        totals.prune(connection, BEFORE, None)
        after: str | None = retention.FIRST
        while after:
            after = retention.step(connection, after, Before(BEFORE, BEFORE, None))


def sums(world: World) -> Counter[Any]:
    """The totals over all cells: of events by day and by hour."""
    counts: Counter[Any] = Counter()
    for place in world.places:
        for query in ("SELECT event, day, n, last_at FROM event_days", "SELECT event, hour, n, NULL FROM event_hours"):
            for event, at, n, last_at in place.connection().execute(query):
                counts[event, at, "n"] += n
                if last_at:
                    counts[event, at, "last"] = max(counts[event, at, "last"], last_at.timestamp())
    return counts


def assert_exact(world: World) -> None:
    """Each cell's totals are those of its rollup and events, and a recount changes nothing."""
    for place in world.places:
        connection = place.connection()
        totals.tally(connection)
        assert_right(connection)
        assert levels(connection) == levels_by_risks(connection)
        kept = {name: rows(connection, query) for name, query in TOTALS.items()}
        connection.execute("DELETE FROM tallied")
        totals.tally(connection)
        assert {name: rows(connection, query) for name, query in TOTALS.items()} == kept
        assert rows(connection, "SELECT * FROM arriving") == []


def store(world: World) -> None:
    """Do what workers do, but count nothing and score nobody."""
    for place in world.places:
        clock.mirror_home(place)
        for lane in LANES.values():
            ingest.drain(place, lane)
    for place in world.places:
        resolving.drain(place)
        ledger_moves.apply_moves(place.connection(), place.redis, place.lanes)


def merge(world: World, email: str, into: str) -> None:
    answer = world.client.post(f"/api/v1/customers/{email}/merge", json={"into": into})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("is_tallied", [True, False], ids=["tallied", "not tallied"])
@pytest.mark.parametrize("cells", [1, CELLS])
def test_totals_before_a_merge_or_a_move_are_those_after_it(
    make_world: MakeWorld, cells: int, is_tallied: bool
) -> None:
    """Of each kind of history into each kind, in the same cell and in another: a merge, where the second customer has
    no history a rename, or a change of the address of a user id."""
    world = make_world(cells)
    pairs = [
        (f"{number}-{way}", source, target, email_in(0, f"a{number}{way}"), email_in(way, f"b{number}{way}"))
        for number, (source, target) in enumerate((a, b) for a in HISTORIES for b in HISTORIES if a != "none")
        for way in (0, 1)
    ]
    for name, source, target, old, new in pairs:
        identify(world, user_id=f"old {name}", customer_email=old)
        identify(world, user_id=f"new {name}", customer_email=new)
        world.track(*history(f"old {name}", source), *history(f"new {name}", target))
    world.work()
    world.work()
    prune(world)
    assert_exact(world)
    before = sums(world)
    assert before
    for number, (name, _, target, old, new) in enumerate(pairs):
        if target == "none" and number % 2:
            identify(world, user_id=f"old {name}", customer_email=new)
        else:
            merge(world, old, new)
        if is_tallied:
            totals.tally(world.places[number % len(world.places)].connection())
    for _ in range(3):
        store(world)
    assert_exact(world)
    assert sums(world) == before


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("cells", [1, CELLS])
def test_totals_are_exact_through_any_chain_of_merges_and_moves(
    make_world: MakeWorld, guillotine: Guillotine, cells: int, seed: int
) -> None:
    """Events that come meanwhile and late, retention, merges, changes of addresses, tallies, some of it interrupted, in
    any order: nothing leaves the totals."""
    world, chance = make_world(cells), random.Random(100 * cells + seed)
    addresses = [email_in(cell, f"p{number}") for cell in range(CELLS) for number in range(3)]
    users = [f"user {number}" for number in range(6)]
    for user in users:
        identify(world, user_id=user, customer_email=chance.choice(addresses))
    sent = 0
    for number in range(30):
        action = chance.choice(["track", "track", "prune", "merge", "merge", "identify", "tally", "work", "killed"])
        if action == "track":
            world.track(
                *(
                    login(
                        chance.choice(users),
                        MIDNIGHT - timedelta(days=chance.randrange(1, 60), seconds=100 * number + n),
                    )
                    for n in range(8)
                )
            )
            sent += 8
        elif action == "prune":
            store(world)
            prune(world)
        elif action in ("merge", "killed"):
            store(world)
            email, into = chance.sample(addresses, 2)
            if action == "killed":
                with guillotine.falls(chance.randrange(10, 150), after=chance.random() < 0.5):
                    world.client.post(f"/api/v1/customers/{email}/merge", json={"into": into})
            else:
                answer = world.client.post(f"/api/v1/customers/{email}/merge", json={"into": into})
                assert answer.status_code in (200, 404), answer.text
        elif action == "identify":
            identify(world, user_id=chance.choice(users), customer_email=chance.choice(addresses))
            store(world)
        elif action == "tally":
            totals.tally(chance.choice(world.places).connection())
        else:
            world.work()
    if cells > 1:
        finish(world)
    store(world)
    assert_exact(world)
    assert sum(n for (_, at, what), n in sums(world).items() if what == "n" and not isinstance(at, datetime)) == sent
