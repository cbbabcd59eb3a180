"""Who consumes what, as WSO2's console lists it: consumers of queues, subscribers of topics, durable subscriptions.

Each node knows its own consumers, and is asked for them. That a node has consumers of a queue all of them know, because
it is recorded: of one that does not answer that is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
    """The client's address and port; empty when its node has not answered."""
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


@dataclass(frozen=True, slots=True)
class SeenConsumer:
    """A consumer, as its own node sees it."""

    queue: str
    address: str
    """The client's address and port."""
    channel_id: int
    tag: str

    def id_on(self, node_id: str) -> str:
        """Return the id of its subscription when it is on this node."""
        return f"{self.queue}@{node_id}/{self.address}/{self.channel_id}/{self.tag}"


@dataclass(frozen=True, slots=True)
class ConsumersElsewhere:
    """The consumers that other nodes tell of."""

    told: Mapping[str, Sequence[SeenConsumer]] = field(default_factory=dict)
    """By node id, of each node the first ones of their ids, as many as are wanted."""
    silent: tuple[str, ...] = ()
    """Nodes that have not answered in time."""


ReadElsewhere: TypeAlias = Callable[[str, WantedSubscriptions], Awaitable[ConsumersElsewhere]]
"""Asks the other nodes for the consumers of a virtual host."""


async def nobody_elsewhere(vhost: str, wanted: WantedSubscriptions) -> ConsumersElsewhere:
    """Stand where there are no other nodes."""
    return ConsumersElsewhere()


CloseElsewhere: TypeAlias = Callable[[str, str, str], Awaitable[bool]]
"""Takes the consumer of a subscription on another node away: node, virtual host, id. Returns whether there was one.

Raises `CoordinationError` if the node does not answer.
"""


async def nothing_elsewhere(node_id: str, vhost: str, subscription_id: str) -> bool:
    """Stand where there are no other nodes."""
    return False


@dataclass(frozen=True, slots=True)
class FoundSubscriptions:
    """What is returned of the list."""

    rows: Sequence[Subscription]
    silent: tuple[str, ...]
    """Nodes that have not answered: each queue that they are known to have consumers of has one line for them."""


class SubscriptionList:
    """The subscriptions of a cluster, as one of its nodes knows them."""

    def __init__(
        self,
        vhosts: Mapping[str, VirtualHost],
        connections: Callable[[], Iterable[ConsumerHolder]],
        node_id: str,
        next_turn: Callable[[], Awaitable[None]],
        elsewhere: ReadElsewhere = nobody_elsewhere,
        close_elsewhere: CloseElsewhere = nothing_elsewhere,
    ) -> None:
        self._vhosts = vhosts
        self._connections = connections
        self._node_id = node_id
        self._next_turn = next_turn
        self._elsewhere = elsewhere
        self._close_elsewhere = close_elsewhere

    async def listed(self, vhost: str, wanted: WantedSubscriptions = WantedSubscriptions()) -> FoundSubscriptions:
        """Return up to `wanted.limit` subscriptions by their ids."""
        if not 0 < wanted.limit <= MOST_LISTED:
            raise AdministrationError(f"as many as 1 to {MOST_LISTED} subscriptions can be listed at once")
        host = self._vhost(vhost)
        elsewhere = await self._elsewhere(vhost, wanted)
        seen = {name: [(self._node_id, each) for each in found] for name, found in (await self._here(host)).items()}
        for node_id, consumers in elsewhere.told.items():
            for each in consumers:
                seen.setdefault(each.queue, []).append((node_id, each))
        is_untold = _untold(elsewhere, wanted.limit)
        found = []
        for number, queue in enumerate(list(host.queues.values())):
            if number % _AT_ONCE == 0:
                await self._next_turn()
            if _is_wanted(host, queue, wanted):
                rows = _of_queue(host, queue, seen.get(queue.name, ()), is_untold)
                found += [each for each in rows if each.id > wanted.after]
        found.sort(key=lambda each: each.id)
        return FoundSubscriptions(found[: wanted.limit], elsewhere.silent)

    async def consumers(self, vhost: str, wanted: WantedSubscriptions) -> list[SeenConsumer]:
        """Return up to `wanted.limit` consumers of this node by the ids of their subscriptions, for another node."""
        host = self._vhosts.get(vhost)
        found: list[SeenConsumer] = []
        if host is not None:
            for name, consumers in (await self._here(host)).items():
                queue = host.queues.get(name)
                if queue is not None and _is_wanted(host, queue, wanted):
                    found += [each for each in consumers if each.id_on(self._node_id) > wanted.after]
        found.sort(key=lambda each: each.id_on(self._node_id))
        return found[: wanted.limit]

    async def close(self, vhost: str, subscription_id: str) -> None:
        """Take the consumer of a subscription away; its client is told. A durable subscription stays, without one.

        Raises `AdministrationError` if there is none, `CoordinationError` if its node does not answer.
        """
        host = self._vhost(vhost)
        if await self.close_here(vhost, subscription_id):
            return
        node, stands_for_all = _node_of(host, subscription_id)
        if stands_for_all:
            raise AdministrationError(
                f"'{subscription_id}' stands for what node '{node}' has not told of: list the subscriptions again"
            )
        if not node or not await self._close_elsewhere(node, vhost, subscription_id):
            raise AdministrationError(f"there is no active subscription '{subscription_id}' in virtual host '{vhost}'")

    async def close_here(self, vhost: str, subscription_id: str) -> bool:
        """Likewise, if it is on this node; return whether it was."""
        for connection in list(self._connections()):
            if connection.vhost == vhost:
                for each in _consumers_of(connection):
                    if each.id_on(self._node_id) == subscription_id:
                        return connection.end_consumer(each.channel_id, each.tag, _ENDED)
            await self._next_turn()
        return False

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

    async def _here(self, host: VirtualHost) -> dict[str, list[SeenConsumer]]:
        """Return the consumers of this node by queue."""
        found: dict[str, list[SeenConsumer]] = {}
        looked_at = 0
        for connection in list(self._connections()):
            if connection.vhost == host.name:
                for each in _consumers_of(connection):
                    found.setdefault(each.queue, []).append(each)
                    looked_at += 1
            looked_at += 1
            if looked_at >= _AT_ONCE:
                looked_at = 0
                await self._next_turn()
        return found


def _consumers_of(connection: ConsumerHolder) -> list[SeenConsumer]:
    address = connection.address
    return [SeenConsumer(queue.name, address, channel_id, tag) for channel_id, tag, queue in connection.consumers()]


def _untold(elsewhere: ConsumersElsewhere, limit: int) -> Callable[[str, str], bool]:
    """Return whether a node may have consumers of a queue that it has not told of: it is silent, or has told of as many
    as are wanted, and these come before that queue's.
    """
    ends = {node_id: told[-1].id_on(node_id) for node_id, told in elsewhere.told.items() if len(told) >= limit}

    def is_untold(node_id: str, queue: str) -> bool:
        return node_id in elsewhere.silent or (node_id in ends and f"{queue}@{node_id}/" > ends[node_id])

    return is_untold


def _is_wanted(host: VirtualHost, queue: Queue, wanted: WantedSubscriptions) -> bool:
    return wanted.queue in (None, queue.name) and wanted.kind in (None, _kind(host, queue))


def _of_queue(
    host: VirtualHost,
    queue: Queue,
    seen: Iterable[tuple[str, SeenConsumer]],
    is_untold: Callable[[str, str], bool],
) -> Iterator[Subscription]:
    """Return the subscriptions of one queue."""
    there = 0
    for node_id, each in seen:
        yield _subscription(host, queue, each.id_on(node_id), node_id, each.address)
        there += 1
    for node_id in _nodes_elsewhere(host, queue):
        if is_untold(node_id, queue.name):
            yield _subscription(host, queue, f"{queue.name}@{node_id}", node_id)
            there += 1
    if not there and _kind(host, queue) == "durable":
        yield _subscription(host, queue, f"{queue.name}@", "")


def _node_of(host: VirtualHost, subscription_id: str) -> tuple[str, bool]:
    """Return the other node that an id of a subscription means, nothing if there is none, and whether the id stands for
    all consumers that the node has of the queue.
    """
    place = subscription_id.find("@")
    while place >= 0:
        queue, behind = host.queues.get(subscription_id[:place]), subscription_id[place + 1 :]
        for node_id in () if queue is None else _nodes_elsewhere(host, queue):
            if behind == node_id or behind.startswith(f"{node_id}/"):
                return node_id, behind == node_id
        place = subscription_id.find("@", place + 1)
    return "", False


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
