"""Random changes on three nodes at once: all end with the same topology, and every decision knew all earlier ones."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from broker.coordination.replication.orphans import remove_orphans
from broker.errors import AccessRefused, NotFound, PreconditionFailed, ResourceLocked
from broker.ports.cluster_rows import Incarnation
from broker.ports.records import (
    BindingRecord,
    Change,
    Drop,
    ExchangeKey,
    ExchangeRecord,
    Put,
    QueueKey,
    QueueRecord,
    SubscriptionKey,
    SubscriptionRecord,
)
from broker.queue.queue import Queue
from broker.topology.diff import topology_hash
from tests.support.memory_events import MemoryEvents
from tests.support.topology_node import Company, OneConsumer, TopologyNode

REFUSALS = (AccessRefused, NotFound, PreconditionFailed, ResourceLocked)
QUEUES = ("p", "q", "r")
EXCHANGES = ("x", "y")


class Client:
    """Somebody who does things to one node at random."""

    def __init__(self, node: TopologyNode, chance: random.Random) -> None:
        self.node = node
        self.chance = chance
        self.consumers: list[tuple[Queue, OneConsumer]] = []
        self.owned: list[Queue] = []

    async def act(self, count: int) -> None:
        usual: list[Callable[[], Awaitable[object]]] = [
            self.declare, self.declare, self.declare_exclusive, self.declare_auto_delete, self.delete, self.exchange,
            self.delete_exchange, self.bind, self.bind, self.unbind, self.consume, self.consume, self.cancel, self.end,
        ]  # fmt: skip
        busy = [self.declare, self.declare_auto_delete, *[self.consume] * 8, *[self.cancel] * 6]
        actions = self.chance.choice([usual, busy])
        for _ in range(count):
            try:
                await self.chance.choice(actions)()
            except REFUSALS:
                continue

    def queue(self) -> str:
        return self.chance.choice(QUEUES)

    async def declare(self) -> None:
        name = self.queue()
        await self.node.declare(name, durable=self.chance.random() < 0.2, x_single_active_consumer=name == "r")

    async def declare_exclusive(self) -> None:
        self.owned.append(await self.node.declare(self.queue(), owner=self))

    async def declare_auto_delete(self) -> None:
        await self.node.declare(self.queue(), auto_delete=True)

    async def delete(self) -> None:
        await self.node.vhost.delete_queue(self.queue(), self, if_unused=self.chance.random() < 0.5)

    async def exchange(self) -> None:
        await self.node.exchange(self.chance.choice(EXCHANGES), auto_delete=self.chance.random() < 0.5)

    async def delete_exchange(self) -> None:
        await self.node.vhost.delete_exchange(self.chance.choice(EXCHANGES), if_unused=self.chance.random() < 0.5)

    async def bind(self) -> None:
        await self.node.bind(self.chance.choice(EXCHANGES), self.queue())

    async def unbind(self) -> None:
        await self.node.unbind(self.chance.choice(EXCHANGES), self.queue())

    async def consume(self) -> None:
        queue = self.node.vhost.queue(self.queue())
        is_exclusive, priority = self.chance.random() < 0.1, self.chance.randrange(3)
        consumer = await self.node.consume(queue.name, is_exclusive=is_exclusive, priority=priority)
        self.consumers.append((queue, consumer))

    async def cancel(self) -> None:
        if self.consumers:
            await self.node.cancel(*self.consumers.pop(self.chance.randrange(len(self.consumers))))

    async def end(self) -> None:
        owned, self.owned = self.owned, []
        await self.node.vhost.delete_exclusive(owned)


class Referee:
    """Follows the events, and says of each whether it could be decided after all those before it."""

    def __init__(self) -> None:
        self.queues: dict[str, int] = {}
        self.auto_delete: set[int] = set()
        self.exchanges = {"amq.fanout"}
        self.bindings: set[tuple[str, str]] = set()
        self.subscriptions: dict[tuple[int, Incarnation], SubscriptionRecord] = {}

    def follow(self, change: Change) -> None:
        match change:
            case Put(ExchangeRecord() as exchange):
                assert exchange.name not in self.exchanges
                self.exchanges.add(exchange.name)
            case Drop(ExchangeKey(_, name)):
                self.exchanges.remove(name)
                self.bindings = {each for each in self.bindings if each[0] != name}
            case Put(QueueRecord() as queue):
                assert queue.name not in self.queues
                assert queue.queue_id not in self.queues.values()
                self.queues[queue.name] = queue.queue_id
            case Drop(QueueKey(_, name, queue_id)):
                assert self.queues.pop(name) == queue_id
                self.bindings = {each for each in self.bindings if each[1] != name}
                self.subscriptions = {key: value for key, value in self.subscriptions.items() if key[0] != queue_id}
            case Put(BindingRecord() as binding):
                assert binding.source in self.exchanges
                assert binding.destination in self.queues
                assert (binding.source, binding.destination) not in self.bindings
                self.bindings.add((binding.source, binding.destination))
            case Drop(BindingRecord() as binding):
                self.bindings.remove((binding.source, binding.destination))
            case Put(SubscriptionRecord() as subscription):
                incarnation = Incarnation(subscription.node_id, subscription.incarnation)
                assert subscription.queue_id in self.queues.values()
                others = [value for key, value in self.subscriptions.items() if key[0] == subscription.queue_id]
                assert not others or not (subscription.exclusive or any(each.exclusive for each in others))
                self.subscriptions[subscription.queue_id, incarnation] = subscription
            case Drop(SubscriptionKey(queue_id, node_id, incarnation)):
                del self.subscriptions[queue_id, Incarnation(node_id, incarnation)]
            case _:
                raise AssertionError(change)


@pytest.mark.parametrize("seed", range(80))
async def test_nodes_that_change_topology_at_once_agree_in_the_end(seed: int) -> None:
    chance = random.Random(seed)

    async def delay() -> None:
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)

    company = Company(MemoryEvents(delay))
    nodes = [await company.node(name, push_timeout=60.0) for name in "abc"]
    for node in nodes:
        node.hears = chance.random() < 0.7
    company.events.failures.extend(chance.choice(["", "", "", "before", "after"]) for _ in range(200))
    clients = [Client(node, chance) for node in nodes for _ in range(3)]
    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(client.act(40))
    await company.settle()
    referee = Referee()
    for changes in company.events.changes:
        for change in changes:
            referee.follow(change)
    assert {node.hash for node in nodes} == {topology_hash(company.events.topology)}
    for client in clients:
        for queue in client.owned:
            assert queue.is_closing or client.node.vhost.queues[queue.name].owner is client
    for node in nodes:
        for queue in node.vhost.queues.values():
            subscribed = node.incarnation in node.vhost.consumers.subscriptions.of(queue.queue_id)
            assert subscribed == (bool(queue.consumers) and not queue.is_exclusive)
            if subscribed:
                known = node.vhost.consumers.subscriptions.of(queue.queue_id)[node.incarnation]
                assert known.priority == max(each.priority for each in queue.consumers)
    for name in QUEUES:
        queues = [(node, node.vhost.queues[name]) for node in nodes if name in node.vhost.queues]
        active = [node for node, queue in queues if queue.turns.dispatcher.is_active]
        if name == "r" and queues and queues[0][1].settings.single_active_consumer:
            incarnations = nodes[0].vhost.consumers.subscriptions.of(queues[0][1].queue_id)
            assert [node.incarnation for node in active] == list(incarnations)[:1] or not incarnations
    await _bury(nodes)


async def _bury(nodes: list[TopologyNode]) -> None:
    """One node dies: nothing of it is left, and the others still agree."""
    dead, *living = nodes
    dead.hears = False

    async def read_living() -> set[Incarnation]:
        return {node.incarnation for node in living}

    await asyncio.gather(*(remove_orphans(node.vhosts.values, read_living) for node in living))
    for node in living:
        await node.replicator.look()
        queues = node.vhost.queues.values()
        assert dead.incarnation not in {node.vhost.incarnation_of_owner(queue) for queue in queues}
        assert all(dead.incarnation not in node.vhost.consumers.subscriptions.of(queue.queue_id) for queue in queues)
    assert len({node.hash for node in living}) == 1
