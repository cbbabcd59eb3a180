"""What of a node figures are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from broker.amqp.channel import Channel
from broker.amqp.connection import Connection
from broker.broker import Broker
from broker.management.figures.history import History, NoHistory
from broker.management.figures.merging import NobodyElse, OtherNodes
from broker.management.operated import NobodyToOperate, OperatedNodes
from broker.queue.queue import Queue
from broker.topology.exchange import Exchange
from broker.topology.vhost import VirtualHost

_FEW: Final = 1000
"""Connections that are looked at without a pause."""
GARBAGE_COLLECTION: Final = {
    "fullsweep_after": 0,
    "max_heap_size": 0,
    "min_bin_vheap_size": 0,
    "min_heap_size": 0,
    "minor_gcs": 0,
}
"""Stands where RabbitMQ tells of the memory of an Erlang process."""


@dataclass(frozen=True, slots=True)
class MachineFigures:
    """What the process uses of its machine, and what it may use."""

    memory_used: int = 0
    memory_limit: int = 0
    memory_total: int = 0
    is_memory_short: bool = False
    disk_free: int = 0
    disk_limit: int = 0
    is_disk_short: bool = False
    descriptors_used: int = 0
    descriptors_total: int = 0
    sockets_total: int = 0
    processors: int = 1
    process_id: int = 0


@dataclass(frozen=True, slots=True)
class Listening:
    """An open listener."""

    protocol: str
    """RabbitMQ's name for what is spoken there: `amqp`, `amqp/ssl`, `clustering`, `http`, `http/prometheus`."""
    host: str
    port: int


class ReadLogs(Protocol):
    """Reads the last lines of the log of a node."""

    def __call__(
        self, level: str = "info", before: int | None = None, limit: int = 100, text: str = ""
    ) -> list[dict[str, Any]]:
        """Return the newest lines first: those that are at least as grave as `level`, have `text` in them, and numbers
        below `before`.
        """
        ...


def no_logs(level: str = "info", before: int | None = None, limit: int = 100, text: str = "") -> list[dict[str, Any]]:
    """Stands where nobody keeps lines of the log."""
    return []


def _unnamed(parameter: str) -> str:
    return ""


def _no_machine() -> MachineFigures:
    return MachineFigures()


@dataclass(slots=True, eq=False)
class NodeView:
    """One node, as seen by those who watch it."""

    broker: Broker
    name: str
    """The node id."""
    version: str = "0"
    named: Callable[[str], str] = _unnamed
    """Returns the value of a global parameter, a text; an empty one if there is none."""
    api_version: str = "3.13.7"
    """The version of RabbitMQ whose HTTP API programs may expect."""
    started_ms: int = 0
    """When the node started, in milliseconds since 1970."""
    now_ms: Callable[[], int] = int
    history: History = field(default_factory=NoHistory)
    others: OtherNodes = field(default_factory=NobodyElse)
    """The figures of the other nodes of the cluster."""
    operated: OperatedNodes = field(default_factory=NobodyToOperate)
    """The other nodes, for those who have them do something."""
    machine: Callable[[], MachineFigures] = _no_machine
    listening: list[Listening] = field(default_factory=list)
    """The open listeners."""
    platform: str = ""
    config_files: Sequence[str] = ()
    being_drained: bool = False
    """Does it take no clients, so that it can be stopped?"""
    store: Callable[[], Mapping[str, Any]] = dict
    """Returns `disk_reads` and `disk_writes`."""
    logs: ReadLogs = no_logs

    @property
    def cluster_name(self) -> str:
        """The name that an administrator has given the cluster, or the node's own."""
        return self.named("cluster_name") or self.name

    @property
    def vhosts(self) -> Mapping[str, VirtualHost]:
        return self.broker.vhosts

    def queues(self, vhost: str | None = None) -> Iterator[Queue]:
        """Yield the queues of one virtual host, or of all."""
        for each in self._vhosts(vhost):
            yield from each.queues.values()

    def hear_of_publishes(self) -> None:
        """Let queues and exchanges hear of the last publishes of the channels, unless these are many: then it takes
        until the next sample.
        """
        if len(self.broker.open_connections) <= _FEW:
            for _, channel in self.channels():
                channel.publisher.count_all()

    def queues_named(self, vhost: object, name: object) -> list[Queue]:
        """Return the queue of this name in a virtual host, if there is one."""
        if not isinstance(vhost, str) or not isinstance(name, str) or vhost not in self.vhosts:
            return []
        queue = self.vhosts[vhost].queues.get(name)
        return [] if queue is None else [queue]

    def exchanges(self, vhost: str | None = None) -> Iterator[tuple[VirtualHost, Exchange]]:
        """Yield the exchanges of one virtual host, or of all."""
        for each in self._vhosts(vhost):
            for exchange in each.exchanges.values():
                yield each, exchange

    def _vhosts(self, name: str | None) -> Sequence[VirtualHost]:
        if name is None:
            return list(self.vhosts.values())
        return [self.vhosts[name]] if name in self.vhosts else []

    def connections(self) -> list[Connection]:
        """Return the connections that have opened a virtual host."""
        return [each for each in self.broker.open_connections if isinstance(each, Connection)]

    def connections_named(self, name: object) -> list[Connection]:
        """Return the connection that operators know by this name, if it is on this node."""
        return [each for each in self.connections() if each.handshake.peer.connection_name == name]

    def channels(self) -> Iterator[tuple[Connection, Channel]]:
        """Yield the open channels of all connections."""
        for connection in self.connections():
            for channel in list(connection.channels.values()):
                if not channel.is_closing:
                    yield connection, channel
