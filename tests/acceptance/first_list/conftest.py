"""The service that the tests of the first list share."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from api.up.embedded import Servers
from tests.acceptance.door import door, own_database
from tests.acceptance.first_list import terms
from tests.acceptance.first_list.world import PROCESSES, WAIT_SECONDS, Imported, Reader
from tests.sending import track
from tests.waiting import wait_until


@pytest.fixture(scope="session")
def imported(all_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Imported]:
    """Both accounts send their history at the same time; the days of `today` come in pieces, the latest ones first, by
    the other lane. A webhook would take all alerts."""
    began = datetime.now(UTC)
    with (
        own_database(all_servers.database_url, "first_list") as url,
        door(url, tmp_path_factory.mktemp("first_list"), *PROCESSES) as made,
    ):
        world = Imported(made, began)
        today, past = world.account("today"), world.account("past")
        hook = {"url": "http://127.0.0.1:9/", "min_level": "medium"}
        assert today.client.post("/api/v1/webhooks", json=hook).status_code == 201
        track(today.client, *reversed(terms.list_history()))
        track(past.client, *terms.list_history(datetime.now(UTC) - timedelta(days=4000)))
        wait_until(lambda: made.count("customers") == 2 * terms.CUSTOMERS and world.is_scored(), WAIT_SECONDS, 0.2)
        yield world
        for reader in world.readers.values():
            reader.client.close()


@pytest.fixture
def today(imported: Imported) -> Reader:
    return imported.account("today")
