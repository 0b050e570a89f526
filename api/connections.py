"""Connections of the web process that follow a cell to the node that holds it, as those of workers do."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Self

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from workers.cells import Cell
from workers.store.nodes import MOST_HOPS, Moved, Node, last_nodes, node_query


class PooledConnection(AsyncConnection[TupleRow]):
    """A connection that `set_up` has made ready. `may_be_placed`: Citus is there, so it may have placed the cell."""

    may_be_placed = False

    @classmethod
    async def connect(  # type: ignore[override]
        cls,
        conninfo: str = "",
        *,
        place: Cell,
        set_up: Callable[[Self], Awaitable[None]],
        note: Callable[[psycopg.Error], None],
        **options: Any,
    ) -> Self:
        """Returns a connection to the node that holds the cell; first the one that held it before is asked, so that
        the coordinator is not needed for it. An error is noted. Raises psycopg.OperationalError."""
        opening = partial(cls._follow, place, set_up, options)
        if last := last_nodes.get(place):
            with suppress(psycopg.OperationalError):
                return await opening(last)
            last_nodes.pop(place, None)
        try:
            return await opening(conninfo)
        except psycopg.Error as error:
            note(error)
            raise

    @classmethod
    async def _follow(
        cls, place: Cell, set_up: Callable[[Self], Awaitable[None]], options: dict[str, Any], address: str
    ) -> Self:
        for _ in range(MOST_HOPS):
            connection = await super().connect(address, **options)
            try:
                await set_up(connection)
                node = await connection.find_node(place)
            except BaseException:
                await connection.close()
                raise
            if node is None or node.is_here:
                if node:
                    last_nodes[place] = address
                return connection
            await connection.close()
            address = node.lead(place.database_url)
        raise Moved(place.schema or "")

    async def find_node(self, place: Cell) -> Node | None:
        """Returns the node that holds the cell; None if Citus has not placed it."""
        if not self.may_be_placed:
            return None
        row = await (await self.execute(*node_query(place.schema or ""))).fetchone()
        return Node(*row) if row else None
