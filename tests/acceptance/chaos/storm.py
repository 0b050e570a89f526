"""A storm: load and trouble at the same time, then quiet, then the audit."""

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.acceptance.chaos import alerted, analytics, audit, books, past
from tests.acceptance.chaos.calm import CalmAccount
from tests.acceptance.chaos.imported import ImportedAccount
from tests.acceptance.chaos.monkey import LONG, SHORT, Monkey
from tests.acceptance.chaos.past import PastAccount
from tests.acceptance.chaos.persons import PersonsAccount
from tests.acceptance.chaos.plant import SINGLE, Plant, plant
from tests.acceptance.chaos.poller import Poller
from tests.acceptance.chaos.producer import Producer, Sent
from tests.acceptance.chaos.servers import Shape
from tests.waiting import wait_until
from tests.workers.alerts.receiver import Receiver, receiving
from workers.accounts import keys

CONNECTIONS = 4
PACE_SECONDS = 0.1  # so that a busy machine keeps up
SHORT_PACE_SECONDS = 0.2  # a fault meets requests under way all the same, and the audit has half as much to look at
QUIET_SECONDS = 900.0  # a machine that is busy with other things takes long
SETTINGS = {"WINDBACK_RESCORE_SECONDS": "2", "WINDBACK_BATCH_EVENTS": "500", "WINDBACK_LOG_LEVEL": "info"}


class Report(NamedTuple):
    """The events of a storm, and the findings of the audit, which should be none."""

    seed: int
    trouble: list[str]
    answers: dict[str, int]
    sent: int
    acknowledged: int
    alerts: int
    others: list[str]  # what else went on, in words
    quiet_seconds: float
    findings: list[str]

    def __str__(self) -> str:
        said = ", ".join(f"{count} x {status}" for status, count in sorted(self.answers.items()))
        return "\n".join(
            [
                f"seed {self.seed}: {', '.join(f'{count} x {name}' for name, count in Counter(self.trouble).items())}",
                f"{self.sent} events sent, {self.acknowledged} acknowledged, {self.alerts} alerts; answers: {said}",
                *self.others,
                f"quiet after {self.quiet_seconds:.1f} s",
                *(self.findings or ["nothing lost, nothing twice"]),
            ]
        )


def run(folder: Path, seed: int, minutes: float = 0, shape: Shape = SINGLE, failovers: int = 0) -> Report:
    """A storm of so many minutes, or the short one; or so many masters of a cluster die, and nothing else happens."""
    is_long = bool(minutes or failovers)
    settings = {"WINDBACK_CLAIM_SECONDS": "10" if is_long else "2", **SETTINGS, **alerted.SETTINGS, **past.SETTINGS}
    with receiving() as receiver, plant(folder, shape, **settings) as planted:
        with planted.connection() as connection, planted.redis() as redis:
            secret = alerted.add_account(connection, redis, receiver)
            persons_secret, imported_secret, past_secret = (
                keys.create(connection, redis, name).secret for name in ("persons", "imported", past.NAME)
            )
            planted.learn_nothing()
        planted.start()
        wait_until(planted.is_ready, timeout=60)
        pace_seconds = PACE_SECONDS if is_long else SHORT_PACE_SECONDS
        producer = Producer(planted.port, planted.key, seed, CONNECTIONS, pace_seconds)
        calm, persons = CalmAccount(planted.port, secret, seed), PersonsAccount(planted.port, persons_secret, seed)
        pruned = PastAccount(planted.port, past_secret, seed)
        poller = Poller(planted.port, secret)
        imported = ImportedAccount(planted, imported_secret, seed) if minutes else None
        monkey = Monkey(planted, seed, LONG if minutes else SHORT, imported)
        try:
            _make_trouble(monkey, minutes, failovers)
        finally:
            producer.finish()
            sent = producer.sent | calm.finish() | dict(persons.finish()) | (imported.finish() if imported else {})
            pruned.finish()
            findings = poller.finish()
        began = time.monotonic()
        wait_until(lambda: _quiet(planted), timeout=QUIET_SECONDS, interval=0.2)
        seconds = time.monotonic() - began
        findings += _check_waiting(planted, persons)
        persons.name_all()
        wait_until(lambda: _quiet(planted), timeout=QUIET_SECONDS, interval=0.2)
        wait_until(lambda: _is_pruned(planted), timeout=QUIET_SECONDS, interval=0.5)
        pruned.merge_some()
        wait_until(lambda: _quiet(planted), timeout=QUIET_SECONDS, interval=0.2)
        findings += _audit(planted, sent, monkey, persons, pruned, receiver)
        acknowledged, alerts = sum(one.acknowledged for one in sent.values()), len(receiver.messages)
        others = [
            _describe_losses(planted, sent, monkey),
            persons.describe(),
            pruned.describe(),
            poller.describe(),
            *([imported.describe()] if imported else []),
        ]
        return Report(seed, monkey.done, producer.answers, len(sent), acknowledged, alerts, others, seconds, findings)


def _make_trouble(monkey: Monkey, minutes: float, failovers: int) -> None:
    if failovers:
        monkey.fail_over_again(failovers)
    elif minutes:
        monkey.long(minutes * 60)
    else:
        monkey.short()


def _quiet(planted: Plant) -> bool:
    if not planted.servers_answer():
        return False
    before = _count_accepted(planted)
    with planted.cell_connections() as connections:
        idle = all(audit.quiet(connection) and not alerted.is_waiting(connection) for connection in connections)
    return idle and before is not None and before == _count_accepted(planted)


def _is_pruned(planted: Plant) -> bool:
    with planted.cell_connections() as connections:
        if all(map(past.is_pruned, connections)):
            return True
    past.retain(planted)
    return False


def _count_accepted(planted: Plant) -> list[int] | None:
    """Returns what each lane of each cell has accepted, None while anything waits: if it is the same after a look at
    the tables, nothing was on its way from one cell to another meanwhile."""
    held = [lane for lanes in books.ledgers_by_cell(planted).values() for lane in lanes.values()]
    return None if any(lane.entries or lane.lodging for lane in held) else [lane.accepted for lane in held]


def _check_waiting(planted: Plant, persons: PersonsAccount) -> list[str]:
    with planted.cell_connections() as connections:
        counted = sum(lane.unresolved for lane in books.sum_up(books.ledgers_by_cell(planted)).values())
        return list(persons.find_waiting_faults(connections, counted))


def _audit(
    planted: Plant,
    sent: Mapping[str, Sent],
    monkey: Monkey,
    persons: PersonsAccount,
    pruned: PastAccount,
    receiver: Receiver,
) -> list[str]:
    acknowledged = sum(one.acknowledged for one in sent.values()) + pruned.acknowledged
    for worker in planted.kinds("score", "clock"):  # so that nothing changes while it is looked at
        worker.end()
    with planted.cell_connections() as connections:
        dead = range(monkey.poisoned, monkey.maybe_poisoned + 1)
        findings = [
            *audit.all_of(connections, sent, monkey.has_copied),
            *books.all_of(planted, connections, acknowledged, dead),
        ]
        findings += [*alerted.check_alerts(connections, receiver), *persons.find_faults(connections)]
        findings += pruned.find_faults(connections)
        for connection in connections:
            findings += [*analytics.all_of(connection), *analytics.erased(connection, monkey.erased)]
    return findings + _deadlocks(planted)


def _describe_losses(planted: Plant, sent: Mapping[str, Sent], monkey: Monkey) -> str:
    """The number of lost events, and how long before the death of a master they were answered for at most."""
    with planted.cell_connections() as connections:
        lost = audit.find_lost(connections, sent)
    ages = [min((at - each.answered_at for at in monkey.failed_over_at if at >= each.answered_at), default=float("inf"))
            for each in lost]  # fmt: skip
    oldest = f", answered at most {1000 * max(ages):.0f} ms before a master was killed" if ages else ""
    return f"{len(lost)} acknowledged events are lost{oldest}"


def _deadlocks(planted: Plant) -> list[str]:
    text = "".join(log.read_text(errors="replace") for log in planted.servers.postgres_logs)
    return [line for line in text.splitlines() if "deadlock detected" in line]
