"""A running service that the tests of HTTP share."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from api.up.embedded import Servers
from tests.acceptance.door import Door, Hurried, Wire, door, own_database
from tests.acceptance.line import Line, line
from workers.settings import Settings


@pytest.fixture(scope="session")
def service(all_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The web process, the workers that store, and the clock, over a Redis of their own."""
    with (
        own_database(all_servers.database_url, "http") as url,
        door(url, tmp_path_factory.mktemp("http"), "web", "ingest", "import", "clock") as made,
    ):
        yield made


@pytest.fixture
def running(settings: Settings, tmp_path: Path) -> Iterator[Line]:
    """A line, not yet started."""
    with line(settings, tmp_path / "line.log") as made:
        yield made


@pytest.fixture
def client(service: Door) -> Iterator[httpx2.Client]:
    """A client of the service, with a secret key."""
    with service.client() as made:
        yield made


@pytest.fixture
def wire(service: Door) -> Iterator[Wire]:
    """A raw connection to the service."""
    made = service.wire()
    yield made
    made.close()


@pytest.fixture(scope="session")
def hurried(all_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A web process that is patient for half a second."""
    with (
        own_database(all_servers.database_url, "hurried") as url,
        door(url, tmp_path_factory.mktemp("hurried"), "web", kind=Hurried) as made,
    ):
        yield made
