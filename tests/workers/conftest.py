"""An account to learn from."""

import pytest

from tests.workers.worlds import fill, world
from workers.store import Connection


@pytest.fixture
def acme(connection: Connection) -> int:
    """An account with half a year of 600 customers."""
    return fill(connection, world())
