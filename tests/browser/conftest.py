"""A real browser, a service, and a page of another origin."""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, StorageState, sync_playwright

from api.up.embedded import Servers
from tests.acceptance.door import Door, door, own_database
from tests.browser.watch import sign_in

ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, as Debian packages it. While it is there, an event loop runs in this thread, so other tests can't."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.fail("These tests drive a real browser, and there is none: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=ARGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def service(all_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The web process and the live lane's worker."""
    with (
        own_database(all_servers.database_url, "browser") as url,
        door(url, tmp_path_factory.mktemp("browser"), "web", "ingest") as made,
    ):
        yield made


@pytest.fixture(scope="module")
def state(service: Door, browser: Browser) -> StorageState:
    """Somebody signed in."""
    context = browser.new_context()
    sign_in(context.new_page(), service.line.url, service.key)
    storage = context.storage_state()
    context.close()
    return storage


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        """Not in the tests' output."""


class Site:
    """A shop's own site, on a port of its own: another origin than the service's."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self.url = f"http://127.0.0.1:{port}"

    def add(self, name: str, content: str) -> None:
        """A file of the site."""
        (self._folder / name).write_text(content)

    def write(self, script: str) -> str:
        """A page that runs a script. Returns its address."""
        (self._folder / "index.html").write_text(f"<!doctype html><title>Shop</title><script>\n{script}\n</script>")
        return f"{self.url}/index.html"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A static server."""
    folder = tmp_path / "site"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Site(folder, server.server_port)
        server.shutdown()
        thread.join()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page in a context of its own: no cache and no cookies of others."""
    context = browser.new_context()
    yield context.new_page()
    context.close()
