"""JSON Schema in a few words, for people: the fields of a type, one row each."""

from collections.abc import Iterator
from typing import Any, NamedTuple

Json = dict[str, Any]
WORDS = {"date-time": "date and time", "string": "text", "integer": "whole number"}


class Field(NamedTuple):
    """A field of a body. `name` is its path: `risk.reasons[].text`."""

    name: str
    kind: str
    required: bool
    description: str


def fields(schema: Json, components: Json, prefix: str = "") -> Iterator[Field]:
    """The fields of an object, those of the objects in it included."""
    schema = resolve(schema, components)
    for name, field in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield Field(path, kind(field, components), name in schema.get("required", []), field.get("description", ""))
        yield from fields(_inner(field, components), components, path + ("[]." if _is_list(field) else "."))


def kind(schema: Json, components: Json) -> str:
    """Describes the values that a schema allows: `string, 1 to 200 characters`."""
    schema = resolve(schema, components)
    if "anyOf" in schema:
        return " or ".join(kind(choice, components) for choice in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list{_span(schema, 'Items', '')}"
    word = WORDS.get(schema.get("format", "")) or schema.get("type", "any")
    return WORDS.get(word, word) + _span(schema, "Length", " characters") + _range(schema)


def resolve(schema: Json, components: Json) -> Json:
    """The schema that a reference stands for."""
    if "$ref" in schema:
        target: Json = components[schema["$ref"].rpartition("/")[2]]
        return target
    return schema


def _inner(field: Json, components: Json) -> Json:
    """The object in a field, whether it is one, a list of them, or may be null."""
    field = field.get("items", field)
    choices = [choice for choice in field.get("anyOf", []) if "$ref" in choice]
    return resolve(choices[0] if choices else field, components)


def _is_list(field: Json) -> bool:
    return field.get("type") == "array"


def _span(schema: Json, what: str, unit: str) -> str:
    least, most = schema.get(f"min{what}"), schema.get(f"max{what}")
    if most is None:
        return ""
    return f", {least} to {most}{unit}" if least else f", at most {most}{unit}"


def _range(schema: Json) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    return "" if most is None else f", {least} to {most}"
