"""Explains in plain words why a body does not have the form of its Struct."""

import re

from msgspec import ValidationError, inspect

from workers.settings import describe_values

PLACE = re.compile(r" - at `\$\.?(.*)`$")
TYPES = re.compile(r"Expected `(\w+)`, got `(\w+)`$")
TYPE_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
}


def explain_body(error: ValidationError, kind: type) -> str:
    """Returns a sentence that names the field and what it must be."""
    message = str(error)
    place = PLACE.search(message)
    path = place[1] if place else ""
    struct = inspect.type_info(kind)
    assert isinstance(struct, inspect.StructType)
    fields = {field.encode_name: field.type for field in struct.fields}
    if not path:
        name = message.split("`")[1]
        if "unknown field" in message:
            return f"There is no field `{name}`; there are {', '.join(fields)}."
        return f"`{name}` is required." if "missing required field" in message else "The body must be a JSON object."
    if path in fields:
        return f"`{path}` must be {describe_values(fields[path])}."
    fault = message.removesuffix(place[0]) if place else message
    if types := TYPES.match(fault):
        expected, sent = (TYPE_WORDS.get(word, word) for word in types.groups())
        return f"`{path}` must be {expected}, not {sent}."
    return f"{fault}, in `{path}`."
