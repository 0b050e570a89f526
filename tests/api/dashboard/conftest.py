"""Somebody who is signed in."""

import re

import pytest
from starlette.testclient import TestClient

from workers.accounts.keys import NewKey


@pytest.fixture
def signed_in(acme: TestClient, key: NewKey) -> TestClient:
    """The service, with a session in the account `acme`, and its key as well."""
    assert acme.post("/sign-in", data={"key": key.secret}, follow_redirects=False).status_code == 303
    return acme


def token_in(page: str) -> str:
    """The token in the forms of a page."""
    match = re.search(r'name="token" value="([^"]+)"', page)
    assert match
    return match[1]
