"""Every page: its session, its security headers, and error pages."""

from collections.abc import Awaitable, Callable
from functools import cache, wraps
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api.assets import policy
from api.dashboard import filters, session
from api.dashboard.session import Session
from api.errors import Refused, code_of
from api.origins import find_public_url

HEADERS = {
    "Content-Security-Policy": policy(img_src="'self' data:", form_action="'self'"),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers hide the origin of our own forms
}


class ErrorWords(NamedTuple):
    """The title of an error page, and the sentence below it."""

    title: str
    message: str


class NavigationPage(NamedTuple):
    """A page of the navigation; `others` are the pages that belong to it."""

    address: str
    name: str
    others: tuple[str, ...] = ()

    def holds(self, path: str) -> bool:
        """Returns True if the page at this path is this one, or belongs to it."""
        if self.address == "/":
            return path == "/"
        return any(path == own or path.startswith(f"{own}/") for own in (self.address, *self.others))


NAVIGATION = (
    NavigationPage("/", "Overview"),
    NavigationPage("/customers", "Customers", ("/companies",)),
    NavigationPage("/alerts", "Alerts", ("/drafts",)),
    NavigationPage("/events", "Events", ("/mappings",)),
    NavigationPage("/model", "Model"),
    NavigationPage("/keys", "Keys"),
    NavigationPage("/settings", "Settings", ("/import",)),
)
TITLES = {
    401: "Please sign in",
    403: "Not allowed",
    404: "Page not found",
    405: "Method not allowed",
    413: "Too large",
    422: "Invalid filter",
    429: "Too many attempts",
    503: "Not available right now",
}
MISSING = {
    "not_found": ErrorWords("Page not found", "There is no page at this address."),
    "customer_not_found": ErrorWords("Customer not found", "No customer has this e-mail address."),
    "event_not_found": ErrorWords("Event not found", "No event of this name was ever sent. Capital letters count."),
}

Page = Callable[[Request, Session], Awaitable[Response]]
Handler = Callable[[Request, Exception], Awaitable[Response]]


def page(endpoint: Page) -> Callable[[Request], Awaitable[Response]]:
    """A route for signed-in users. Others get the sign-in page."""

    @wraps(endpoint)
    async def route(request: Request) -> Response:
        current = await session.current(request)
        if current is not None:
            request.state.session = current
            return await endpoint(request, current)
        return _reload(request) if _came_from_elsewhere(request) else _sign_in_first(request)

    return route


def render(
    request: Request, template: str, current: Session | None = None, status: int = 200, **context: object
) -> Response:
    """Returns a page from a template."""
    text = (
        _environment().get_template(template).render(request=request, session=current, navigation=NAVIGATION, **context)
    )
    return HTMLResponse(text, status, headers=HEADERS)


def redirect(address: str) -> Response:
    """303: after a form, so that a reload doesn't send it twice."""
    return RedirectResponse(address, 303, headers={"Cache-Control": "no-store"})


def address(request: Request) -> str:
    """This service's address as the browser sees it: https://windback.example.com."""
    return find_public_url(request)


def or_page(handler: Handler) -> Handler:
    """Wraps an exception handler: browsers get a page, API clients get JSON."""

    @wraps(handler)
    async def handle(request: Request, error: Exception) -> Response:
        answer = await handler(request, error)
        return await _error_page(request, error, answer) if _wants_page(request) else answer

    return handle


async def on_form_refused(request: Request, error: Exception) -> Response:
    """The handler of FormRefused."""
    current = getattr(request.state, "session", None)
    return render(request, "error.html", current, status=403, title=TITLES[403], message=str(error))


def _wants_page(request: Request) -> bool:
    return not request.url.path.startswith("/api/") and "text/html" in request.headers.get("accept", "")


async def _error_page(request: Request, error: Exception, answer: Response) -> Response:
    words = _describe_error(error, answer.status_code)
    current = await _find_session(request, answer.status_code)
    rendered = render(request, "error.html", current, status=answer.status_code, **words._asdict())
    kept = ("retry-after", "allow")
    rendered.headers.update({name: value for name, value in answer.headers.items() if name in kept})
    return rendered


def _describe_error(error: Exception, status: int) -> ErrorWords:
    """The words for people. A sentence that a page wrote itself stays."""
    refused = error if isinstance(error, Refused) else Refused(code_of(status))
    usual = MISSING.get(refused.code)
    if usual and refused.message == Refused(refused.code).message:
        return usual
    return ErrorWords(usual.title if usual else TITLES.get(status, "Something went wrong"), refused.message)


async def _find_session(request: Request, status: int) -> Session | None:
    """The session, so that error pages keep the navigation. A server that just failed isn't asked again."""
    current: Session | None = getattr(request.state, "session", None)
    if current or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return current
    try:
        return await session.current(request)
    except Refused:
        return None


def _came_from_elsewhere(request: Request) -> bool:
    """True if a link of another site led here: the browser then withholds the cookie, which is SameSite=Strict."""
    return request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site"


def _reload(request: Request) -> Response:
    """A page that loads this address again by itself, now from our own site and with the cookie."""
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
