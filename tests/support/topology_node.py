"""Nodes of a cluster as far as topology goes: a virtual host and its replicator, on a store they share."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from broker.backoff import Backoff
from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.coordination.replication.replicator import Replicator
from broker.message import Message
from broker.ports.cluster_rows import EventRow, Incarnation
from broker.ports.peer_calls import Caller
from broker.ports.slot import Slot
from broker.queue.queue import Queue
from broker.store.retrying import Retry
from broker.topology.apply import LiveTopology
from broker.topology.declaration import ExchangeDeclaration, QueueDeclaration
from broker.topology.diff import topology_hash
from broker.topology.exchange_types.recent_history import Kept
from broker.topology.recorder import Recorder
from broker.topology.vhost import VirtualHost
from broker.turn_budget import TurnBudget
from tests.support.clock import FakeClock
from tests.support.composition import ENDLESS, OneOfMany, new_vhost, nothing_to_wait_for
from tests.support.memory_events import MemoryEvents


class PurgingJournal:
    """A journal that knows what was purged and settled, and nothing else."""

    def __init__(self) -> None:
        self.purged: list[Slot] = []
        self.settled: list[Message] = []
        self.failure: Exception | None = None

    async def purge(self, slots: Sequence[Slot]) -> None:
        if self.failure is not None:
            raise self.failure
        self.purged += slots

    def settle(self, message: Message) -> None:
        self.settled.append(message)


class OneConsumer:
    """A consumer that takes nothing, and knows whether it was cancelled."""

    def __init__(self, *, is_exclusive: bool = False, priority: int = 0) -> None:
        self.is_exclusive = is_exclusive
        self.is_resting = False
        self.priority = priority
        self.unacked = 0
        self.is_cancelled = False

    def take(self, ready: deque[Message], limit: int) -> int:
        return 0

    def can_take(self) -> bool:
        return False

    def on_queue_deleted(self) -> None:
        self.is_cancelled = True


class Company:
    """The nodes that share a store."""

    def __init__(self, events: MemoryEvents | None = None) -> None:
        self.events = events or MemoryEvents()
        self.nodes: dict[str, TopologyNode] = {}
        self.queue_ids = count(1)
        self.tokens = count(1)

    async def node(self, name: str, incarnation: str = "1", **options: Any) -> TopologyNode:
        node = self.nodes[name] = TopologyNode(self, Incarnation(name, incarnation), **options)
        await node.start()
        return node

    async def settle(self) -> None:
        """Let every node look for events once."""
        for node in self.nodes.values():
            await node.replicator.look()


class TopologyNode:
    """One node. `hears` is False while others cannot push events to it."""

    def __init__(
        self,
        company: Company,
        incarnation: Incarnation,
        *,
        push_timeout: float = 5.0,
        apply_timeout: float = 0.0,
        is_cut_off: Callable[[], bool] | None = None,
    ) -> None:
        """With `is_cut_off` events themselves are pushed."""
        self.company = company
        self.incarnation = incarnation
        self.clock = FakeClock()
        self.journal = PurgingJournal()
        self.active: list[str] = []
        self.copies: list[tuple[str, Kept]] = []
        self.dispatches = 0
        self.pushes: list[int] = []
        self.pushed: list[EventRow] = []
        self.wanted: list[tuple[int, int]] = []
        self.hears = True
        self.on_push: Callable[[], Any] | None = None
        self.vhosts: dict[str, VirtualHost] = {}
        self.topology = LiveTopology(self.vhosts, self._new_vhost)
        self.is_trusted = True
        self.replicator = Replicator(
            company.events,
            incarnation,
            topology=self.topology,
            lock=(lock := asyncio.Lock()),
            on_applied=self._on_applied,
            purge=self.journal.purge,
            on_wanted=lambda queue_id, messages: self.wanted.append((queue_id, messages)),
            peers=self._peers,
            caller=lambda: Caller(incarnation.node_id, incarnation.id),
            interval=1.0,
            new_token=lambda: str(next(company.tokens)),
            is_cut_off=is_cut_off,
            is_trusted=lambda: self.is_trusted,
            push_timeout=push_timeout,
            apply_timeout=apply_timeout,
            retry=Retry("waiting", Backoff(0.0, 0.0)),
            monotonic=self.clock.monotonic,
        )
        replicator = self.replicator
        self.cluster = OneOfMany(incarnation, replicator.record, lambda: replicator.recorded, replicator.announce)
        self._recorder = Recorder(
            self.cluster,
            self.topology.apply,
            self.journal.purge,
            lock=lock,
            new_event=asyncio.Event,
            work=TurnBudget(ENDLESS),
            next_turn=nothing_to_wait_for,
        )

    async def start(self) -> None:
        assert self.topology.restore(await self.replicator.load()) == []

    @property
    def vhost(self) -> VirtualHost:
        return self.vhosts["/"]

    @property
    def hash(self) -> str:
        return topology_hash(self.topology.snapshot())

    def _new_vhost(self, name: str) -> VirtualHost:
        return new_vhost(
            name,
            cluster=self.cluster,
            recorder=self._recorder,
            journal=self.journal,
            new_queue_id=self._new_queue_id,
            lane=3,
            on_activity=lambda queue: self.active.append(queue.name),
            put_copy=lambda queue, kept: self.copies.append((queue.name, kept)),
        )

    async def _new_queue_id(self) -> int:
        return next(self.company.queue_ids)

    def _on_applied(self) -> None:
        self.dispatches += 1

    def _peers(self) -> Any:
        return {node.incarnation: node for node in self.company.nodes.values() if node is not self and node.hears}

    async def push_events(self, last_event_id: int, caller: Caller, events: Sequence[EventRow] = ()) -> int:
        """Answer a peer."""
        self.pushes.append(last_event_id)
        self.pushed += events
        if self.on_push is not None:
            await self.on_push()
        return await self.replicator.push_events(last_event_id, events)

    # What clients of this node do

    async def declare(
        self,
        name: str,
        *,
        owner: object | None = None,
        auto_delete: bool = False,
        durable: bool = False,
        **arguments: Any,
    ) -> Queue:
        table = FieldTable.of({key.replace("_", "-"): value for key, value in arguments.items()})
        return await self.vhost.declare_queue(QueueDeclaration(name, durable, auto_delete, table, owner))

    async def exchange(self, name: str, *, type: str = "fanout", auto_delete: bool = False) -> None:
        await self.vhost.declare_exchange(ExchangeDeclaration(name, type, False, auto_delete, False, EMPTY_TABLE))

    async def bind(self, source: str, queue: str) -> None:
        await self.vhost.bind(source, ("queue", queue), "", EMPTY_TABLE)

    async def unbind(self, source: str, queue: str) -> None:
        await self.vhost.unbind(source, ("queue", queue), "", EMPTY_TABLE)

    async def consume(self, name: str, *, is_exclusive: bool = False, priority: int = 0) -> OneConsumer:
        queue = self.vhost.queue(name)
        consumer = OneConsumer(is_exclusive=is_exclusive, priority=priority)
        consumption = self.vhost.consumers
        if consumption.needs_subscription(queue, consumer):
            await consumption.subscribe(queue, consumer)
        consumption.add(queue, consumer)
        return consumer

    async def cancel(self, queue: Queue, consumer: OneConsumer) -> None:
        if self.vhost.consumers.remove(queue, consumer):
            await self.vhost.consumers.unsubscribe(queue)
