"""Who consumes what, as WSO2's console lists it: consumers of queues, subscribers of topics, durable subscriptions.

Of this node each consumer is known, of another node that it has consumers of a queue: nodes record that for each other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

from broker.errors import AdministrationError
from broker.queue.queue import Queue
from broker.topology.declaration import RemoteOwner
from broker.topology.dialect import QUEUES, TOPICS
from broker.topology.exchange_types.topic_by_selector import selector_text
from broker.topology.vhost import VirtualHost

Kind: TypeAlias = Literal["queue", "topic", "durable"]
KINDS: Final[tuple[Kind, ...]] = ("queue", "topic", "durable")
"""Consumers of a queue; subscribers of a topic, whose queue is theirs alone; durable subscriptions."""
MOST_LISTED: Final = 10_000
"""Subscriptions that are returned at once."""
_ENDED: Final = "subscription closed by an administrator"
_AT_ONCE: Final = 500
"""Queues or consumers that are looked at in one turn of the loop."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """One line of the list."""

    id: str
    """Names it on all nodes, as long as it is there."""
    kind: Kind
    vhost: str
    queue: str
    """Where its messages wait: of a durable subscription its name."""
    destination: str
    """The queue, or the topics as they are bound."""
    exchange: str
    selector: str
    is_durable: bool
    is_active: bool
    """Is there a consumer?"""
    node: str
    """The node that the consumer is connected to; empty without one."""
    origin: str
    """The client's address and port; empty on another node than that."""
    pending: int
    """Ready messages on all nodes together. Subscriptions of one queue share them."""


class ConsumerHolder(Protocol):
    """A client's connection."""

    @property
    def address(self) -> str:
        """The client's address and port."""
        ...

    @property
    def vhost(self) -> str:
        """The virtual host that is open."""
        ...

    def consumers(self) -> Iterable[tuple[int, str, Queue]]:
        """Return the channel, the tag and the queue of every consumer."""
        ...

    def end_consumer(self, channel_id: int, consumer_tag: str, reason: str) -> bool:
        """Take a consumer away, and tell the client; return whether there was one."""
        ...


@dataclass(frozen=True, slots=True)
class WantedSubscriptions:
    """Which subscriptions are asked for: with None all."""

    kind: Kind | None = None
    queue: str | None = None
    after: str = ""
    """Only ids behind this one."""
    limit: int = 100


class SubscriptionList:
    """The subscriptions of a cluster, as one of its nodes knows them."""

    def __init__(
        self,
        vhosts: Mapping[str, VirtualHost],
        connections: Callable[[], Iterable[ConsumerHolder]],
        node_id: str,
        next_turn: Callable[[], Awaitable[None]],
    ) -> None:
        self._vhosts = vhosts
        self._connections = connections
        self._node_id = node_id
        self._next_turn = next_turn

    async def listed(self, vhost: str, wanted: WantedSubscriptions = WantedSubscriptions()) -> list[Subscription]:
        """Return up to `wanted.limit` subscriptions by their ids."""
        if not 0 < wanted.limit <= MOST_LISTED:
            raise AdministrationError(f"as many as 1 to {MOST_LISTED} subscriptions can be listed at once")
        host = self._vhost(vhost)
        here = await self._here(host)
        found = []
        for number, queue in enumerate(list(host.queues.values())):
            if number % _AT_ONCE == 0:
                await self._next_turn()
            if wanted.queue in (None, queue.name) and wanted.kind in (None, _kind(host, queue)):
                found += [each for each in self._of(host, queue, here.get(queue, ())) if each.id > wanted.after]
        found.sort(key=lambda each: each.id)
        return found[: wanted.limit]

    async def close(self, vhost: str, subscription_id: str) -> None:
        """Take the consumer of a subscription away; its client is told. A durable subscription stays, without one.

        Raises `AdministrationError` if there is none, or if it is on another node.
        """
        host = self._vhost(vhost)
        for connection in list(self._connections()):
            if connection.vhost == vhost:
                for channel_id, tag, queue in list(connection.consumers()):
                    if self._id(queue, connection.address, channel_id, tag) == subscription_id:
                        connection.end_consumer(channel_id, tag, _ENDED)
                        return
            await self._next_turn()
        name, _, node = subscription_id.rpartition("@")
        if name in host.queues and node in _nodes_elsewhere(host, host.queues[name]):
            raise AdministrationError(f"subscription '{subscription_id}' is on node '{node}': close it there")
        raise AdministrationError(f"there is no active subscription '{subscription_id}' in virtual host '{vhost}'")

    async def delete(self, vhost: str, name: str) -> int:
        """Delete a durable subscription without a consumer, and return how many messages it had.

        Raises `AdministrationError` if there is none, `PreconditionFailed` if it is consumed.
        """
        host = self._vhost(vhost)
        queue = host.queues.get(name)
        if queue is None or _kind(host, queue) != "durable":
            raise AdministrationError(f"there is no durable subscription '{name}' in virtual host '{vhost}'")
        return await host.delete_queue(name, if_unused=True)

    def _vhost(self, name: str) -> VirtualHost:
        vhost = self._vhosts.get(name)
        if vhost is None:
            raise AdministrationError(f"there is no virtual host '{name}'")
        return vhost

    async def _here(self, host: VirtualHost) -> Mapping[Queue, list[tuple[str, int, str]]]:
        """Return the consumers of this node: address, channel and tag, by queue."""
        found: dict[Queue, list[tuple[str, int, str]]] = {}
        looked_at = 0
        for connection in list(self._connections()):
            if connection.vhost == host.name:
                for channel_id, tag, queue in list(connection.consumers()):
                    found.setdefault(queue, []).append((connection.address, channel_id, tag))
                    looked_at += 1
            looked_at += 1
            if looked_at >= _AT_ONCE:
                looked_at = 0
                await self._next_turn()
        return found

    def _of(self, host: VirtualHost, queue: Queue, here: Iterable[tuple[str, int, str]]) -> Iterator[Subscription]:
        """Return the subscriptions of one queue."""
        there = 0
        for address, channel_id, tag in here:
            yield _subscription(host, queue, self._id(queue, address, channel_id, tag), self._node_id, address)
            there += 1
        for node in _nodes_elsewhere(host, queue):
            yield _subscription(host, queue, f"{queue.name}@{node}", node)
            there += 1
        if not there and _kind(host, queue) == "durable":
            yield _subscription(host, queue, f"{queue.name}@", "")

    def _id(self, queue: Queue, address: str, channel_id: int, tag: str) -> str:
        return f"{queue.name}@{self._node_id}/{address}/{channel_id}/{tag}"


def _nodes_elsewhere(host: VirtualHost, queue: Queue) -> list[str]:
    """Return the other nodes with consumers of a queue."""
    if isinstance(queue.owner, RemoteOwner):  # of a subscriber's own queue nobody records consumers
        return [queue.owner.incarnation.node_id] if queue.auto_delete else []
    return [incarnation.node_id for incarnation in host.consumers.elsewhere(queue)]


def _kind(host: VirtualHost, queue: Queue) -> Kind:
    if queue.settings.is_subscription:
        return "durable"
    is_own = queue.is_exclusive or queue.auto_delete
    return "topic" if is_own and TOPICS in host.routing.sources_of(("queue", queue.name)) else "queue"


def _subscription(host: VirtualHost, queue: Queue, name: str, node: str, origin: str = "") -> Subscription:
    kind = _kind(host, queue)
    destinations, selector = queue.name, ""
    if kind != "queue":
        bindings = host.exchanges[TOPICS].bindings_of(("queue", queue.name))
        destinations = ", ".join(sorted({each.routing_key for each in bindings}))
        selector = next((str(text) for each in bindings if (text := selector_text(each.arguments))), "")
    return Subscription(
        name,
        kind,
        host.name,
        queue.name,
        destinations,
        QUEUES if kind == "queue" else TOPICS,
        selector,
        queue.durable,
        bool(node),
        node,
        origin,
        queue.message_count,
    )
