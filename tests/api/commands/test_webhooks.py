"""`windback webhooks`."""

from collections.abc import Iterator

import pytest

from tests.api.command_line import Run
from tests.workers.alerts.receiver import Receiver, receiving
from workers.accounts.keys import NewKey


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def test_a_webhook_is_added_listed_tried_and_removed(run: Run, key: NewKey, receiver: Receiver) -> None:
    added = run(f"webhooks add {receiver.url} --min-level critical --format slack")
    webhook_id, secret = added.stdout.split()
    assert "its secret, which signs messages and is not shown again" in added.stderr
    assert secret.startswith("whsec_")
    listed = run("webhooks list").output
    assert webhook_id in listed
    assert receiver.url in listed
    assert secret not in listed
    refused = run(f"webhooks test {webhook_id}")
    assert (refused.exit_code, receiver.messages) == (1, [])
    assert "not a public address" in refused.output
    allowed = {"WINDBACK_WEBHOOK_PRIVATE_ADDRESSES": "true"}
    assert run(f"webhooks test {webhook_id}", **allowed).output == "delivered: answered 200\n"
    receiver.status = 503
    assert "answered 503" in run(f"webhooks test {webhook_id}", **allowed).output
    assert run(f"webhooks remove {webhook_id}").exit_code == 0
    assert webhook_id not in run("webhooks list").output
    assert run(f"webhooks remove {webhook_id}").exit_code == 1


@pytest.mark.parametrize("line", ["add nonsense", "add https://a.example --min-level low", "remove x", "test x", "add"])
def test_what_cannot_be_is_misuse(run: Run, key: NewKey, line: str) -> None:
    assert run(f"webhooks {line}").exit_code == 2
