"""The addresses that a message may go to: those of the public internet.

A webhook's URL comes from outside. A name is resolved here, every address that it has is looked at, and the connection
goes to one of these: a later answer of the name server plays no part.
"""

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
COMPATIBLE = IPv6Network("::/96")  # IPv4 in IPv6, as it once was written

Address = IPv4Address | IPv6Address


class PrivateAddress(Exception):
    """A URL leads to an address that is not public. Use a public one, or set WINDBACK_WEBHOOK_PRIVATE_ADDRESSES."""


async def resolve(host: str, port: int, allow_private: bool) -> list[str]:
    """The addresses of a host, best first. Raises OSError where it has none, PrivateAddress where one isn't public."""
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))
    if not allow_private and (private := [address for address in addresses if not is_public(address)]):
        raise PrivateAddress(
            f"{host} is {private[0]}, which is not a public address; "
            "set WINDBACK_WEBHOOK_PRIVATE_ADDRESSES=true to allow it"
        )
    return addresses


def is_public(address: str) -> bool:
    """False for private, loopback, link-local, shared, reserved and multicast addresses, in all their disguises."""
    return all(
        meaning.is_global and not meaning.is_multicast for meaning in _meanings(ip_address(address.partition("%")[0]))
    )


def _meanings(address: Address) -> list[Address]:
    """The address, and those of IPv4 that it holds."""
    if isinstance(address, IPv4Address):
        return [address]
    held: list[Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in (*NAT64, COMPATIBLE)):
        held.append(IPv4Address(int(address) & 0xFFFFFFFF))
    meanings = [embedded for embedded in held if embedded is not None]
    return meanings if address.ipv4_mapped else [address, *meanings]
