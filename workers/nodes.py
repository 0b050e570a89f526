"""Connections to Redis that notice when another node should have been asked, as after a failover; those of a cluster
find the right one by themselves.

An answer that says so counts as a lost connection: whoever sent the command opens another one, and that leads to the
right node.
"""

from contextlib import suppress
from typing import Any

from redis.asyncio import connection as async_connection
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import AskError, ClusterDownError, MovedError, ReadOnlyError, ResponseError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from workers.cluster import Address, Cluster

FAILURES = (RedisConnectionError, RedisTimeoutError, OSError, TimeoutError)


class NotThisNode(RedisConnectionError):
    """The node at the other end takes no writes (any more): it is a replica after a failover, or another one owns the
    slot. The connection is closed, and the next one leads to the right node, if the address does."""

    def __init__(self, message: str, address: Address | None = None) -> None:
        super().__init__(message)
        self.address = address  # of the node that owns the slot


class SlotMoves(NotThisNode):
    """A slot is on its way from one node to another: neither can do it now. Try again in a moment."""


def find_redirection(error: ResponseError) -> NotThisNode | None:
    """Returns that another node should have been asked, or this one later, if an answer says so."""
    if isinstance(error, MovedError):
        host, port = error.node_addr
        where = f"slot {error.slot_id} of the cluster is at {host}:{port}"
        return NotThisNode(f"{where} (only WINDBACK_BUFFER_URL may lead to a cluster, of several cells)", (host, port))
    if isinstance(error, (AskError, TryAgainError)):
        return SlotMoves(f"a slot of the cluster moves: {error}")
    if isinstance(error, (ReadOnlyError, ClusterDownError)) or str(error).startswith("UNBLOCKED"):
        return NotThisNode(str(error))
    return None


class _Sync:
    def read_response(self, *arguments: Any, **options: Any) -> Any:
        """As redis-py does, but an answer of the wrong node is a lost connection."""
        try:
            return super().read_response(*arguments, **options)  # type: ignore[misc]
        except ResponseError as error:
            if not (redirection := find_redirection(error)):
                raise
            self.disconnect()  # type: ignore[attr-defined]
            raise redirection from None


class _Async:
    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        """As redis-py does, but an answer of the wrong node is a lost connection."""
        try:
            return await super().read_response(*arguments, **options)  # type: ignore[misc]
        except ResponseError as error:
            if not (redirection := find_redirection(error)):
                raise
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise redirection from None


class _SyncInCluster(_Sync):
    def __init__(self, *, cluster: Cluster, key: str, **options: Any) -> None:
        self._cluster, self._key = cluster, key
        super().__init__(**options)

    def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        """Connect to the node that owns the key's slot."""
        if self._sock is not None:  # type: ignore[attr-defined]
            return
        search, outcome = self._cluster.search(self._key), None
        with suppress(StopIteration):
            while True:
                self.host, self.port = search.send(outcome)
                outcome = self._visit(check_health)

    def _visit(self, check_health: bool) -> Address | Exception | None:
        try:
            super().connect_check_health(check_health, retry_socket_connect=False)  # type: ignore[misc]
            self._ask("GET", self._key)
            self._learn()
        except NotThisNode as error:
            return error.address or error
        except FAILURES as error:
            self.disconnect()  # type: ignore[attr-defined]
            return error
        return None

    def _learn(self) -> None:
        try:
            if not self._cluster.is_plain:
                self._cluster.learn_slots(self._ask("CLUSTER", "SLOTS"), self.host)
        except ResponseError as error:
            self._cluster.is_plain = is_plain(error)

    def _ask(self, *command: str) -> Any:
        self.send_command(*command, check_health=False)  # type: ignore[attr-defined]
        return self.read_response()


class _AsyncInCluster(_Async):
    def __init__(self, *, cluster: Cluster, key: str, **options: Any) -> None:
        self._cluster, self._key = cluster, key
        super().__init__(**options)

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        """Connect to the node that owns the key's slot."""
        if self.is_connected:  # type: ignore[attr-defined]
            return
        search, outcome = self._cluster.search(self._key), None
        with suppress(StopIteration):
            while True:
                self.host, self.port = search.send(outcome)
                outcome = await self._visit(check_health)

    async def _visit(self, check_health: bool) -> Address | Exception | None:
        try:
            await super().connect_check_health(check_health, retry_socket_connect=False)  # type: ignore[misc]
            await self._ask("GET", self._key)
            await self._learn()
        except NotThisNode as error:
            return error.address or error
        except FAILURES as error:
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            return error
        return None

    async def _learn(self) -> None:
        try:
            if not self._cluster.is_plain:
                self._cluster.learn_slots(await self._ask("CLUSTER", "SLOTS"), self.host)
        except ResponseError as error:
            self._cluster.is_plain = is_plain(error)

    async def _ask(self, *command: str) -> Any:
        await self.send_command(*command, check_health=False)  # type: ignore[attr-defined]
        return await self.read_response()


def is_plain(error: ResponseError) -> bool:
    """Returns whether an answer to CLUSTER says that the server is part of no cluster."""
    return "cluster support disabled" in str(error)


def _derive(mixin: type, *classes: type) -> dict[type, Any]:
    return {plain: type(plain.__name__, (mixin, plain), {}) for plain in classes}


_ASYNC_TCP = (async_connection.Connection, async_connection.SSLConnection)
SYNC = _derive(_Sync, Connection, SSLConnection, UnixDomainSocketConnection)
ASYNC = _derive(_Async, *_ASYNC_TCP, async_connection.UnixDomainSocketConnection)
SYNC_IN_CLUSTER = _derive(_SyncInCluster, Connection, SSLConnection)
ASYNC_IN_CLUSTER = _derive(_AsyncInCluster, *_ASYNC_TCP)
