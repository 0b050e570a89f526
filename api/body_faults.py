"""Explains in plain words why a body does not have the form of its Struct."""

import re

from msgspec import ValidationError, inspect

from workers.settings import describe_values

PLACE = re.compile(r" - at `\$\.?(.*)`$")


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
    return f"{message.removesuffix(place[0]) if place else message}, in `{path}`."
