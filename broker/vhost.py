"""A virtual host: what clients may do to its exchanges, queues and bindings.

Every change that must survive is decided, recorded, applied: it is decided here, the store records it, and only then
the routing table changes (house rule; design §5). Knows the core's own objects and the ports; knows no frame and no
connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

from broker.declarations import ExchangeDeclaration, QueueDeclaration
from broker.errors import AccessRefused, NotFound, PreconditionFailed, ResourceLocked
from broker.exchange import EXCHANGE_TYPES, Arguments, Binding, Destination, Exchange, Headers
from broker.ports import Journal, TopologyStore
from broker.queue import Consumer, Queue
from broker.routing import RoutingTable
from broker.topology import (
    BindingAdded,
    BindingRecord,
    BindingRemoved,
    Change,
    ExchangeDeclared,
    ExchangeDeleted,
    QueueDeclared,
    QueueDeleted,
    Topology,
)

PREDECLARED: Final = (
    ("", "direct", False),
    ("amq.direct", "direct", False),
    ("amq.fanout", "fanout", False),
    ("amq.topic", "topic", False),
    ("amq.headers", "headers", False),
    ("amq.match", "headers", False),
    ("amq.rabbitmq.trace", "topic", True),
)
"""Name, type and internal flag of the exchanges every virtual host has (contract X7)."""


class FieldTables(Protocol):
    """Makes an argument table of the bytes the store kept."""

    def __call__(self, raw: bytes) -> Any: ...


class QueueFactory(Protocol):
    """Builds a queue with everything this node gives to its queues."""

    def __call__(
        self,
        vhost: str,
        name: str,
        queue_id: int,
        *,
        durable: bool,
        auto_delete: bool,
        owner: object | None,
        arguments: Any,
    ) -> Queue: ...


class VirtualHost:
    """One name space of exchanges and queues."""

    def __init__(
        self,
        name: str,
        *,
        topology: TopologyStore,
        journal: Journal,
        changes: AbstractAsyncContextManager[Any],
        duties: AbstractAsyncContextManager[Any] | None = None,
        new_queue: QueueFactory,
        new_queue_id: Callable[[], Awaitable[int]],
        no_arguments: Any,
        max_queues: int = 100_000,
    ) -> None:
        """`changes` is held while a change is recorded: one at a time. `no_arguments` is an empty table.

        `duties` is the same for changes that nobody asks for and that must not fail: the end of exclusive and
        auto-delete queues. Waiting for `changes` may end with `StoreUnavailable`, waiting for `duties` does not.
        """
        self.name = name
        self.routing = RoutingTable()
        self.exchanges: Mapping[str, Exchange] = self.routing.exchanges  # to look at: `routing` changes them
        self.queues: Mapping[str, Queue] = self.routing.queues
        self._topology = topology
        self._journal = journal
        self._changes = changes
        self._duties = duties or changes
        self._new_queue = new_queue
        self._new_queue_id = new_queue_id
        self._max_queues = max_queues
        for exchange_name, exchange_type, internal in PREDECLARED:
            self.routing.add_exchange(
                Exchange(exchange_name, exchange_type, durable=True, internal=internal, arguments=no_arguments)
            )

    # Names

    def phrase(self, kind: str, name: str) -> str:
        """Return the resource phrase of contract §1.0."""
        return f"{kind} '{name}' in vhost '{self.name}'"

    def exchange(self, name: str) -> Exchange:
        """Return the exchange or raise `NotFound`."""
        try:
            return self.exchanges[name]
        except KeyError:
            raise NotFound(f"no {self.phrase('exchange', name)}") from None

    def queue(self, name: str, owner: object | None = None) -> Queue:
        """Return the queue, or raise `NotFound`, or `ResourceLocked` when it is exclusive to another connection."""
        queue = self.queues.get(name)
        if queue is None or queue.is_closing:
            raise NotFound(f"no {self.phrase('queue', name)}")
        if queue.owner is not None and queue.owner is not owner:
            raise self._locked(name)
        return queue

    def _locked(self, name: str) -> ResourceLocked:
        return ResourceLocked(
            f"cannot obtain exclusive access to locked {self.phrase('queue', name)}. It could be originally declared on"
            " another connection or the exclusive property value does not match that of the original declaration."
        )

    def require_changeable(self, name: str) -> None:
        """Raise `AccessRefused` for the default exchange, which nobody may change (contract X6)."""
        if name == "":
            raise AccessRefused("operation not permitted on the default exchange")

    # Routing

    def route(self, exchange_name: str, routing_key: str, headers: Headers) -> list[Queue]:
        """Return the queues for a message, each once: through bindings, exchanges bound to exchanges, alternates."""
        return self.routing.route(self.exchange(exchange_name), routing_key, headers)

    # Exchanges

    async def declare_exchange(self, declaration: ExchangeDeclaration) -> None:
        """Make the exchange exist, as declared (contract X1 to X7)."""
        name = declaration.name
        self.require_changeable(name)
        async with self._changes:
            current = self.exchanges.get(name)
            if current is not None:
                declaration.require_same(self.phrase("exchange", name), current)
                return
            if declaration.type not in EXCHANGE_TYPES:
                raise PreconditionFailed(f"unknown exchange type '{declaration.type}'")
            if name.startswith("amq."):
                raise AccessRefused(f"exchange name '{name}' contains reserved prefix 'amq.*'")
            exchange = declaration.exchange()
            if declaration.durable:
                await self._record([ExchangeDeclared(declaration.record(self.name))])
            self.routing.add_exchange(exchange)

    async def delete_exchange(self, name: str, *, if_unused: bool) -> None:
        """Delete the exchange and all bindings from and to it (contract X12)."""
        self.require_changeable(name)
        if name.startswith("amq."):
            raise AccessRefused(f"deletion of system {self.phrase('exchange', name)} not allowed")
        async with self._changes:
            exchange = self.exchanges.get(name)
            if exchange is None:
                return
            if if_unused and not exchange.is_unused:
                raise PreconditionFailed(f"{self.phrase('exchange', name)} in use")
            gone = [name, *self.routing.unused_without(("exchange", name))]
            await self._record(self._deletions(gone))
            self.routing.remove_exchanges(gone)

    # Bindings

    async def bind(self, source: str, destination: Destination, routing_key: str, arguments: Arguments) -> None:
        """Bind a queue or an exchange to the exchange `source` (contract Q11, X14)."""
        async with self._changes:
            self._require_ends(source, destination)
            exchange = self.exchanges[source]
            binding = Binding(source, destination, routing_key, arguments)
            if binding in exchange.bindings:
                return
            exchange.check(arguments)
            if exchange.durable and self.routing.is_durable(destination):
                await self._record([BindingAdded(self._record_of(binding))])
            self.routing.bind(binding)

    async def unbind(self, source: str, destination: Destination, routing_key: str, arguments: Arguments) -> None:
        """Remove a binding; one that is not there is no error (contract Q12)."""
        self.require_changeable(source)
        if destination[0] == "exchange":
            self.require_changeable(destination[1])
        async with self._changes:
            exchange = self.exchanges.get(source)
            binding = Binding(source, destination, routing_key, arguments)
            if exchange is None or binding not in exchange.bindings:
                return
            unused = exchange.auto_delete and len(exchange.bindings) == 1
            gone = [source, *self.routing.unused_without(("exchange", source))] if unused else []
            changes: list[Change] = []
            if exchange.durable and self.routing.is_durable(destination):
                changes.append(BindingRemoved(self._record_of(binding)))
            await self._record([*changes, *self._deletions(gone)])
            self.routing.unbind(binding)
            self.routing.remove_exchanges(gone)

    def _require_ends(self, source: str, destination: Destination) -> None:
        self.require_changeable(source)
        self.exchange(source)
        kind, name = destination
        if kind == "exchange":
            self.require_changeable(name)
            self.exchange(name)
        elif name not in self.queues:
            raise NotFound(f"no {self.phrase('queue', name)}")

    def _record_of(self, binding: Binding) -> BindingRecord:
        kind, name = binding.destination
        return BindingRecord(self.name, binding.source, kind, name, binding.routing_key, binding.arguments.raw)

    # Queues

    async def declare_queue(self, declaration: QueueDeclaration, *, is_server_named: bool = False) -> Queue:
        """Make the queue exist, as declared (contract Q1 to Q9)."""
        name = declaration.name
        current = self.queues.get(name)
        if current is None or current.is_closing:
            async with self._changes:
                current = self.queues.get(name)
                if current is None:
                    return await self._create_queue(declaration, is_server_named)
        self._require_same_queue(current, declaration)
        return current

    async def _create_queue(self, declaration: QueueDeclaration, is_server_named: bool) -> Queue:
        name = declaration.name
        if name.startswith("amq.") and not is_server_named:
            raise AccessRefused(f"queue name '{name}' contains reserved prefix 'amq.*'")
        if len(self.queues) >= self._max_queues:
            raise PreconditionFailed(
                f"cannot declare queue '{name}': queue limit in vhost '{self.name}' ({self._max_queues}) is reached"
            )
        queue = self._new_queue(
            self.name,
            name,
            await self._new_queue_id(),
            durable=declaration.durable,
            auto_delete=declaration.auto_delete,
            owner=declaration.owner,
            arguments=declaration.arguments,
        )
        if queue.is_stored:
            await self._record([QueueDeclared(declaration.record(self.name, queue.queue_id))])
        self.routing.add_queue(queue)
        return queue

    def _require_same_queue(self, current: Queue, declaration: QueueDeclaration) -> None:
        if current.owner is not declaration.owner:
            raise self._locked(current.name)
        declaration.require_same(self.phrase("queue", current.name), current)

    async def delete_queue(
        self, name: str, owner: object | None = None, *, if_unused: bool = False, if_empty: bool = False
    ) -> int:
        """Delete the queue with its messages and bindings; return how many were ready (contract Q14)."""
        if name not in self.queues:
            return 0
        async with self._changes:
            queue = self.queues.get(name)
            if queue is None:
                return 0
            self.queue(name, owner)
            if if_unused and queue.consumers:
                raise PreconditionFailed(f"{self.phrase('queue', name)} in use")
            if if_empty and queue.ready_count:
                raise PreconditionFailed(f"{self.phrase('queue', name)} not empty")
            return await self._delete(queue)

    async def delete_unused(self, queue: Queue) -> None:
        """Delete an auto-delete queue whose last consumer went, unless somebody consumes again (contract Q7)."""
        async with self._duties:
            if self.queues.get(queue.name) is queue and queue.was_consumed and not queue.consumers:
                await self._delete(queue)

    async def delete_exclusive(self, queues: Iterable[Queue]) -> None:
        """Delete queues that are exclusive to a connection that ends (contract Q6)."""
        for queue in queues:
            async with self._duties:
                if self.queues.get(queue.name) is queue:
                    await self._delete(queue)

    async def _delete(self, queue: Queue) -> int:
        queue.is_closing = True
        gone = self.routing.unused_without(("queue", queue.name))
        changes = self._deletions(gone)
        if queue.is_stored:
            changes.append(QueueDeleted(self.name, queue.name, queue.queue_id))
        try:
            await self._record(changes)
        except BaseException:
            queue.is_closing = False
            raise
        count = queue.ready_count
        _, slots = queue.drop_all()
        self.routing.remove_queue(queue.name)
        self.routing.remove_exchanges(gone)
        for consumer in list(queue.consumers):
            consumer.on_queue_deleted()
        queue.consumers.clear()
        if slots:  # their rows may still be on their way to the store, after the queue's record
            await self._journal.purge(slots)
        return count

    async def purge_queue(self, name: str, owner: object | None) -> int:
        """Remove every ready message; return how many there were (contract Q13)."""
        queue = self.queue(name, owner)
        count = queue.ready_count
        _, slots = queue.drop_all()
        if slots:
            await self._journal.purge(slots)
        return count

    def add_consumer(self, queue: Queue, consumer: Consumer) -> None:
        """Let `consumer` take part in the queue's dispatch, or raise `AccessRefused` (contract B16)."""
        if queue.consumers and (consumer.is_exclusive or queue.is_in_exclusive_use):
            raise AccessRefused(f"{self.phrase('queue', queue.name)} in exclusive use")
        queue.consumers.append(consumer)
        queue.was_consumed = True

    def remove_consumer(self, queue: Queue, consumer: Consumer) -> bool:
        """Take `consumer` away; return whether the queue is to be deleted for that."""
        if consumer in queue.consumers:
            queue.consumers.remove(consumer)
        return queue.auto_delete and queue.was_consumed and not queue.consumers and not queue.is_closing

    # The store

    def _deletions(self, exchanges: Iterable[str]) -> list[Change]:
        return [ExchangeDeleted(self.name, each) for each in exchanges if self.exchanges[each].durable]

    async def _record(self, changes: Sequence[Change]) -> None:
        if changes:
            await self._topology.record(changes)

    def restore(self, topology: Topology, field_tables: FieldTables) -> list[str]:
        """Apply what the store had recorded of this virtual host; return a line for each thing that made no sense."""
        complaints = []
        for exchange in topology.exchanges:
            if exchange.vhost == self.name and exchange.name not in self.exchanges:
                self.routing.add_exchange(
                    Exchange(
                        exchange.name,
                        exchange.type,
                        durable=True,
                        auto_delete=exchange.auto_delete,
                        internal=exchange.internal,
                        arguments=field_tables(exchange.arguments),
                    )
                )
        for queue in topology.queues:
            if queue.vhost == self.name:
                self.routing.add_queue(
                    self._new_queue(
                        self.name,
                        queue.name,
                        queue.queue_id,
                        durable=True,
                        auto_delete=queue.auto_delete,
                        owner=None,
                        arguments=field_tables(queue.arguments),
                    )
                )
        for binding in topology.bindings:
            if binding.vhost != self.name:
                continue
            destination: Destination = (binding.destination_kind, binding.destination)
            if binding.source in self.exchanges and self.routing.is_durable(destination):
                arguments = field_tables(binding.arguments)
                self.routing.bind(Binding(binding.source, destination, binding.routing_key, arguments))
            else:
                complaints.append(f"binding from '{binding.source}' to '{binding.destination}' has lost an end")
        return complaints
