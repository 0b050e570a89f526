import asyncio
import socket
from typing import Any

import pytest

from workers.alerts.addresses import PrivateAddress, is_public, resolve
from workers.alerts.client import open_client, post

PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "255.255.255.255",
    "224.0.0.1", "192.0.2.1", "198.18.0.1", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1",
    "ff02::1", "2001:db8::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::10.0.0.1", "2002:0a00:0001::",
    "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2001:0:4136:e378:8000:63bf:f5ff:fffe",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_of_the_public_internet_is_known_in_all_disguises(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(address)


def names(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Every name has these addresses."""

    def getaddrinfo(host: str, port: int, *arguments: Any, **more: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_name_that_leads_inside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One private address among public ones is enough: the next connection might go there."""
    names(monkeypatch, "8.8.8.8", "10.0.0.7")
    with pytest.raises(PrivateAddress, match=r"10\.0\.0\.7"):
        asyncio.run(resolve("inside.example", 80, allow_private=False))
    assert asyncio.run(resolve("inside.example", 80, allow_private=True)) == ["8.8.8.8", "10.0.0.7"]


@pytest.mark.parametrize("url", ["http://inside.example/", "https://inside.example/", "http://inside.example:8080/x"])
def test_nothing_is_sent_to_such_a_name(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    names(monkeypatch, "127.0.0.1")

    async def send() -> Any:
        async with open_client(allow_private=False) as client:
            return await post(client, url, b"{}", {})

    outcome = asyncio.run(send())
    assert outcome.status is None
    assert "not a public address" in outcome.error
