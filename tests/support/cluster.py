"""A cluster of real processes on one database: started, killed, frozen and cut off, node by node.

Knows nodes, the database they share and the proxies between all of them; must not know a client.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from benchmarks.nodes.configuration import CALM, MEMBER_PORT, Membership, NodeConfiguration, Rhythm
from benchmarks.nodes.ports import HOST, quiet_port
from benchmarks.nodes.process import BROKER, PROJECT, BrokerProcess
from tests.support.database_products import Kind
from tests.support.hooks import hooked
from tests.support.network import Host
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

__all__ = ["ClusterOfProcesses"]

_WAY = "CORDILLERA_COORDINATION"


class SharedServer(Protocol):
    """A database server, or several that are one database."""

    kind: Kind
    port: int

    def create_database(self) -> str: ...
    def drop_database(self, name: str) -> None: ...
    def jdbc_url(self, database: str, *, port: int | None = None) -> str: ...
    def sql(self, statement: str, database: str = "") -> str: ...
    def kill9(self) -> None: ...
    def start(self) -> None: ...
    def heal(self) -> None: ...


@dataclass(frozen=True, slots=True)
class SlotSeen:
    """A row of MB_SLOT at some moment."""

    queue_id: int
    lane: int
    start: int
    end: int
    owner: str


class ClusterOfProcesses:
    """So many nodes on one database, with the offsets 0, 1, 2 and so on.

    With `is_proxied`, every node reaches the database and each other node through a proxy of its own, and its wall
    clock can be moved.
    """

    def __init__(
        self,
        directory: Path,
        server: SharedServer,
        size: int,
        *,
        database: str = "",
        rhythm: Rhythm = CALM,
        window_size: int = 1000,
        is_proxied: bool = False,
        is_misled: bool = False,
        secrets: Sequence[str] = (),
        has_console: bool = False,
        meets_as_peers: bool | None = None,
        minimum: int = 0,
        hosts: Sequence[Host] = (),
    ) -> None:
        """`is_misled`: what a node calls at another one's address is the node itself, as on machines that all name
        `localhost`. `secrets` are those of the nodes, in their order. `minimum` is minimumClusterSize. Each node runs
        on one of the `hosts`, if there are any.
        Where nothing is said the nodes meet in the database, or as `CORDILLERA_COORDINATION` says (`peers`).
        """
        self.server = server
        self._owns_database = not database
        self.database = database or server.create_database()
        self._directory = directory
        self._rhythm = rhythm
        self._window_size = window_size
        self._base_port, self._thrift_port = quiet_port(size), quiet_port(size)
        self._meets_as_peers = os.environ.get(_WAY) == "peers" if meets_as_peers is None else meets_as_peers
        self._member_port = quiet_port(size) if self._meets_as_peers else MEMBER_PORT
        self._minimum = minimum
        self._is_misled = is_misled
        self.http_port, self.console_port = (quiet_port(size), quiet_port(size)) if has_console else (0, 0)
        self._secrets = secrets
        self._hosts = hosts
        self._links: dict[tuple[int, int], list[Proxy]] = {}
        self._to_database: list[Proxy] = []
        self.nodes: list[BrokerProcess] = []
        try:
            if is_proxied:
                self._link(size)
            self.nodes += [self._node(number, size) for number in range(size)]
        except BaseException:
            self.close()
            raise

    def _link(self, size: int) -> None:
        for number in range(size):
            self._to_database.append(Proxy(self.server.port))
            for other in range(size):
                if other != number:
                    self._links[number, other] = [Proxy(first + other) for first in self._called_ports]

    def _node(self, number: int, size: int) -> BrokerProcess:
        command: Sequence[str] = BROKER
        port = None
        if self._to_database:
            port = self._to_database[number].port
            command = hooked(
                {
                    first + there: proxy.port
                    for (here, there), proxies in self._links.items()
                    if here == number
                    for first, proxy in zip(self._called_ports, proxies, strict=True)
                }
            )
        elif self._is_misled:
            command = hooked({self._thrift_port + there: self._thrift_port + number for there in range(size)})
        host = self._hosts[number] if self._hosts else None
        if host is not None:
            command = host.inside(command, at=PROJECT)
        configuration = NodeConfiguration(
            self.server.jdbc_url(self.database, port=port),
            self._base_port,
            window_size=self._window_size,
            http_port=self.http_port,
            console_port=self.console_port,
            membership=Membership(
                number,
                self._thrift_port,
                self._rhythm,
                peers=size if self._meets_as_peers else 0,
                minimum=self._minimum,
                member_port=self._member_port,
                host=HOST if host is None else host.address,
            ),
            host=HOST if host is None else host.outside,
        )
        environ = {"BROKER_CLUSTER_SECRET": self._secrets[number]} if self._secrets else None
        return BrokerProcess(self._directory / f"node{number}", configuration, command=command, environ=environ)

    @property
    def _called_ports(self) -> Sequence[int]:
        """The ports of the node with offset 0 that other nodes call."""
        return (self._thrift_port, self._member_port) if self._meets_as_peers else (self._thrift_port,)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __getitem__(self, number: int) -> BrokerProcess:
        return self.nodes[number]

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def log(self) -> str:
        """The ends of all logs, for a report."""
        return "\n".join(f"--- {node}\n" + "\n".join(node.log.splitlines()[-60:]) for node in self.nodes)

    def start(self, deadline: float = 30.0) -> None:
        """Start all nodes; return when they know of each other and one of them coordinates, each step in time."""
        self.nodes[0].start(deadline)  # it makes the schema
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: node.start(deadline), self.nodes[1:]))
        self.wait_until_complete(deadline)

    def wait_until_complete(self, deadline: float = 30.0) -> None:
        """Return when all nodes that run are up in the database and one of them coordinates."""
        running = {node.node_id for node in self.nodes if node.is_running() and not node.is_suspended}
        wait_until(
            lambda: set(self.up()) == running and self.coordinator_id() in running,
            deadline,
            f"the nodes that are up are {sorted(running)}, and one of them coordinates",
            self.nodes,
        )

    def up(self) -> list[str]:
        """Return the ids of the nodes that are up, as the database has it."""
        rows = [line.split("\t") for line in self.rows("MB_NODE_HEARTBEAT", "NODE_ID", "STATE")]
        return [node_id for node_id, state in rows if state == "UP"]

    def coordinator_id(self) -> str:
        """Return who holds the lease, as the database has it; nobody is an empty text."""
        holders = self.rows("MB_COORDINATOR_HEARTBEAT", "NODE_ID")
        return holders[0] if holders and holders[0] != "NULL" else ""

    def coordinator(self) -> BrokerProcess:
        """Return the node that holds the lease."""
        holder = self.coordinator_id()
        return next(node for node in self.nodes if node.node_id == holder)

    def others(self, node: BrokerProcess) -> list[BrokerProcess]:
        return [other for other in self.nodes if other is not node]

    def slots(self) -> list[SlotSeen]:
        """Return all slots, as of one moment."""
        columns = ("QUEUE_ID", "LANE", "START_MESSAGE_ID", "END_MESSAGE_ID", "NODE_ID")
        rows = [line.split("\t") for line in self.rows("MB_SLOT", *columns)]
        return [
            SlotSeen(int(row[0]), int(row[1]), int(row[2]), int(row[3]), row[4].replace("NULL", "")) for row in rows
        ]

    def rows(self, table: str, *columns: str) -> list[str]:
        """Return all rows of a table: a line each, its values apart by tabs."""
        quoted = ", ".join(map(self._quote, columns))
        return self.server.sql(f"SELECT {quoted} FROM {self._quote(table)}", self.database).splitlines()

    def stored(self) -> int:
        """Return how many messages the database has."""
        return int(self.server.sql(f"SELECT COUNT(*) FROM {self._quote('MB_METADATA')}", self.database))

    def _quote(self, name: str) -> str:
        return f"`{name}`" if self.server.kind == "mariadb" else f'"{name}"'

    def isolate_from_database(self, node: BrokerProcess, *, is_silent: bool = True) -> None:
        """Cut a node off from the database; silently, or so that its connections are reset and refused."""
        proxy = self._to_database[node.number]
        if is_silent:
            proxy.hang()
        else:
            proxy.refuse()
            proxy.cut()

    def isolate_from_peers(self, node: BrokerProcess) -> None:
        """Let nothing pass between a node and the others, in either direction."""
        for proxy in self._links_of(node):
            proxy.hang()

    def deafen(self, node: BrokerProcess) -> None:
        """Let nothing pass from the others to a node; it can still call them."""
        for (_, there), proxies in self._links.items():
            if there == node.number:
                for proxy in proxies:
                    proxy.hang()

    def mute_slots(self, node: BrokerProcess) -> None:
        """Let a node's Thrift server accept connections and answer nothing; the peers reach it as before."""
        for (_, there), proxies in self._links.items():
            if there == node.number:
                proxies[0].hang()

    def split(self, *parts: Sequence[int]) -> None:
        """Let nothing pass between nodes of different parts, each given by the numbers of its nodes."""
        part_of = {number: part for part, numbers in enumerate(parts) for number in numbers}
        for (here, there), proxies in self._links.items():
            if part_of[here] != part_of[there]:
                for proxy in proxies:
                    proxy.hang()

    def unite(self) -> None:
        """Let everything pass between all nodes."""
        for proxies in self._links.values():
            for proxy in proxies:
                proxy.resume()
                proxy.accept()

    def cut(self, node: BrokerProcess) -> None:
        """Reset all connections of a node with the database and with other nodes; new ones are served."""
        for proxy in (self._to_database[node.number], *self._links_of(node)):
            proxy.cut()

    def reconnect(self, node: BrokerProcess) -> None:
        """Undo every isolation of a node."""
        for proxy in (self._to_database[node.number], *self._links_of(node)):
            proxy.resume()
            proxy.accept()

    def _links_of(self, node: BrokerProcess) -> list[Proxy]:
        return [proxy for ends, proxies in self._links.items() if node.number in ends for proxy in proxies]

    def heal(self) -> None:
        """Make everything run and reach everything."""
        self.server.heal()
        for node in self.nodes:
            if self._to_database:
                self.reconnect(node)
            if node.is_running():
                node.resume()
            else:
                node.close()
                node.start()

    def close(self) -> None:
        """Leave nothing behind: no process, no proxy, no database."""
        for node in self.nodes:
            node.close()
        for proxy in (*self._to_database, *(proxy for proxies in self._links.values() for proxy in proxies)):
            proxy.close()
        if self._owns_database:
            self.server.heal()
            self.server.drop_database(self.database)
