"""A receiver, and an account whose alerts go to it."""

from collections.abc import Iterator

import msgspec
import pytest

from tests.workers.alerts.receiver import Receiver, receiving
from tests.workers.worlds import account
from workers.alerts import deliver, webhooks
from workers.alerts.webhooks import NewWebhook
from workers.process import Process
from workers.settings import Settings
from workers.store import Connection


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, webhook_private_addresses=True)


@pytest.fixture
def process(process: Process) -> Iterator[Process]:
    yield process
    deliver.close(process)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on loopback."""
    with receiving() as made:
        yield made


@pytest.fixture
def account_id(connection: Connection) -> int:
    """The account `acme`."""
    return account(connection)


@pytest.fixture
def webhook(connection: Connection, account_id: int, receiver: Receiver) -> NewWebhook:
    """A webhook of the account that leads to the receiver."""
    return webhooks.create(connection, account_id, receiver.url)
