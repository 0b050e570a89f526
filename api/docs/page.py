"""The API's description for machines, `/openapi.json`, and for people, `/docs`: both made once, from one table.

Nothing on the page comes from elsewhere, and its policy lets nothing in: it works offline, and runs no script but ours.
"""

import shlex
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from api.assets import REVALIDATE, STATIC, Static, asset, policy
from api.dashboard.filters import code
from api.dashboard.labels import RECOGNISED_WORDS
from api.docs import guide
from api.docs.describe import fields, kind
from api.docs.openapi import document
from api.docs.reference import REFERENCE
from api.errors import CODES
from api.etags import has, not_modified, tag_of

HERE = Path(__file__).parents[1]
FROM_ANYWHERE = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}


async def openapi(request: Request) -> Response:
    """`GET /openapi.json`."""
    return _answer_cached(request, *_encode_document(), {"content-type": "application/json"})


async def docs(request: Request) -> Response:
    """`GET /docs`: the page."""
    headers = {"content-type": "text/html; charset=utf-8", "Content-Security-Policy": policy()}
    return _answer_cached(request, *_page(), headers)


async def helper(request: Request) -> Response:
    """`GET /windback.js`: the browser helper."""
    return _answer_cached(request, *_helper(), {"content-type": "text/javascript; charset=utf-8", **FROM_ANYWHERE})


@cache
def _helper() -> tuple[bytes, str]:
    body = (STATIC / "windback.js").read_bytes()
    return body, tag_of(body)


def _answer_cached(request: Request, body: bytes, tag: str, headers: dict[str, str]) -> Response:
    headers = {**headers, "Cache-Control": REVALIDATE}
    return not_modified(tag, headers) if has(request, tag) else Response(body, headers={**headers, "ETag": tag})


@cache
def _encode_document() -> tuple[bytes, str]:
    body = msgspec.json.encode(document(REFERENCE))
    return body, tag_of(body)


@cache
def _page() -> tuple[bytes, str]:
    loader = jinja2.FileSystemLoader(HERE / "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(code=code, pretty=_pretty)
    described = document(REFERENCE)
    components = described["components"]["schemas"]
    page = environment.get_template("docs.html").render(
        document=described,
        codes=CODES,
        snippets=guide.SNIPPETS,
        reading=guide.READING,
        recognised=RECOGNISED_WORDS,
        properties=guide.PROPERTIES,
        asset=asset,
        curl=_curl,
        fields=lambda schema: list(fields(schema, components)),
        kind=lambda schema: kind(schema, components),
    )
    return page.encode(), tag_of(page.encode())


def _pretty(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _curl(method: str, path: str, operation: dict[str, Any]) -> str:
    """The call as a command, with the first example; the page's script writes it anew from what is typed."""
    for parameter in operation.get("parameters", []):
        path = path.replace(f"{{{parameter['name']}}}", str(parameter.get("example", "")))
    words = ["curl", *(["-X", method] if method != "GET" else []), f"http://127.0.0.1:8000{path}"]
    line = shlex.join(words)
    if "security" in operation:
        line += ' \\\n  -H "X-API-Key: $KEY"'
    if "requestBody" in operation:
        example = next(iter(operation["requestBody"]["content"]["application/json"]["examples"].values()))
        line += f" \\\n  -d {shlex.quote(_pretty(example['value']))}"
    return line


ROUTES = (
    Route("/openapi.json", openapi, methods=["GET"]),
    Route("/docs", docs, methods=["GET"], include_in_schema=False),
    Route("/windback.js", helper, methods=["GET"], include_in_schema=False),
    Mount("/static", Static()),
)
