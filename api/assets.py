"""The files of the package's pages. Nothing on a page comes from elsewhere, so that it works offline."""

import hashlib
from functools import cache
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC = Path(__file__).parent / "static"
REVALIDATE = "no-cache"
FOR_EVER = "public, max-age=31536000, immutable"


class Static(StaticFiles):
    """The files at `/static`. One that is asked for by its version, `?v=…`, never changes."""

    def __init__(self) -> None:
        super().__init__(directory=STATIC)

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        versioned = scope["query_string"].startswith(b"v=")
        response.headers["Cache-Control"] = FOR_EVER if versioned else REVALIDATE
        return response


@cache
def asset(name: str) -> str:
    """The address of a file of `static`, with its version."""
    version = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:8]
    return f"/static/{name}?v={version}"


def policy(**more: str) -> str:
    """A Content-Security-Policy: files of our own, and of these directives what is given (`img_src="'self'"`)."""
    directives = {
        "default-src": "'none'",
        "style-src": "'self'",
        "script-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    directives |= {name.replace("_", "-"): value for name, value in more.items()}
    return "; ".join(f"{name} {value}" for name, value in directives.items())
