import json
import logging
from collections.abc import Iterator

import pytest

from workers import logs
from workers.settings import Settings


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


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
    logs.configure(Settings(log_level="WARNING"))
    logging.getLogger("here").info("quiet")
    assert capsys.readouterr().err == ""
