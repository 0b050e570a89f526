"""The servers of a storm: Postgres and Redis for home; those of cells, as its shape says."""

import subprocess
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from api.up import embedded, packaged_servers
from api.up.packaged_servers import Server
from tests.acceptance.chaos.child import Child
from tests.clusters import Nodes
from tests.waiting import wait_until

POSTGRES_OPTIONS = (
    "--track_commit_timestamp=on",  # the audit asks when an event was stored
    "--synchronous_commit=off",  # sessions turn it on, or a kill loses what is committed
    "--wal_writer_delay=10s",
)
VALKEYS = 3  # of several

Buffers = Literal["one", "several", "cluster"]


class Shape(NamedTuple):
    """The number of cells, and the places of their buffers: home's Redis, several of their own, or a cluster, where so
    many replicas have to confirm a write."""

    cells: int = 1
    buffers: Buffers = "one"
    replicas: int = 1


class Servers:
    """The servers in a folder. `settings` are those of the cells."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        self.children: dict[str, Child] = {}
        self.settings: dict[str, str] = {}
        self.nodes: Nodes | None = None
        self.urls: list[str] = []
        self.postgres_logs = [folder / "postgres.log"]
        self._add(packaged_servers.postgres(folder))
        self._add(packaged_servers.valkey(folder))
        self.database_url, self.redis_url = self.urls
        if shape.cells > 1:
            self._add_cells(folder, shape)

    def answer(self) -> bool:
        """Returns True if all of them answer, and a cluster knows that it is whole."""
        return not any(map(embedded.trouble, self.urls)) and (self.nodes is None or self.nodes.is_whole())

    def form_cluster(self) -> None:
        """Make a cluster of the nodes, which run."""
        if self.nodes:
            wait_until(lambda: all(node.answers() for node in self.nodes.all) if self.nodes else True)
            self.nodes.form()

    def _add_cells(self, folder: Path, shape: Shape) -> None:
        """Half of the cells have a Postgres of their own."""
        second = self._add(packaged_servers.postgres(folder / "second"), ".2")
        self.postgres_logs.append(folder / "second" / "postgres.log")
        databases = [second if number >= shape.cells // 2 else self.database_url for number in range(shape.cells)]
        self.settings = {"WINDBACK_CELLS": str(shape.cells), "WINDBACK_CELL_DATABASE_URLS": " ".join(databases)}
        if shape.buffers == "several":
            valkeys = [
                self._add(packaged_servers.valkey(folder / f"buffer{number}"), f"buffer.{number}")
                for number in range(1, VALKEYS + 1)
            ]
            listed = [valkeys[number % VALKEYS] for number in range(shape.cells)]
            self.settings["WINDBACK_CELL_BUFFER_URLS"] = " ".join(listed)
        elif shape.buffers == "cluster":
            self.nodes = Nodes(folder / "cluster")
            for number, node in enumerate(self.nodes.all, 1):
                self.children[f"node.{number}"] = Child(f"node.{number}", node.launch)
            self.settings |= {
                "WINDBACK_BUFFER_URL": self.nodes.urls,
                "WINDBACK_BUFFER_REPLICAS": str(shape.replicas),
            }

    def _add(self, server: Server, name: str = "") -> str:
        name = server.name + name if name.startswith(".") or not name else name
        self.children[name] = Child(name, partial(_start_server, server))
        self.urls.append(server.url)
        return server.url


def _start_server(server: Server) -> "subprocess.Popen[bytes]":
    options = POSTGRES_OPTIONS if server.name == "postgres" else ()
    with packaged_servers.launching(server) as how:
        return subprocess.Popen([*server.argv, *options], start_new_session=True, **how)
