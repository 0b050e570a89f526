"""Two servers with the catalogue of a cluster of Citus, which has placed a cell on one of them."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from api.up.embedded import Servers, servers
from tests import prepared
from workers.cells import Cell
from workers.store import Connection, connect, only_row

CATALOGUE = """
CREATE TABLE pg_dist_schema (schemaid oid, colocationid int);
CREATE TABLE pg_dist_partition (logicalrelid oid, colocationid int);
CREATE TABLE pg_dist_shard (logicalrelid oid, shardid int);
CREATE TABLE pg_dist_placement (shardid int, groupid int, shardstate int);
CREATE TABLE pg_dist_node (
    groupid int, nodename text, nodeport int, noderole text, isactive boolean DEFAULT true,
    shouldhaveshards boolean DEFAULT true
);
CREATE TABLE pg_dist_local_group (groupid int);
CREATE SCHEMA cell_001;
CREATE TABLE cell_001.events (n int);
CREATE TABLE cell_001.installation (number int, cells int);
INSERT INTO cell_001.installation VALUES (1, 2);
INSERT INTO pg_dist_schema VALUES (to_regnamespace('cell_001'), 7);
INSERT INTO pg_dist_partition VALUES ('cell_001.events'::regclass, 7);
INSERT INTO pg_dist_shard VALUES ('cell_001.events'::regclass, 70);
INSERT INTO pg_dist_placement VALUES (70, 0, 1)
"""


class Cluster:
    """Servers whose catalogues say the same: the first one is the coordinator."""

    def __init__(self, urls: list[str]) -> None:
        self.urls = urls
        self.cell = Cell(urls[0], "", 1, 2)
        for group, url in enumerate(urls):
            with connect(url) as connection:
                connection.execute(CATALOGUE)
                connection.execute("INSERT INTO pg_dist_local_group VALUES (%s)", [group])
                for other, place in enumerate(urls):
                    there = psycopg.conninfo.conninfo_to_dict(place)
                    values = [other, there["host"], there["port"], "primary"]
                    connection.execute("INSERT INTO pg_dist_node VALUES (%s, %s, %s, %s)", values)

    def move(self, group: int) -> None:
        for url in self.urls:
            with connect(url) as connection:
                connection.execute("UPDATE pg_dist_placement SET groupid = %s", [group])


def node_of(connection: Connection) -> int:
    return int(only_row(connection.execute("SELECT groupid FROM pg_dist_local_group"))[0])


@pytest.fixture(scope="module")
def second_server(
    tmp_path_factory: pytest.TempPathFactory, all_servers: Servers, prepared_folder: Path
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("node")
    prepared.copy(prepared_folder, folder)
    with servers(folder, None, all_servers.redis_url, durable=False) as addresses:
        yield addresses.database_url


@pytest.fixture
def cluster(database_url: str, second_server: str) -> Iterator[Cluster]:
    name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    with connect(second_server) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    other = psycopg.conninfo.make_conninfo(second_server, dbname=name)
    with ExitStack() as stack:
        stack.callback(drop, second_server, str(name))
        yield Cluster([database_url, other])


def drop(url: str, name: str) -> None:
    with connect(url) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
