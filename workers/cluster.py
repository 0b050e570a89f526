"""Nodes of a cluster, and the search for the one that owns a slot.

All keys of a cell share a slot, so a cell needs a single node: a plain connection that leads to the right one does, and
scripts, pipelines and groups work in it as elsewhere. Each new connection asks any node that answers for a key of its
slot, and goes where the answer sends it. When the slot moves or its master dies, the node says so or the connection is
lost; the next one finds the new owner. A server that is no cluster answers at once, and is stayed with.
"""

from collections.abc import Generator, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

MOST_HOPS = 5  # nodes that send us on and on disagree, until they have heard of each other
DEFAULT_PORT = 6379
KEY_MARK = "#"  # in a URL, before the key whose slot is meant

Address = tuple[str, int]


class Cluster:
    """This process's knowledge of a cluster. `seeds` are nodes by which it can be found."""

    def __init__(self, seeds: Sequence[Address]) -> None:
        self._addresses = list(dict.fromkeys(seeds))
        self.owners: dict[str, Address] = {}  # by a key of the slot, as of the last connection
        self.is_plain = False  # it is a single server

    def search(self, key: str) -> Generator[Address, Address | Exception | None, None]:
        """Yields the address to visit next until the owner of the key's slot is reached. Takes what came of the visit:
        None where it was the owner, the address to which it sent us, or an error. Raises the last error in the end."""
        failure: Exception | None = None
        for start in list(self._addresses):
            address = start
            for _ in range(MOST_HOPS):
                outcome = yield from self._visit(address)
                if outcome is None:
                    self.owners[key] = address
                    return
                if isinstance(outcome, Exception):
                    failure = outcome
                    break
                address = (outcome[0] or address[0], outcome[1])  # without a host, it is the same one
                self.learn([address])
        raise failure or ConnectionError("the nodes of the cluster disagree about who owns a slot")

    def _visit(self, address: Address) -> Generator[Address, Address | Exception | None, Address | Exception | None]:
        """A visit. An address that fails, or is given up, is the last to be tried the next time."""
        answered = False
        try:
            outcome = yield address
            answered = not isinstance(outcome, Exception)
        finally:
            if not answered:
                self._addresses = [*(other for other in self._addresses if other != address), address]
        return outcome

    def learn(self, addresses: Sequence[Address]) -> None:
        """Remember nodes that may be asked."""
        self._addresses = list(dict.fromkeys([*self._addresses, *addresses]))

    def learn_slots(self, reply: Any, host: str) -> None:
        """Remember the nodes of an answer to CLUSTER SLOTS; one without a host has that of the node that answered."""
        nodes = [node for slot_range in reply for node in slot_range[2:]]
        self.learn([((node[0] or b"").decode() or host, int(node[1])) for node in nodes])


@lru_cache
def find_cluster(urls: str) -> Cluster:
    """Returns the cluster of these URLs, with blanks between; all connections of a process share it."""
    parts = [urlsplit(url) for url in urls.split()]
    return Cluster([(part.hostname or "localhost", part.port or DEFAULT_PORT) for part in parts])


def share_server(url: str, other: str) -> bool:
    """Returns whether two buffers are on one server, as far as is known. In a cluster that changes."""
    if url == other:
        return True
    (urls, _, key), (other_urls, _, other_key) = url.partition(KEY_MARK), other.partition(KEY_MARK)
    if not key or urls != other_urls:
        return False
    owners = find_cluster(urls).owners
    return find_cluster(urls).is_plain or (key in owners and owners[key] == owners.get(other_key))


def describe_server(url: str) -> str:
    """Returns the address of a buffer's server without its password; in a cluster, that of the node that owns the slot,
    as of the last connection."""
    urls, _, key = url.partition(KEY_MARK)
    cluster = find_cluster(urls) if key else None
    if cluster and not cluster.is_plain and (owner := cluster.owners.get(key)):
        return f"{owner[0]}:{owner[1]} of the cluster"
    return " ".join(_describe_url(url) for url in urls.split())


def _describe_url(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or DEFAULT_PORT}" if parts.hostname else parts.path
