import json
from collections.abc import Callable

import pytest
from redis import Redis

from tests.api.command_line import Run
from tests.workers.events import count, event, push, push_events
from workers.store import Connection

POISON = event(event="poison", timestamp="2025-12-01", properties={"a": "\0"})


@pytest.fixture
def letters(redis: Redis, work: Callable[[], None], connection: Connection) -> list[str]:
    """The ids of two refused events and of bytes that nobody can read, in this order."""
    push_events(redis, POISON, POISON | {"customer_email": "joe@example.com"})
    work()
    push(redis, b"\xc1garbage")
    work()
    return [id_ for (id_,) in connection.execute("SELECT dead_letter_id::text FROM dead_letters ORDER BY received_at")]


def mend(connection: Connection) -> None:
    """The producer's fault is gone, as if the service had learnt to store it."""
    connection.execute(
        r"""UPDATE dead_letters SET body = convert_to(replace(convert_from(body, 'UTF8'), '\\u0000', ''), 'UTF8')
        WHERE reason <> 'undecodable'"""
    )


def test_letters_are_listed_by_cause(run: Run, letters: list[str]) -> None:
    lines = run("dead-letters list").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["2", "1"]
    assert "UntranslatableCharacter" in lines[1]
    assert "22P05" in lines[1]
    assert any(id_ in lines[1] for id_ in letters[:2])
    assert letters[2] in lines[2]


def test_one_letter_is_shown_with_its_event(run: Run, letters: list[str]) -> None:
    shown = json.loads(run("dead-letters show", letters[0]).stdout)
    assert (shown["reason"], shown["event"]["event"]) == ("UntranslatableCharacter", "poison")
    assert shown["event"]["properties"] == {"a": "\0"}
    assert json.loads(run("dead-letters show", letters[2]).stdout)["event"] == "\\xc1garbage"


def test_what_is_mended_is_stored_by_a_replay_and_the_rest_stays(
    run: Run, letters: list[str], connection: Connection
) -> None:
    assert run("dead-letters replay").exit_code == 1
    assert (count(connection, "dead_letters"), count(connection, "events")) == (3, 0)
    mend(connection)
    replayed = run("dead-letters replay")
    assert replayed.stdout == "2 replayed: 2 events stored, 0 were stored before\n"
    assert (replayed.exit_code, "1 failed again" in replayed.stderr) == (1, True)
    assert connection.execute("SELECT DISTINCT event, properties FROM events").fetchall() == [("poison", {"a": ""})]
    assert connection.execute("SELECT count(*) FROM customers WHERE rescore_at <= now()").fetchone() == (2,)
    assert count(connection, "dead_letters") == 1


def test_a_replay_done_twice_or_of_what_is_there_changes_nothing(
    run: Run, letters: list[str], connection: Connection
) -> None:
    mend(connection)
    connection.execute("CREATE TABLE kept AS SELECT * FROM dead_letters")
    assert run("dead-letters replay", *letters[:2]).exit_code == 0
    again = run("dead-letters replay", *letters[:2])
    assert (again.exit_code, again.stdout[:10]) == (0, "0 replayed")
    assert "2 of these don't exist" in again.stderr
    connection.execute("INSERT INTO dead_letters SELECT * FROM kept ON CONFLICT DO NOTHING")
    assert run("dead-letters replay", *letters[:2]).stdout == "2 replayed: 0 events stored, 2 were stored before\n"
    assert connection.execute("SELECT sum(n) FROM customer_days").fetchone() == (2,)


def test_letters_are_deleted_once_that_is_confirmed(run: Run, letters: list[str], connection: Connection) -> None:
    assert run("dead-letters purge", answer="n\n").exit_code == 1
    assert count(connection, "dead_letters") == 3
    assert run("dead-letters purge", letters[0], answer="y\n").stdout.endswith("1 deleted\n")
    assert run("dead-letters purge --yes").stdout == "2 deleted\n"
    assert run("dead-letters list").stdout == "there are no dead letters\n"


def test_what_is_asked_wrongly_is_told(run: Run) -> None:
    unknown = run("dead-letters show 00000000-0000-0000-0000-000000000000")
    assert (unknown.exit_code, "there is no dead letter" in unknown.stderr) == (1, True)
    assert run("dead-letters show x").exit_code == 2
