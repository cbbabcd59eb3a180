"""What the HTTP API knows of its node: the objects that serve clients and administrators, and what is around them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from broker.amqp.connection import Connection
from broker.amqp.context import SharedContext
from broker.amqp.local_client import Bell
from broker.auth.identity import Identity
from broker.broker import Broker
from broker.management.figures.view import NodeView
from broker.ports.finding import FoundPage
from broker.topology.administration import Administration
from broker.topology.dead_letter_jobs import DeadLetterJobs
from broker.topology.vhost import VirtualHost


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """How the store is."""

    is_up: bool = True
    since: float = 0.0
    """Seconds since that has changed."""
    reason: str = ""
    latency: float = 0.0
    """Seconds that the last probe took."""
    description: str = ""
    """Product, server in use and database."""
    unsafe: Sequence[str] = ()
    """The settings under which it can lose what it has committed."""


@dataclass(frozen=True, slots=True)
class Member:
    """A living node of the cluster."""

    node_id: str
    host: str
    port: int
    """Of the Thrift service; 0 for a node that has none."""
    is_coordinator: bool
    is_self: bool
    beat_age: float | None = None
    """Seconds since its last beat was seen; None where there are no beats."""


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """Something that has happened to the members of the cluster."""

    happened_ms: int
    kind: str
    member_id: str
    node_id: str | None


class Live(Protocol):
    """Views that are streamed to those who watch them."""

    def require_room(self, key: Hashable) -> None:
        """Raise `HttpRefusal` if nobody more can watch that."""
        ...

    def watch(
        self,
        node: ManagedNode,
        key: Hashable,
        new_view: Callable[[], Any],
        may_watch: Callable[[], bool],
        seen: int | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield what is to be sent to one viewer, who has `seen` what came up to that event. All who watch the same
        `key` share one view.
        """
        ...


class Drainable(Protocol):
    """Takes the clients of a node away, and lets them come again."""

    def progress(self) -> Mapping[str, Any]:
        """Return `state` (serving, draining, drained), how many connections there are, and how many were closed."""
        ...

    def begin(self, seconds: float) -> None:
        """Take no more clients, and close the connections there are, spread over `seconds`."""
        ...

    async def end(self) -> None:
        """Take clients again. Raises `AdministrationError` when a listener cannot be opened."""
        ...


class NodeFacts(Protocol):
    """The machine, the store and the cluster around a node."""

    clustering: bool
    minimum_cluster_size: int
    """Below it nodes take no clients; 1 where partitions are not detected."""

    @property
    def drain(self) -> Drainable:
        """What takes the clients of the node away."""
        ...

    def alarm(self) -> str:
        """Return why publishers are blocked, in RabbitMQ's words; nothing when they are not."""
        ...

    def store(self) -> StoreFacts:
        """Return how the store is."""
        ...

    def members(self) -> Sequence[Member]:
        """Return the living nodes, this one among them, by id."""
        ...

    async def timeline(self, limit: int) -> Sequence[TimelineEntry]:
        """Return what has happened to the members last, the newest first. Raises `StoreUnavailable`."""
        ...

    def certificates_end(self) -> Mapping[str, float]:
        """Return when certificates of listeners end, in seconds since 1970, by what they are for."""
        ...


@dataclass(frozen=True, slots=True)
class ManagedNode:
    """One node."""

    view: NodeView
    """What is told of the node in figures."""
    administration: Administration
    commands: Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Any]]]
    """Those of `python -m broker admin`."""
    new_hash: Callable[[str], Awaitable[str]]
    """Makes the hash of a password."""
    shared: SharedContext
    jobs: DeadLetterJobs
    facts: NodeFacts
    new_bell: Callable[[], Bell]
    """Returns what wakes one who waits."""
    tags_of: Callable[[Identity], Iterable[str]]
    """Returns the tags that a user has now."""
    live: Live
    find_stored: Callable[[bytes, int, int], Awaitable[FoundPage]]
    """Finds stored messages as `SearchStore.find_messages` does, after all that the journal has taken before."""
    has_own_users: bool = True
    """Are users records of this broker, and not rows of WSO2's?"""

    @property
    def node_id(self) -> str:
        return self.view.name

    @property
    def broker(self) -> Broker:
        return self.view.broker

    @property
    def vhosts(self) -> Mapping[str, VirtualHost]:
        return self.broker.vhosts

    @property
    def connections(self) -> list[Connection]:
        """The open connections of clients to this node, the oldest first."""
        return sorted(self.view.connections(), key=_age)

    async def in_turn(self, steps: int) -> None:
        """Count what is done; return in a later turn of the loop when this one is used up."""
        work = self.broker.work
        work.done += steps
        if work.is_over:
            await self.shared.next_turn()


def _age(connection: Connection) -> tuple[int, str]:
    peer = connection.handshake.peer
    return peer.since_ms, peer.connection_name
