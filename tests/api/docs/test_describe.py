from typing import Any

import pytest

from api.docs.describe import fields, kind

COMPONENTS: dict[str, Any] = {
    "Reason": {
        "type": "object",
        "properties": {"text": {"type": "string", "description": "Why."}},
        "required": ["text"],
    },
    "Risk": {
        "type": "object",
        "properties": {"reasons": {"type": "array", "items": {"$ref": "#/components/schemas/Reason"}}},
    },
}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string", "minLength": 1, "maxLength": 200}, "text, 1 to 200 characters"),
        ({"type": "string", "maxLength": 64}, "text, at most 64 characters"),
        ({"type": "string", "format": "date-time"}, "date and time"),
        ({"type": "string", "format": "cursor"}, "text"),
        ({"type": "integer", "minimum": 1, "maximum": 1000}, "whole number, 1 to 1000"),
        ({"type": "number"}, "number"),
        ({"type": "array", "minItems": 1, "maxItems": 100}, "list, 1 to 100"),
        ({"enum": ["low", "high"]}, "low, high"),
        ({"anyOf": [{"$ref": "#/components/schemas/Risk"}, {"type": "null"}]}, "object or null"),
        ({}, "any"),
    ],
)
def test_what_a_schema_allows_is_said_in_words(schema: dict[str, Any], words: str) -> None:
    assert kind(schema, COMPONENTS) == words


def test_the_fields_of_what_is_inside_are_named_by_their_path() -> None:
    customer = {
        "type": "object",
        "properties": {"risk": {"anyOf": [{"$ref": "#/components/schemas/Risk"}, {"type": "null"}]}},
        "required": ["risk"],
    }
    paths = list(fields(customer, COMPONENTS))
    assert [field.name for field in paths] == ["risk", "risk.reasons", "risk.reasons[].text"]
    assert [field.required for field in paths] == [True, False, True]
    assert paths[-1].description == "Why."
