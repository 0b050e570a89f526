import gzip
import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api.history.event_files import FileLine, read_events
from api.history.text_files import FileFault, TextFile
from api.history.times import Dates, read_time
from workers.buffer.entries import parse_instant

HEAD = "event,customer_email,timestamp"
ROW = "login,ann@example.com,2026-01-05"
EVENT = {"event": "login", "customer_email": "ann@example.com", "timestamp": "2026-01-05"}
JSON = '{"event":"login","customer_email":"ann@example.com","timestamp":"2026-01-05"}'

Read = Callable[..., list[FileLine]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write a file, and read its events."""

    def reading(name: str, content: str | bytes, *, now: bool = False) -> list[FileLine]:
        path = tmp_path / name
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.lower().endswith(".gz") else data)
        with TextFile(path) as file:
            return list(read_events(file, now=now))

    return reading


def events(lines: list[FileLine]) -> list[Any]:
    return [line.event for line in lines]


@pytest.mark.parametrize("name", ["events.jsonl", "events.ndjson.gz", "events", "events.txt", "EVENTS.JSON"])
def test_ndjson_is_read_line_by_line(read: Read, name: str) -> None:
    lines = read(name, f"\ufeff\n{JSON}\n\n{JSON}\n[1]\n{{")
    assert [(line.number, line.event) for line in lines] == [(2, EVENT), (4, EVENT), (5, None), (6, None)]
    assert all(line.fault for line in lines[2:])


def test_a_json_array_is_read_item_by_item(read: Read) -> None:
    lines = read("export.json", f"\n[\n  {JSON},\n  7,\n{JSON}]\n")
    assert [(line.number, line.event) for line in lines] == [(1, EVENT), (2, None), (3, EVENT)]
    for cut in (f"[{JSON},", f"[{JSON}", f"[{JSON} {JSON}]", f"[{JSON[:-5]}", "["):
        with pytest.raises(FileFault, match="JSON array"):
            read("export.json", cut)
    assert read("export.json", "[ ]") == []


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("around", [{"object": "list", "url": "/v1/events", "has_more": False}, {"next": None}, {}])
def test_the_array_of_an_apis_answer_is_read(read: Read, around: dict[str, Any], indent: int | None) -> None:
    name = "data" if "object" in around else "results"
    text = json.dumps({**around, name: [EVENT, EVENT], "more": 1}, indent=indent)
    assert events(read("answer.json", text)) == [EVENT, EVENT]


def test_an_array_is_read_in_the_memory_of_its_longest_item(tmp_path: Path) -> None:
    """40 MB, all of it in one line."""
    path = tmp_path / "long.json"
    item = f'{JSON[:-1]},"properties":{{"note":"{"x" * 20_000}"}}}}'
    path.write_text("[" + ",".join([item] * 2000) + "]")
    tracemalloc.start()
    with TextFile(path) as file:
        assert sum(line.event is not None for line in read_events(file)) == 2000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 << 20


def test_a_line_past_all_measure_costs_itself_alone(read: Read) -> None:
    lines = read("x.jsonl", f'{{"x":"{"y" * 9_000_000}"}}\n{JSON}\n')
    assert [(line.number, line.event) for line in lines] == [(1, None), (2, EVENT)]
    assert "over 4,194,304 characters" in lines[0].fault


def test_a_zip_archive_is_read_file_by_file(read: Read) -> None:
    """As Amplitude exports it: packed files in a packed file."""
    packed = zipped({"1/a#0.json.gz": gzip.compress(JSON.encode()), "1/b#1.json": f"{JSON}\n".encode(), "c/": b""})
    for name in ("export.zip", "export.json.gz", "export"):
        assert events(read(name, packed) if name != "export.json.gz" else read("x.json", packed)) == [EVENT, EVENT]
    assert read("x.jsonl", zipped({})) == []


@pytest.mark.parametrize("data", [b"PK\x03\x04nothing", b"cut", b"workbook"])
def test_a_zip_archive_that_cannot_be_read_says_why(read: Read, data: bytes) -> None:
    made = {b"cut": zipped({"a.json": JSON.encode() * 99})[:90], b"workbook": zipped({"[Content_Types].xml": b""})}
    with pytest.raises(FileFault, match=r"damaged|save the sheet as CSV"):
        read("x.json", made.get(data, data))


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("magic", [b"PAR1", b"BZh9", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"])
def test_a_file_that_is_no_text_is_refused_in_words(read: Read, magic: bytes) -> None:
    for name in ("x.csv", "x.json", "x"):
        with pytest.raises(FileFault, match="it is"):
            read(name, magic + b"\0\1\2" * 1000)


@pytest.mark.parametrize("name", ["events.csv", "events.csv.gz", "EXPORT.CSV.GZ", "events.txt", "events"])
def test_csv_columns_that_are_no_field_are_properties(read: Read, name: str) -> None:
    text = f'{HEAD},properties,feature,n\n{ROW},,,\nx,a@b.cd,2025-12-01,"{{""p"":[1]}}",exports,7\n'
    assert events(read(name, text)) == [
        EVENT,
        {
            "event": "x",
            "customer_email": "a@b.cd",
            "timestamp": "2025-12-01",
            "properties": {"p": [1], "feature": "exports", "n": 7},
        },
    ]


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}\n{ROW}\n".replace(",", ";"),
        f"{HEAD}\n{ROW}\n".replace(",", "\t"),
        f"{HEAD}\n{ROW}\n".replace(",", "|"),
        f"sep=;\n{HEAD}\n{ROW}\n".replace(",", ";"),
        f"sep=,\r\n{HEAD}\r\n{ROW}\r\n",
        '"event";"customer_email";"timestamp"\n"login";"ann@example.com";"2026-01-05"\n',
        f"Event, Customer_Email, Timestamp\n{ROW.replace(',', ', ')}\n",
        f"EVENT,Customer Email,TimeStamp\n{ROW}\n",
        f"\n# exported yesterday; by ann, with love\n{HEAD}\n\n{ROW}\n,,\n",
        f"{HEAD}\r{ROW}\r",
    ],
)
@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.txt", "x"])
def test_a_table_is_read_however_it_is_written(read: Read, name: str, text: str) -> None:
    assert events(read(name, text)) == [EVENT]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize(
    ("name", "text"), [("x.csv", f"{HEAD}\n{ROW}"), ("x.jsonl", JSON), ("x.txt", f"{HEAD}\n{ROW}")]
)
def test_unicode_is_read_in_any_encoding(read: Read, name: str, text: str, encoding: str) -> None:
    assert events(read(name, text.encode(encoding))) == [EVENT]


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_bytes_that_cannot_be_read_cost_their_line(read: Read, name: str) -> None:
    rows = [HEAD.encode() + b",feature", ROW.encode() + b",a", ROW.encode() + b",caf\xe9", ROW.encode() + b",b"]
    lines = read(name, b"\n".join(rows))
    assert [(line.number, line.event is None) for line in lines] == [(2, False), (3, True), (4, False)]
    assert "UTF-8" in lines[1].fault


def test_bytes_that_cannot_be_read_cost_their_line_of_ndjson(read: Read) -> None:
    lines = read("x.jsonl", JSON.encode() + b'\n{"event":"caf\xe9"}\n' + JSON.encode())
    assert [(line.number, line.event is None) for line in lines] == [(1, False), (2, True), (3, False)]
    assert "UTF-8" in lines[1].fault


def test_a_header_that_cannot_be_read_is_named(read: Read) -> None:
    with pytest.raises(FileFault, match="UTF-8") as caught:
        read("x.csv", HEAD.encode() + b",caf\xe9\n" + ROW.encode() + b",1\n")
    assert caught.value.number == 1


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (f'{HEAD},feature\n{ROW},exports\n{ROW},"27 inch preview\n{ROW},exports\n{ROW},exports\n', 3),
        (f'{HEAD},feature\n{ROW},"27 inch\n' + f"{ROW},exports\n" * 200_000, 2),
        (f'{HEAD},feature\n{ROW},"27 inch\n{ROW},exports\n{ROW},"a ""b"""\n', 2),
        (f'{HEAD},feature\n{ROW},"27 inch\n{ROW},exports\n{ROW},27"\n{ROW},exports\n', 2),
        (f'{HEAD},"feature\n{ROW},exports\n', 1),
        (f'"{HEAD}\n{ROW}\n{ROW}\n', 1),
        (f'{HEAD}\nlogin,"ann@example.com,2026-01-05\n{ROW}\n', 2),
    ],
)
def test_a_quote_that_is_never_closed_names_its_line(read: Read, text: str, number: int) -> None:
    """And nobody's row is inside another's."""
    with pytest.raises(FileFault, match="a quoted cell") as caught:
        read("q.csv", text)
    assert caught.value.number == number


def test_a_cell_may_hold_lines_and_quotes(read: Read) -> None:
    lines = read("x.csv", f'{HEAD},note\n{ROW},"two, lines\nand ""quotes"""\n{ROW},27" screen\n')
    assert [event["properties"]["note"] for event in events(lines)] == ['two, lines\nand "quotes"', '27" screen']


def test_a_cell_that_is_too_large_costs_its_line(read: Read) -> None:
    lines = read("x.csv", f'{HEAD},note\n{ROW},"{"x" * 140_000}"\n{ROW},b\n')
    assert [line.event is None for line in lines] == [True, False]
    assert "32 KiB" in lines[0].fault


@pytest.mark.parametrize(
    ("timestamp", "instant"),
    [
        ("1767225600", "2026-01-01T00:00:00+00:00"),
        ("1767225600123", "2026-01-01T00:00:00.123000+00:00"),
        ("1767225600.5", "2026-01-01T00:00:00.500000+00:00"),
        ("31.12.2025", "2025-12-31T00:00:00+00:00"),
        ("1.2.2026 9:05", "2026-02-01T09:05:00+00:00"),
        ("01.02.2026, 09:05:06", "2026-02-01T09:05:06+00:00"),
        ("2026/2/1 13:00", "2026-02-01T13:00:00+00:00"),
        ("2026-02-01 13:00:00 UTC", "2026-02-01T13:00:00+00:00"),
        ("20260201", "2026-02-01T00:00:00+00:00"),
        (" 2026-02-01T13:00:00+02:00 ", "2026-02-01T13:00:00+02:00"),
    ],
)
def test_files_write_times_in_several_ways(read: Read, timestamp: str, instant: str) -> None:
    row = read("x.csv", f'{HEAD}\nlogin,a@b.cd,"{timestamp}"\n')
    line = read("x.jsonl", json.dumps({**EVENT, "timestamp": timestamp}))
    for event in events(row + line):
        assert parse_instant(event["timestamp"]).isoformat() == instant


def test_json_has_times_as_numbers_too(read: Read) -> None:
    (event,) = events(read("x.jsonl", json.dumps({**EVENT, "timestamp": 1767225600})))
    assert event["timestamp"] == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize("timestamp", ["12/31/2025", "31.12.25", "32.1.2026", "2026/13/1", "noon"])
def test_a_time_that_nobody_can_tell_is_refused_and_shown(read: Read, timestamp: str) -> None:
    """A slash leaves open if the month or the day comes first."""
    (line,) = read("x.csv", f"{HEAD}\nlogin,a@b.cd,{timestamp}\n")
    assert line.event is None
    if timestamp == "12/31/2025":
        assert line.fault == "`timestamp` is '12/31/2025'; say if the day or the month comes first."
    else:
        assert line.fault.endswith(f"Here it is {timestamp!r}.")


@pytest.mark.parametrize(
    ("timestamp", "dates", "instant"),
    [
        ("3/4/2025", "month-first", "2025-03-04T00:00:00+00:00"),
        ("3/4/2025", "day-first", "2025-04-03T00:00:00+00:00"),
        ("12/31/2025 6:05 PM", "month-first", "2025-12-31T18:05:00+00:00"),
        ("31/12/2025, 12:30 a.m.", "day-first", "2025-12-31T00:30:00+00:00"),
        ("12/31/2025 12:00:01 pm", "month-first", "2025-12-31T12:00:01+00:00"),
        ("12/31/2025 18:05", "month-first", "2025-12-31T18:05:00+00:00"),
        ("2025-03-04", "day-first", "2025-03-04T00:00:00+00:00"),
    ],
)
def test_a_person_says_the_order_of_dates_with_slashes(timestamp: str, dates: Dates, instant: str) -> None:
    text = read_time(timestamp, dates)
    assert text
    assert parse_instant(text).isoformat() == instant


@pytest.mark.parametrize(
    ("timestamp", "dates"), [("31/12/2025", "month-first"), ("1/1/2025 13:00 pm", "day-first"), ("1/2/25", "day-first")]
)
def test_a_date_that_does_not_fit_the_order_stays_as_it_is(timestamp: str, dates: Dates) -> None:
    assert read_time(timestamp, dates) == timestamp


def test_a_number_that_is_no_time_is_refused(read: Read) -> None:
    (line,) = read("x.csv", f"{HEAD}\nlogin,a@b.cd,{'9' * 17}\n")
    assert line.fault.endswith("is not a number of seconds or milliseconds since 1970")


@pytest.mark.parametrize("name", ["amount", "mrr", "duration_seconds", "score", "Amount"])
def test_an_amount_is_a_number_however_many_decimals_it_has(read: Read, name: str) -> None:
    lines = read("x.csv", f"{HEAD},{name}\n" + "".join(f"{ROW},{cell}\n" for cell in ("49.00", "49.50", "-1.10", "49")))
    assert [event["properties"][name] for event in events(lines)] == [49.0, 49.5, -1.1, 49]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1,234.50", 1234.5),
        ("1.234,50", 1234.5),
        ("1 234 567,00", 1234567.0),
        ("399,00", 399.0),
        *((text, text) for text in ("1,234", "1.234.56", "1,23,456.00", "€49", "49.00 EUR", ",50")),
    ],
)
def test_an_amount_with_a_separator_of_thousands_is_a_number(read: Read, cell: str, value: object) -> None:
    (line,) = read("x.csv", f'{HEAD},amount\n{ROW},"{cell}"\n')
    assert line.event
    assert line.event["properties"] == {"amount": value}


@pytest.mark.parametrize(
    ("cell", "value"),
    [("7", 7), ("-2.5", -2.5), ("0.5", 0.5), ("0", 0)]
    + [(text, text) for text in ("007", "1e5", "nan", "1.10", "2.0", "10.50", "-0", "-0.0", "+7", "1_000", "0x1f")]
    + [("9" * 20, "9" * 20), ("0.1234567890123456789", "0.1234567890123456789")],
)
def test_a_cell_is_a_number_where_it_is_written_as_one(read: Read, cell: str, value: object) -> None:
    (line,) = read("x.csv", f"{HEAD},n\n{ROW},{cell}\n")
    assert line.event
    assert line.event["properties"] == {"n": value}


@pytest.mark.parametrize("name", ["plan", "feature", "page", "Plan"])
def test_a_name_is_never_a_number(read: Read, name: str) -> None:
    (line,) = read("x.csv", f"{HEAD},{name}\n{ROW},2\n")
    assert line.event
    assert line.event["properties"] == {name: "2"}


def test_a_bad_row_is_a_line_of_its_own(read: Read) -> None:
    lines = read("x.csv", f'{HEAD},properties\n{ROW},{{\n{ROW},{{}},y\n{ROW},"a"b\n{ROW},\n')
    assert [(line.number, line.event is None) for line in lines] == [(2, True), (3, True), (4, True), (5, False)]


def test_a_csv_without_the_columns_names_those_that_it_has(read: Read) -> None:
    with pytest.raises(FileFault, match="customer_email; it names event, email, at") as caught:
        read("x.csv", "\nevent,email,at\nx,a@b.cd,2026-01-05\n")
    assert caught.value.number == 2


def test_a_user_id_may_stand_in_place_of_the_address(read: Read) -> None:
    (event,) = events(read("x.csv", "event,user_id,timestamp\nlogin,u1,2026-01-05\n"))
    assert event == {"event": "login", "user_id": "u1", "timestamp": "2026-01-05"}


@pytest.mark.parametrize("column", ["occurred_at", "time", "date", "created_at", "Event Time", "sent at"])
def test_history_without_a_timestamp_is_refused_and_the_column_meant_is_named(read: Read, column: str) -> None:
    text = f"event,customer_email,{column}\n{ROW}\n"
    with pytest.raises(FileFault, match=f"rename the column {column}, or .*--now"):
        read("h.csv", text)
    (line,) = read("h.csv", text, now=True)
    assert line.event
    assert "timestamp" not in line.event


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.csv", f"{HEAD}\n{ROW}\nlogin,bob@example.com,\n"),
        ("x.csv", f"{HEAD}\n{ROW}\nlogin,bob@example.com"),
        ("x.jsonl", JSON + '\n{"event":"login","customer_email":"b@c.de","time":"2026-01-05"}'),
        ("x.jsonl", JSON + '\n{"event":"login","customer_email":"b@c.de","properties":{"time":1767225600}}'),
        ("x.jsonl", JSON + '\n{"event":"login","customer_email":"b@c.de","timestamp":null,"event_id":"1"}'),
    ],
)
def test_an_event_without_a_time_is_not_dated_to_today(read: Read, name: str, text: str) -> None:
    lines = read(name, text)
    assert events(lines) == [EVENT, None]
    assert "--now" in lines[1].fault


@pytest.mark.parametrize(
    ("json", "words"),
    [
        ('{"event":"x","customer_email":"a@b.cd","timestamp":true}', "ISO 8601"),
        ('{"event":"x","customer_email":7,"timestamp":"2026-01-05"}', "`customer_email` must be a string"),
        ('{"event":"x","customer_email":"a@b.cd","timestamp":"9999-12-31"}', "1 hour ahead"),
        ('{"event":"x","customer_email":"a@b.cd","timestamp":"1999-12-31"}', "before the year 2000"),
        (
            '{"event":"x","customer_email":"a@b.cd","timestamp":"01/05/2026"}',
            "`timestamp` is '01/05/2026'; say if the day or the month comes first.",
        ),
        ('{"event":"x \\ud83d","customer_email":"a@b.cd","timestamp":"2026-01-05"}', "half of a character"),
        ('{"event":"x"', "ends too early"),
    ],
)
def test_the_rules_are_those_of_the_track_route(read: Read, json: str, words: str) -> None:
    (line,) = read("x.jsonl", json)
    assert line.event is None
    assert words in line.fault


def test_damaged_gzip_is_told_after_what_could_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(f"{JSON}\n".encode() * 5000)[:-20])
    with TextFile(path) as file, pytest.raises(FileFault, match="damaged or cut off"):
        list(read_events(file))


def test_an_empty_file_is_told(read: Read) -> None:
    assert read("x.jsonl", "\n\n") == []
    with pytest.raises(FileFault, match="empty"):
        read("x.csv", "")
