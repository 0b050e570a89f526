"""Sockets to listen on: all addresses of a host, in one way for one web process and for several."""

import socket
from contextlib import suppress
from typing import Any

ANY = ("::", "*", "")  # both families, IPv6 and IPv4


def listen(host: str, port: int) -> list[socket.socket]:
    """Returns bound sockets. Raises OSError where an address can't be had."""
    sockets: list[socket.socket] = []
    try:
        for family, address in _find_addresses(host, port):
            sockets.append(_bind(family, address))
    except OSError:
        close(sockets)
        raise
    return sockets


def close(sockets: list[socket.socket]) -> None:
    """Close them."""
    for bound in sockets:
        bound.close()


def _find_addresses(host: str, port: int) -> list[tuple[int, Any]]:
    """The families and addresses of a host, each once."""
    if host in ANY:
        return [(socket.AF_INET6, ("::", port))] if _has_ipv6() else [(socket.AF_INET, ("0.0.0.0", port))]  # noqa: S104
    resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((int(family), address) for family, _, _, _, address in resolved))


def _has_ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def _bind(family: int, address: Any) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # the wildcard takes IPv4 as well
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    bound.set_inheritable(True)
    return bound
