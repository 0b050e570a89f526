"""The API's description in OpenAPI 3.1, made from the routes in `api.docs.reference` and their types."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import msgspec

from api.docs.schemas import Error, InvalidEvent
from api.errors import CODES, RETRY_AFTER_SECONDS

Json = dict[str, Any]
JSON = "application/json"
SECURITY = "key"
ERROR_TYPES: Mapping[str, type[Error]] = {"invalid_event": InvalidEvent}
ERROR_TITLES = {
    400: "The body can't be read",
    401: "No valid key",
    403: "Not with this key",
    404: "Not found",
    405: "Not this method",
    408: "Too slow",
    413: "Too much",
    415: "Unknown encoding",
    422: "Refused",
    429: "Too fast",
    431: "Too many headers",
    500: "A fault of the service",
    503: "Not available",
}


class Parameter(NamedTuple):
    """A parameter of a route. `schema` is JSON Schema."""

    name: str
    schema: Json
    description: str
    example: Any = None
    place: str = "query"


class RequestBody(NamedTuple):
    """The body of a request: one of these types. `examples` are named; fields in `not_both` exclude each other."""

    types: Sequence[type[msgspec.Struct]]
    examples: Mapping[str, Any]
    not_both: Sequence[str] = ()


class Reply(NamedTuple):
    """An answer of a route. `type` is a Struct, or str for text of another media type, or None for no body."""

    description: str
    type: type[Any] | None
    example: Any
    media: str = JSON


class Operation(NamedTuple):
    """A route: `codes` are the errors it can give besides internal_error; `key` whether it needs one."""

    name: str
    method: str
    path: str
    tag: str
    summary: str
    description: str
    answers: Mapping[int, Reply]
    codes: Sequence[str] = ()
    parameters: Sequence[Parameter] = ()
    body: RequestBody | None = None
    key: bool = True


class Reference(NamedTuple):
    """The whole description. `anywhere` are the errors of addresses and methods that don't exist."""

    description: str
    tags: Mapping[str, str]
    operations: Sequence[Operation]
    anywhere: Sequence[str]
    rejected: Sequence[Json]


def document(reference: Reference) -> Json:
    """The whole document."""
    schemas, refs = _schemas(reference)
    builder = _Builder(refs, reference.rejected)
    paths: dict[str, Json] = {}
    for operation in reference.operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = builder.operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Windback", "version": version("windback-server"), "description": reference.description},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in reference.tags.items()],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {code: builder.error(CODES[code].status, [code]) for code in reference.anywhere},
            "securitySchemes": {SECURITY: {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
        },
    }


def _schemas(reference: Reference) -> tuple[Json, dict[Any, Json]]:
    """The components, and how each type of the table is referred to."""
    types = [*dict.fromkeys(_types(reference))]
    references, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return components, dict(zip(types, references, strict=True))


def _types(reference: Reference) -> Iterator[Any]:
    yield from (Error, *ERROR_TYPES.values())
    for operation in reference.operations:
        yield from operation.body.types if operation.body else ()
        yield from (answer.type for answer in operation.answers.values() if answer.type)


class _Builder:
    def __init__(self, refs: Mapping[Any, Json], rejected: Sequence[Json]) -> None:
        self._refs = refs
        self._rejected = rejected

    def operation(self, operation: Operation) -> Json:
        described: Json = {
            "operationId": operation.name,
            "tags": [operation.tag],
            "summary": operation.summary,
            "description": operation.description,
            "responses": self._responses(operation),
        }
        if operation.parameters:
            described["parameters"] = [_parameter(parameter) for parameter in operation.parameters]
        if operation.body:
            described["requestBody"] = self._body(operation.body)
        if operation.key:
            described["security"] = [{SECURITY: []}]
        return described

    def error(self, status: int, codes: Sequence[str]) -> Json:
        """The answer with this status, which may have any of these codes."""
        kinds = {ERROR_TYPES.get(code, Error) for code in codes}
        schemas = [{**self._refs[kind], "properties": {"code": {"enum": list(codes)}}} for kind in kinds]
        described: Json = {
            "description": ERROR_TITLES[status],
            "content": {
                JSON: {
                    "schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas},
                    "examples": {code: {"value": self._error_example(code)} for code in codes},
                }
            },
        }
        if any(code in RETRY_AFTER_SECONDS for code in codes):
            described["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
        return described

    def _error_example(self, code: str) -> Json:
        more = {"rejected": self._rejected} if ERROR_TYPES.get(code) else {}
        return {"status": "error", "code": code, "message": CODES[code].message, **more}

    def _responses(self, operation: Operation) -> Json:
        responses = {str(status): self._answer(answer) for status, answer in operation.answers.items()}
        by_status: dict[int, list[str]] = {}
        for code in [*operation.codes, "internal_error"]:
            by_status.setdefault(CODES[code].status, []).append(code)
        errors = {str(status): self.error(status, codes) for status, codes in sorted(by_status.items())}
        assert not responses.keys() & errors.keys(), operation.name
        return responses | errors

    def _answer(self, answer: Reply) -> Json:
        if answer.type is None:
            return {"description": answer.description}
        content: Json = {"schema": self._refs[answer.type]}
        if answer.example is not None:
            content["examples"] = {"example": {"value": answer.example}}
        return {"description": answer.description, "content": {answer.media: content}}

    def _body(self, body: RequestBody) -> Json:
        refs = [self._refs[kind] for kind in body.types]
        schema: Json = {"oneOf": refs, "not": {"required": list(body.not_both)}} if body.not_both else refs[0]
        examples = {name: {"value": value} for name, value in body.examples.items()}
        return {"required": True, "content": {JSON: {"schema": schema, "examples": examples}}}


def _parameter(parameter: Parameter) -> Json:
    described = {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.description,
        "schema": parameter.schema,
    }
    return described if parameter.example is None else {**described, "example": parameter.example}
