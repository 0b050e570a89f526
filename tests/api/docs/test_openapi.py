"""The document of the API: valid, whole, and true of the service that runs."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import hypothesis
import msgspec
import pytest
import schemathesis
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator
from openapi_spec_validator import validate
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.schemas import BaseSchema
from starlette.datastructures import QueryParams
from starlette.routing import Route
from starlette.testclient import TestClient

from api.app import create_app
from api.docs import schemas
from api.docs.openapi import Operation, document
from api.docs.reference import ANYWHERE, OPERATIONS, REFERENCE
from api.errors import CODES
from api.track import rules
from tests.workers.events import event
from workers.accounts.keys import NewKey
from workers.settings import Settings

DOCUMENT = json.loads(msgspec.json.encode(document(REFERENCE)))
FUZZ = {
    "generation": {
        "deterministic": True,
        "database": "none",
        "max-examples": 30,
        "allow-x00": False,
        "with-security-parameters": False,  # every request has the key; `ignored_auth` tries without
    },
    # A batch may hold invalid events beside valid ones; a body may be too long to be read at all.
    # Of two times that are right alone, the first may be after the second.
    "checks": {
        "negative_data_rejection": {"expected-statuses": [207, 400, 401, 404, 413, 422]},
        "positive_data_acceptance": {"expected-statuses": ["2xx", 401, 403, 404, 422]},
    },
}
ANY_INPUT = hypothesis.settings(suppress_health_check=[*hypothesis.HealthCheck], deadline=None)  # all share one world

# What JSON Schema can't say: a cursor comes from a page, and an event isn't older than 2000 or of tomorrow.
schemathesis.openapi.format("cursor", st.just(""))
schemathesis.openapi.format(
    "date-time", st.integers(946_684_800, 1_767_225_600).map(lambda at: datetime.fromtimestamp(at, UTC).isoformat())
)


@pytest.fixture
def jane(acme: TestClient, work: Callable[[], None]) -> TestClient:
    """The service, with a customer who has a risk."""
    acme.post("/api/v1/track", json={"events": [event(timestamp=f"2025-11-{day:02}") for day in range(1, 9)]})
    work()
    return acme


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The service behind a real web server; a busy machine is no outage."""
    monkeypatch.setattr("api.pool.POOL_WAIT_SECONDS", 30.0)
    return str(request.getfixturevalue("served"))


@pytest.fixture(params=OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
def operation_schema(request: pytest.FixtureRequest) -> BaseSchema:
    """The document, of which one operation is tested. Its inputs are worked out when the test runs: that takes seconds,
    which each process would spend before its first test otherwise."""
    described = schemathesis.openapi.from_dict(DOCUMENT, config=SchemathesisConfig.from_dict(FUZZ))
    return described.include(path=request.param.path, method=request.param.method)


def test_the_service_is_as_it_is_described(
    operation_schema: BaseSchema, url: str, key: NewKey, jane: TestClient
) -> None:
    def check(case: Any) -> None:
        case.call_and_validate(base_url=url, headers={"X-API-Key": key.secret})

    (built,) = get_all_tests(schema=operation_schema, test_func=check, settings=ANY_INPUT, given_kwargs=None)
    assert isinstance(built, Ok)
    _, test = built.ok()
    test()


def test_a_name_in_a_path_is_unescaped_once(url: str, acme: TestClient, work: Callable[[], None]) -> None:
    for name in ("%2F", "a/../b", "100%", "+"):
        acme.post("/api/v1/track", json={"event": name, "customer_email": "jane@example.com"})
        work()
        address = f"{url}/api/v1/analytics/events/{quote(name, safe='')}"
        with urlopen(Request(address, headers=dict(acme.headers))) as response:
            assert json.load(response)["event"] == name


def test_the_document_is_valid_openapi() -> None:
    validate(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1")


def test_every_route_is_in_the_document() -> None:
    """A page for people says `include_in_schema=False`."""
    app = create_app(Settings(database_url="postgresql://x", redis_url="redis://x"))
    routes = [route for route in app.routes if isinstance(route, Route) and route.include_in_schema]
    served = {(route.path.replace(":path}", "}"), method) for route in routes for method in route.methods or {"POST"}}
    described = {(path, method.upper()) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert described == {(path, method) for path, method in served if method != "HEAD"}


def test_every_error_code_is_in_the_document() -> None:
    assert {code for operation in OPERATIONS for code in operation.codes} | {*ANYWHERE, "internal_error"} == {*CODES}


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.method == "GET"], ids=lambda one: one.name)
def test_the_parameters_that_are_read_are_those_described(
    jane: TestClient, operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[str] = set()

    def get(parameters: QueryParams, name: str, default: Any = None) -> Any:
        asked.add(name)
        return default

    monkeypatch.setattr(QueryParams, "get", get)
    monkeypatch.setattr(QueryParams, "__getitem__", get)
    assert jane.get(operation.path.format(email="jane@example.com", name="login", strategy="none")).status_code == 200
    assert asked == {parameter.name for parameter in operation.parameters if parameter.place == "query"}


def examples(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every example of the document, with its schema."""
    if isinstance(node, dict):
        if isinstance(node.get("examples"), dict):
            yield from ((node["schema"], example["value"]) for example in node["examples"].values())
        for value in node.values():
            yield from examples(value)


def test_every_example_is_of_its_type() -> None:
    all_examples = list(examples(DOCUMENT))
    assert len(all_examples) > len(CODES)
    for schema, example in all_examples:
        Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(example)


def test_the_examples_of_events_are_taken(acme: TestClient) -> None:
    body = DOCUMENT["paths"]["/api/v1/track"]["post"]["requestBody"]
    for example in body["content"]["application/json"]["examples"].values():
        assert acme.post("/api/v1/track", json=example["value"]).status_code == 200


def test_events_have_the_fields_that_are_described() -> None:
    assert schemas.Event.__struct_fields__ == rules.FIELDS


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_the_description_needs_no_key_and_is_sent_once(client: TestClient, path: str) -> None:
    first = client.get(path)
    assert first.status_code == 200
    again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_page_names_every_route_and_lets_nothing_foreign_in(client: TestClient) -> None:
    page = client.get("/docs")
    for path in DOCUMENT["paths"]:
        assert path in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    for foreign in ("<style", " style=", " onclick=", "<script>", 'src="http', 'href="http'):
        assert foreign not in page.text


def test_the_files_of_the_page_are_kept_for_ever_by_version(client: TestClient) -> None:
    for name in ("docs.css", "docs.js", "docs.svg"):
        (path,) = {part for part in client.get("/docs").text.split('"') if part.startswith(f"/static/{name}?v=")}
        response = client.get(path)
        assert response.status_code == 200
        assert "immutable" in response.headers["cache-control"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert client.get(f"/static/{name}").headers["cache-control"] == "no-cache"
    assert client.get("/static/../app.py").json()["code"] == "not_found"
    assert client.get("/static/nothing.js").json()["code"] == "not_found"
