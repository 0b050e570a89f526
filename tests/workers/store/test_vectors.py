from uuid import uuid4

import numpy as np

from workers.store import Connection, vectors

QUERY = """
    SELECT id::text, flag, whole, nullif(part, 'NaN'), nullif(number, 'NaN'), word, text
    FROM unnest(%(id)s::uuid[], %(flag)s::boolean[], %(whole)s::integer[], %(part)s::real[],
                %(number)s::double precision[], %(word)s::text[], %(text)s::text[])
         AS columns (id, flag, whole, part, number, word, text)
"""


def read(
    connection: Connection, rows: list[tuple[str, bool, int, float | None, float | None, str | None, str]]
) -> list[object]:
    ids, flags, wholes, parts, numbers, words, texts = [list(column) for column in zip(*rows, strict=True)] or [[]] * 7
    parameters = {
        "id": vectors.uuids(ids),
        "flag": vectors.booleans(flags),
        "whole": vectors.integers(wholes),
        "part": vectors.reals(parts),
        "number": vectors.doubles(np.array(numbers, np.float64)),
        "word": vectors.words(words),
        "text": vectors.texts([text.encode() for text in texts]),
    }
    return list(connection.execute(QUERY, parameters))


def test_columns_arrive_as_they_were_sent(connection: Connection) -> None:
    """Of each type, nulls and letters of any alphabet included."""
    rows = [
        (str(uuid4()), True, -7, 0.5, 1790000000.123456, "größer", "größer"),
        (str(uuid4()), False, 2**31 - 1, None, None, None, ""),
        (str(uuid4()), True, 0, -1.25, -0.1, "", "[1]"),
    ]
    assert read(connection, rows) == rows


def test_no_row_is_an_empty_column(connection: Connection) -> None:
    assert read(connection, []) == []
