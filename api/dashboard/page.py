"""What every page has: a session, a policy that lets nothing in, and errors that are pages."""

from collections.abc import Awaitable, Callable
from functools import cache, wraps
from pathlib import Path
from urllib.parse import quote

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api.assets import policy
from api.dashboard import filters, session
from api.dashboard.session import Session
from api.errors import Refused

HEADERS = {
    "Content-Security-Policy": policy(img_src="'self' data:", form_action="'self'"),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers hide the origin of our own forms
}
NAVIGATION = (
    ("/", "Overview"),
    ("/customers", "Customers"),
    ("/events", "Events"),
    ("/model", "Model"),
    ("/keys", "Keys"),
)
TITLES = {
    401: "Sign in",
    403: "Not allowed",
    404: "Not found",
    405: "Not this way",
    413: "Too much",
    422: "That can't be used",
    429: "Too many attempts",
    503: "Not available right now",
}

Page = Callable[[Request, Session], Awaitable[Response]]
Handler = Callable[[Request, Exception], Awaitable[Response]]


def page(endpoint: Page) -> Callable[[Request], Awaitable[Response]]:
    """A route for those who are signed in; others are asked to."""

    @wraps(endpoint)
    async def route(request: Request) -> Response:
        found = await session.current(request)
        if found is not None:
            request.state.session = found
            return await endpoint(request, found)
        return _again(request) if _came_from_elsewhere(request) else _sign_in_first(request)

    return route


def render(
    request: Request, template: str, found: Session | None = None, status: int = 200, **context: object
) -> Response:
    """A page out of a template."""
    text = (
        _environment().get_template(template).render(request=request, session=found, navigation=NAVIGATION, **context)
    )
    return HTMLResponse(text, status, headers=HEADERS)


def redirect(address: str) -> Response:
    """See there: after a form, so that reloading sends nothing twice."""
    return RedirectResponse(address, 303, headers={"Cache-Control": "no-store"})


def address(request: Request) -> str:
    """Where this service is, as the browser knows it: https://windback.example.com."""
    return f"{'https' if session.over_https(request) else 'http'}://{request.url.netloc}"


def or_page(handler: Handler) -> Handler:
    """An exception handler whose answers are pages for browsers, outside the API."""

    @wraps(handler)
    async def handle(request: Request, error: Exception) -> Response:
        answer = await handler(request, error)
        return _error_page(request, error, answer) if _wants_page(request) else answer

    return handle


async def on_form_refused(request: Request, error: Exception) -> Response:
    """The handler of FormRefused."""
    found = getattr(request.state, "session", None)
    return render(request, "error.html", found, status=403, title=TITLES[403], message=str(error))


def _wants_page(request: Request) -> bool:
    return not request.url.path.startswith("/api/") and "text/html" in request.headers.get("accept", "")


def _error_page(request: Request, error: Exception, answer: Response) -> Response:
    title = TITLES.get(answer.status_code, "Something went wrong")
    message = error.message if isinstance(error, Refused) else Refused(_code(answer.status_code)).message
    found = getattr(request.state, "session", None)
    made = render(request, "error.html", found, status=answer.status_code, title=title, message=message)
    kept = ("retry-after", "allow")
    made.headers.update({name: value for name, value in answer.headers.items() if name in kept})
    return made


def _code(status: int) -> str:
    return {404: "not_found", 405: "method_not_allowed"}.get(status, "internal_error")


def _came_from_elsewhere(request: Request) -> bool:
    """Whether a link of another site led here: the browser then keeps back the cookie, which is SameSite=Strict."""
    return request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site"


def _again(request: Request) -> Response:
    """A page that asks for this address anew, by itself: this time from here, with the cookie."""
    return render(request, "moment.html")


def _sign_in_first(request: Request) -> Response:
    if request.method == "POST" or request.url.path == "/":
        return redirect("/sign-in")
    query = request.scope["query_string"].decode("latin-1")
    wanted = filters.here(request) + (f"?{query}" if query else "")
    return redirect(f"/sign-in?next={quote(wanted)}")


@cache
def _environment() -> jinja2.Environment:
    return filters.environment(jinja2.FileSystemLoader(Path(__file__).parent / "templates"))
