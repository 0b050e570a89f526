"""A receiver, and customers with risks."""

from collections.abc import Callable, Iterator

import msgspec
import pytest
from starlette.testclient import TestClient

from tests.sending import ago, track
from tests.workers.alerts.receiver import Receiver, receiving
from tests.workers.events import event
from workers.settings import Settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, webhook_private_addresses=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on loopback."""
    with receiving() as made:
        yield made


@pytest.fixture
def jane(acme: TestClient, work: Callable[[], None]) -> TestClient:
    """The service, with a customer in trouble, in the customer's own words."""
    track(
        acme,
        *[event(timestamp=ago(days=day)) for day in range(20, 10, -1)],
        event(event="feature_used", properties={"feature": "exports", "plan": "pro"}, timestamp=ago(days=11)),
        event(event="support_ticket_opened", properties={"subject": "Cannot export data"}, timestamp=ago(days=5)),
        event(event="nps_response", properties={"score": 3, "comment": "It is slow"}, timestamp=ago(days=4)),
        event(event="export_failed", timestamp=ago(days=3)),
        event(event="refund_requested", properties={"reason": "Exports keep failing"}, timestamp=ago(days=2)),
    )
    work()
    return acme
