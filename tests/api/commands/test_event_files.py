import gzip
from pathlib import Path

import pytest

from api.commands.event_files import Line, lines


def written(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("name", ["events.jsonl", "events.ndjson.gz"])
def test_ndjson_is_read_line_by_line(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, '\ufeff{"event":"a"}\n\n{"event":"b"}\n[1]\n{')
    found = list(lines(path))
    assert [(line.number, line.event) for line in found] == [
        (1, {"event": "a"}),
        (3, {"event": "b"}),
        (4, None),
        (5, None),
    ]
    assert all(line.fault for line in found[2:])


@pytest.mark.parametrize("name", ["events.csv", "events.csv.gz"])
def test_csv_columns_that_are_no_field_are_properties(tmp_path: Path, name: str) -> None:
    head = "event,customer_email,timestamp,properties,feature,n\n"
    text = head + 'login,a@b.cd,,,,\nx,a@b.cd,2025-12-01,"{""p"":[1]}",exports,7\n'
    assert list(lines(written(tmp_path, name, text))) == [
        Line(2, {"event": "login", "customer_email": "a@b.cd"}),
        Line(
            3,
            {
                "event": "x",
                "customer_email": "a@b.cd",
                "timestamp": "2025-12-01",
                "properties": {"p": [1], "feature": "exports", "n": 7},
            },
        ),
    ]


@pytest.mark.parametrize(("cell", "value"), [("7", 7), ("0.5", 0.5), ("007", "007"), ("1e5", "1e5"), ("nan", "nan")])
def test_a_cell_is_a_number_where_it_is_written_as_one(tmp_path: Path, cell: str, value: object) -> None:
    (line,) = lines(written(tmp_path, "x.csv", f"event,customer_email,n\nx,a@b.cd,{cell}\n"))
    assert line.event
    assert line.event["properties"] == {"n": value}


def test_a_bad_row_is_a_line_of_its_own(tmp_path: Path) -> None:
    text = "event,customer_email,properties\nx,a@b.cd,{\nx,a@b.cd,{},y\nx,a@b.cd,\n"
    found = list(lines(written(tmp_path, "x.csv", text)))
    assert [(line.number, line.event is None) for line in found] == [(2, True), (3, True), (4, False)]


def test_a_csv_without_the_columns_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="customer_email"):
        list(lines(written(tmp_path, "x.csv", "event,email\nx,a@b.cd\n")))
