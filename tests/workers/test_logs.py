import json
import logging
from contextvars import copy_context
from typing import Any, Literal

import pytest
from redis import Redis

from tests.workers.events import event, push_events
from workers import logs
from workers.buffer.lanes import LIVE
from workers.ingest.ingest import drain
from workers.process import Process
from workers.settings import Settings
from workers.store import Connection

pytestmark = pytest.mark.usefixtures("restored_logging")


def test_a_record_is_a_json_line_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings())
    logging.getLogger("here").info("stored", extra={"events": 7, "color_message": "x"})
    line = json.loads(capsys.readouterr().err)
    assert line.pop("time")
    assert line == {"level": "INFO", "name": "here", "message": "stored", "events": 7}


def test_people_get_text(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_format="text"))
    logging.getLogger("here").info("stored", extra={"events": 7})
    assert capsys.readouterr().err.endswith("INFO    stored  events=7\n")


def test_the_level_is_a_setting(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings(log_level="warning"))
    logging.getLogger("here").info("quiet")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_address_and_no_key_gets_through(
    log_format: Literal["json", "text"], capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither from a message, nor from what goes with it, nor from the error of a library."""
    logs.configure(Settings(log_format=log_format))
    log = logging.getLogger("here")
    log.info("erased %s", "Jane.Doe+x@example.com", extra={"who": ["joe@example.com"], "key": "sk_live_abcDEF123"})
    log.info("connecting to postgresql://windback:secret@db.internal/x with pk_live_456")
    try:
        raise ValueError("Key (account_id, email)=(1, jürgen@bücher.example) already exists")
    except ValueError:
        log.exception("a job failed")
    output = capsys.readouterr().err
    assert output.count("…") == 7
    assert not [word for word in ("@", "Jane", "joe", "secret", "jürgen", "abcDEF", "456") if word in output]
    assert "a job failed" in output


def test_a_record_names_the_request_that_it_belongs_to(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings())
    log, context = logging.getLogger("here"), copy_context()
    context.run(logs.request_id.set, "abc")
    context.run(log.info, "in it")
    log.info("outside")
    within, outside = map(json.loads, capsys.readouterr().err.splitlines())
    assert (within["request_id"], "request_id" in outside) == ("abc", False)


def test_all_records_of_a_batch_name_its_entries(
    process: Process,
    connection: Connection,
    redis: Redis,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also those of a dead letter and of an outage: who reads them finds what they were about."""
    logs.configure(Settings())
    connection.execute("ALTER TABLE events ADD CONSTRAINT no_poison CHECK (event <> 'poison')")
    push_events(redis, event(event="poison"))
    push_events(redis, event())
    entries: Any = redis.xrange(LIVE.stream)
    first, last = (id_.decode() for id_, _ in entries)
    connection.execute("SELECT pg_terminate_backend(%s::integer)", [process.connection().info.backend_pid])
    drain(process, LIVE)
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    messages = {
        record["message"].partition(":")[0]
        for record in records
        if (record.get("first_entry"), record.get("last_entry")) == (first, last)
    }
    assert messages == {"Postgres can't do it now", "a batch is stored in parts", "dead letter", "ingested"}
