"""A virtual host: what clients may do to its exchanges, queues and bindings.

It decides every change and passes it to the recorder, which records and applies it. It alters no memory itself, so
changes that other nodes decided take the same way through `apply`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from typing import Any

from broker.codec.field_table import FieldTable
from broker.errors import AccessRefused, NotFound, NotImplementedFault, PreconditionFailed
from broker.ports.names import DEAD_LETTER_CHANNEL, SCHEDULE
from broker.ports.records import Drop, Put, QueueKey, QueueRecord, SubscriptionKey
from broker.queue.queue import Queue
from broker.topology.alteration import STRICT, UPGRADE, require_alterable
from broker.topology.alteration_log import AdoptedDeclarations, tell_altered
from broker.topology.binding import Binding, Destination
from broker.topology.consumers import Consumers
from broker.topology.decision import Decision
from broker.topology.declaration import ExchangeDeclaration, QueueDeclaration
from broker.topology.namespace import Namespace
from broker.topology.recorder import ROUND
from broker.topology.replay import replayed
from broker.topology.routing import CASCADE


class VirtualHost(Namespace):
    """A namespace of exchanges and queues that clients change."""

    @cached_property
    def _adopted(self) -> AdoptedDeclarations:
        return AdoptedDeclarations()

    @cached_property
    def consumers(self) -> Consumers:
        """Who consumes from its queues."""
        return Consumers(self, self._on_activity)

    def on_set(self, queue: Queue) -> None:
        if self.cluster.shares(queue):
            self.consumers.update_activity(queue)

    def replay(self, binding: Binding) -> None:
        """Give the destination of a new binding the history of its exchange (contract E8)."""
        for queue, kept in replayed(self.routing, binding):
            self._put_copy(queue, kept)

    # Exchanges

    async def declare_exchange(self, declaration: ExchangeDeclaration, client: Hashable = None) -> None:
        """Create the exchange, or check that it exists as declared (contract X1 to X7).

        Here as below, `client` is who asks: many requests of one client do not delay those of others.
        """
        self.require_changeable(declaration.name)
        await self.recorder.change(partial(self._declare_exchange, declaration), client)

    def _declare_exchange(self, declaration: ExchangeDeclaration) -> Decision[None]:
        name = declaration.name
        current = self.exchanges.get(name)
        if current is not None:
            declaration.require_same(self.phrase("exchange", name), current)
            return self.decision(reads=[("exchange", name)])
        self.require_type(name, declaration.type)
        if name.startswith("amq."):
            raise AccessRefused(f"exchange name '{name}' contains reserved prefix 'amq.*'")
        declaration.check(self.phrase("exchange", name), self.exchange_types)
        return self.decision([Put(declaration.record(self.name))], writes=[("exchange", name)])

    async def delete_exchange(self, name: str, *, if_unused: bool, client: Hashable = None) -> None:
        """Delete the exchange and all bindings from and to it (contract X12)."""
        self.require_deletable(name)
        await self.recorder.change(partial(self._delete_exchange, name, if_unused), client)
        await self.delete_unused(client)

    def _delete_exchange(self, name: str, if_unused: bool) -> Decision[None]:
        exchange = self.exchanges.get(name)
        if exchange is None:
            return self.decision(reads=[("exchange", name)])
        if if_unused and not exchange.is_unused:
            raise PreconditionFailed(f"{self.phrase('exchange', name)} in use")
        gone = [name, *self.routing.unused_without(("exchange", name))]
        return self.decision(self._deletions(gone), writes=self._concerned(("exchange", name)))

    async def delete_unused(self, client: Hashable = None) -> None:
        """Delete the auto-delete exchanges that a deletion has left without a binding, because they were too many to go
        with it, and those that this leaves without one (contract X9).
        """
        while self.routing.unused:
            names = list(islice(self.routing.unused, CASCADE))
            await self.recorder.maintain([partial(self._delete_if_unused, name) for name in names], client)

    def _delete_if_unused(self, name: str) -> Decision[None]:
        if name not in self.routing.unused:
            return self.decision(reads=[("exchange", name)])
        return self._delete_exchange(name, False)

    # Bindings

    async def bind(
        self,
        source: str,
        destination: Destination,
        routing_key: str,
        arguments: FieldTable,
        client: Hashable = None,
    ) -> None:
        """Bind a queue or an exchange to the exchange `source` (contract Q11, X14)."""
        sent = Binding(source, destination, routing_key, arguments)
        await self.recorder.change(partial(self._bind, sent), client)

    def _bind(self, sent: Binding) -> Decision[None]:
        binding = self._there_or_in_order(sent)
        self._require_ends(binding.source, binding.destination)
        exchange = self.exchanges[binding.source]
        ends, itself = [("exchange", binding.source), binding.destination], ("binding", binding)
        if binding in exchange.bindings:
            return self.decision(reads=[*ends, itself])
        exchange.check(binding)
        return self.decision([Put(self.record_of(binding))], reads=ends, writes=[itself])

    async def unbind(
        self,
        source: str,
        destination: Destination,
        routing_key: str,
        arguments: FieldTable,
        client: Hashable = None,
    ) -> None:
        """Remove a binding; one that is not there is no error (contract Q12)."""
        self.require_changeable(source)
        if destination[0] == "exchange":
            self.require_changeable(destination[1])
        sent = Binding(source, destination, routing_key, arguments)
        await self.recorder.change(partial(self._unbind, sent), client)
        await self.delete_unused(client)

    def _unbind(self, sent: Binding) -> Decision[None]:
        binding = self._there_or_in_order(sent)
        source = binding.source
        exchange = self.exchanges.get(source)
        reads, itself = [("exchange", source), binding.destination], ("binding", binding)
        if exchange is None or binding not in exchange.bindings:
            return self.decision(reads=[*reads, itself])
        unused = exchange.auto_delete and len(exchange.bindings) == 1
        gone = [source, *self.routing.unused_without(("exchange", source))] if unused else []
        concerned = self._concerned(("exchange", source)) if exchange.auto_delete else []
        changes = [Drop(self.record_of(binding)), *self._deletions(gone)]
        return self.decision(changes, reads=reads, writes=[itself, *concerned])

    def _there_or_in_order(self, sent: Binding) -> Binding:
        """Return `sent` with its arguments in order, so that their order tells no bindings apart; or as it is, if it is
        there like that: earlier versions recorded arguments as they came.
        """
        exchange = self.exchanges.get(sent.source)
        if exchange is not None and sent in exchange.bindings:
            return sent
        return replace(sent, arguments=sent.arguments.in_order())

    def _require_ends(self, source: str, destination: Destination) -> None:
        self.require_changeable(source)
        self.exchange(source)
        kind, name = destination
        if kind == "exchange":
            self.require_changeable(name)
            self.exchange(name)
        elif name not in self.queues:
            raise NotFound(f"no {self.phrase('queue', name)}")

    # Queues

    async def declare_queue(
        self, declaration: QueueDeclaration, *, is_server_named: bool = False, client: Hashable = None
    ) -> Queue:
        """Create the queue, or check that it exists as declared (contract Q1 to Q9, Q16).

        `declaration` has its type already (`QueueDeclaration.of_type`).
        """
        name, current = declaration.name, self.queues.get(declaration.name)
        self._churn.queue_declared += 1
        if current is not None and not current.is_closing:
            if self.settings.redeclaration == UPGRADE and current.owner is None and declaration.owner is None:
                declaration.require_same_properties(self.phrase("queue", name), current)
                if not declaration.is_like(current):
                    return await self.alter_queue(name, declaration.arguments, client, is_redeclared=True)
            self._require_same_queue(current, declaration)
            if self.settings.redeclaration != STRICT and not declaration.is_like(current):
                self._adopted.tell(self.name, current, declaration.arguments)
            current.use()
            return current
        if not is_server_named:
            self.require_unreserved(name)
        declaration.check(self.phrase("queue", name))
        self._require_room(declaration)
        queue_id = await self._new_queue_id()
        return await self.recorder.change(partial(self._declare_queue, declaration, queue_id), client)

    def _declare_queue(self, declaration: QueueDeclaration, queue_id: int) -> Decision[Queue]:
        name = declaration.name
        current = self.queues.get(name)
        if current is not None:
            self._require_same_queue(current, declaration)
            return self.decision(result=lambda: self.queues[name], reads=[("queue", name)])
        self._require_room(declaration)
        writes = [("queue", name)]
        if self.routing.level_count + (len(self._declaring) + ROUND) * declaration.level_count > self.max_queues:
            writes.append(("queues", ""))  # the last ones one by one, so that no round makes too many

        def declared() -> Queue:
            del self._declaring[queue_id]
            self._churn.queue_created += 1
            return self.queues[name]

        return self.decision(
            [Put(declaration.record(self.name, queue_id, self.cluster.incarnation))],
            result=declared,
            writes=writes,
            begin=lambda: self._declaring.update({queue_id: declaration.owner}),
            end=lambda is_recorded: is_recorded or self._declaring.pop(queue_id),
        )

    def _require_room(self, declaration: QueueDeclaration) -> None:
        if self.routing.level_count + declaration.level_count > self.max_queues:
            raise PreconditionFailed(
                f"cannot declare queue '{declaration.name}':"
                f" queue limit in vhost '{self.name}' ({self.max_queues}) is reached"
            )

    def _require_same_queue(self, current: Queue, declaration: QueueDeclaration) -> None:
        if current.owner is not declaration.owner:
            raise self._locked(current.name)
        what = self.phrase("queue", current.name)
        if self.settings.redeclaration == STRICT:
            declaration.require_same(what, current)
        else:
            declaration.require_same_properties(what, current)

    async def alter_queue(
        self, name: str, arguments: FieldTable, client: Hashable = None, *, is_redeclared: bool = False
    ) -> Queue:
        """Let a queue have these arguments from now on, on all nodes; nothing of it is lost. Raises
        `PreconditionFailed` if they cannot be changed into these. `is_redeclared`: a declaration has done it.
        """
        before = self.queue(name).arguments
        queue = await self.recorder.change(partial(self._alter_queue, name, arguments), client)
        tell_altered(self, queue, before, is_redeclared=is_redeclared)
        return queue

    def require_alterable(self, queue: Queue, arguments: FieldTable) -> None:
        """Raise what `alter_queue` would; change nothing."""
        if arguments != queue.arguments:
            require_alterable(queue, arguments, self.phrase("queue", queue.name))

    def _alter_queue(self, name: str, arguments: FieldTable) -> Decision[Queue]:
        queue = self.queue(name)
        if arguments == queue.arguments:
            return self.decision(result=lambda: queue, reads=[("queue", name)])
        self.require_alterable(queue, arguments)
        record = QueueRecord(
            self.name, name, queue.queue_id, False, queue.auto_delete, arguments.raw, durable=queue.durable
        )
        return self.decision([Put(record)], result=lambda: queue, writes=[("queue", name)])

    async def delete_queue(
        self,
        name: str,
        owner: object | None = None,
        *,
        if_unused: bool = False,
        if_empty: bool = False,
        client: Hashable = None,
    ) -> int:
        """Delete the queue with its messages and bindings; return how many were ready (contract Q14)."""
        if name not in self.queues:
            return 0
        if if_empty and await self.cluster.has_unseen(self.queue(name, owner)):
            raise PreconditionFailed(f"{self.phrase('queue', name)} not empty")
        count = await self.recorder.change(partial(self._delete_queue, name, owner, if_unused, if_empty), client)
        await self.delete_unused(client)
        return count

    def _delete_queue(self, name: str, owner: object | None, if_unused: bool, if_empty: bool) -> Decision[int]:
        if name not in self.queues:
            return self.decision(result=int, reads=[("queue", name)])
        queue = self.queue(name, owner)
        if if_unused and (queue.consumers or self.consumers.elsewhere(queue)):
            raise PreconditionFailed(f"{self.phrase('queue', name)} in use")
        if if_empty and queue.message_count:
            raise PreconditionFailed(f"{self.phrase('queue', name)} not empty")
        return self.deletion(queue)

    async def delete_exclusive(self, queues: Iterable[Queue], client: Hashable = None) -> None:
        """Delete the exclusive queues of a connection that ends (contract Q6)."""
        await self.recorder.maintain([partial(self._delete_if_there, queue) for queue in queues], client)
        await self.delete_unused(client)

    def _delete_if_there(self, queue: Queue) -> Decision[Any]:
        if self.queues.get(queue.name) is queue:
            return self.deletion(queue)
        return self.decision(reads=[("queue", queue.name)])

    async def delete_expired(self, queue: Queue, now_ms: Callable[[], int]) -> None:
        """Delete a queue whose lease is over, unless it is used again meanwhile (contract F3)."""
        await self.recorder.maintain([partial(self._delete_expired, queue, now_ms)])
        await self.delete_unused()

    def _delete_expired(self, queue: Queue, now_ms: Callable[[], int]) -> Decision[Any]:
        if queue.is_lease_over(now_ms()) and not self.consumers.elsewhere(queue):
            return self._delete_if_there(queue)
        return self.decision(reads=[("queue", queue.name)])

    def deletion(self, queue: Queue, removed: Sequence[SubscriptionKey] = ()) -> Decision[int]:
        """Decide to delete a queue and the subscriptions `removed`; the result is how many messages were ready."""
        gone = self.routing.unused_without(("queue", queue.name))
        key = QueueKey(self.name, queue.name, queue.queue_id)
        counted = 0

        def end(is_recorded: bool) -> None:
            nonlocal counted
            counted = queue.message_count
            self._churn.queue_deleted += is_recorded
            if not is_recorded:
                queue.cancel_delete()

        return self.decision(
            [*map(Drop, removed), *self._deletions(gone), Drop(key)],
            result=lambda: counted,
            writes=self._concerned(("queue", queue.name)),
            begin=queue.begin_delete,
            end=end,
        )

    async def purge_queue(self, name: str, owner: object | None) -> int:
        """Remove every ready message on all nodes; return how many there were (contract Q13)."""
        queue = self.queue(name, owner)
        if queue.is_stream:
            raise NotImplementedFault(f"queue.purge not supported by stream queues {self.phrase('queue', name)}")
        return await self.purge_here(queue) + await self.cluster.purge(queue)

    async def purge_here(self, queue: Queue) -> int:
        """Remove every ready message on this node; return how many there were."""
        count = queue.ready_count
        slots = queue.purge()
        if slots:
            await self._journal.purge(slots)
        return count

    # The schedule

    async def open_schedule(self) -> None:
        """Create the queue in which messages wait for their time, unless it is there (ADR 79)."""
        if self.schedule is None:
            await self.recorder.change(partial(self._open_schedule, await self._new_queue_id()))

    def _open_schedule(self, queue_id: int) -> Decision[None]:
        place = ("queue", SCHEDULE)
        if self.schedule is not None:
            return self.decision(reads=[place])
        return self.decision([Put(QueueRecord(self.name, SCHEDULE, queue_id))], writes=[place])

    # The dead letter channel

    async def open_channel(self) -> None:
        """Create the dead letter channel, unless it is there (docs/jms.md)."""
        if DEAD_LETTER_CHANNEL not in self.queues:
            await self.declare_queue(self.channel_declaration())
