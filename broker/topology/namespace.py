"""The names of a virtual host: what there is, what is set of it, and what may be decided about it.

It alters no memory itself but what is set: `apply` does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final, Protocol

from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.errors import AccessRefused, NotAllowed, NotFound, PreconditionFailed, ResourceLocked
from broker.ports.cluster import Cluster
from broker.ports.cluster_rows import Incarnation
from broker.ports.names import DEAD_LETTER_CHANNEL, SCHEDULE
from broker.ports.records import (
    BindingRecord,
    Change,
    Drop,
    ExchangeKey,
    ExchangeRecord,
    Put,
    QueueKey,
    QueueRecord,
    VirtualHostSettingsRecord,
)
from broker.ports.store import Journal
from broker.queue.policy_keys import with_policy
from broker.queue.queue import Queue
from broker.queue.settings import SCHEDULE_SETTINGS, QueueSettings, QueueType
from broker.selector.selector import Selector
from broker.topology.binding import Binding, Destination, Router
from broker.topology.channel_settings import with_channel
from broker.topology.counts import Churn, MessageCounts
from broker.topology.decision import Decision, Resource
from broker.topology.declaration import QueueDeclaration, RemoteOwner
from broker.topology.dialect import PLAIN, QUEUES, TOPICS, ClientDialect
from broker.topology.exchange import Exchange, ExchangeTypes
from broker.topology.exchange_types.direct_by_name import DefaultByNameRouter, DirectByNameRouter
from broker.topology.exchange_types.recent_history import Kept
from broker.topology.exchange_types.topic_by_selector import CompileSelector, TopicBySelectorRouter
from broker.topology.own_messages import OwnMessages
from broker.topology.policies import Policies
from broker.topology.recorder import Recorder
from broker.topology.routing import RoutingTable

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

_BY_NAME: Final[Mapping[str, Callable[[Callable[[str], str]], Router]]] = {
    "": DefaultByNameRouter,
    QUEUES: DirectByNameRouter,
}
"""Exchanges that lead to queues by their names in a dialect."""
_ALWAYS: Final = frozenset(name for name, _, _ in PREDECLARED if name)
QUEUES_PER_STEP: Final = 200
"""Queues to which policies are applied at once."""


class QueueFactory(Protocol):
    """Builds a queue with what all queues of this node share."""

    def __call__(
        self,
        vhost: str,
        name: str,
        queue_id: int,
        *,
        durable: bool,
        auto_delete: bool,
        owner: object | None,
        arguments: FieldTable,
        settings: QueueSettings,
    ) -> Queue: ...


class Namespace:
    """What is there in a virtual host, and what is set of it."""

    def __init__(
        self,
        name: str,
        *,
        cluster: Cluster[Queue],
        recorder: Recorder,
        journal: Journal,
        new_queue: QueueFactory,
        new_queue_id: Callable[[], Awaitable[int]],
        on_activity: Callable[[Queue], None],
        exchange_types: ExchangeTypes,
        put_copy: Callable[[Queue, Kept], None],
        max_queues: int = 100_000,
        default_queue_type: QueueType = QueueType.CLASSIC,
        dialect: ClientDialect = PLAIN,
        compile_selector: CompileSelector = Selector,
        churn: Churn | None = None,
    ) -> None:
        """`on_activity` is called with a queue whose single active consumer is on this node from now on, or whose
        settings are others; `put_copy` with a message of an exchange's history and a queue that gets it.
        """
        self.name = name
        self.dialect: Final = dialect
        self.compile_selector: Final = compile_selector
        self.policies = Policies()
        self._churn = churn or Churn()
        self.ended_channels = MessageCounts()
        """What the channels have counted that are closed."""
        self._settings = VirtualHostSettingsRecord(name)
        self._configured_queue_type = default_queue_type
        self._is_gone = False
        self.routing = RoutingTable(name)
        self.own_messages = OwnMessages(self.routing.forget_routes)
        self.exchanges: Mapping[str, Exchange] = self.routing.exchanges  # read only: `routing` changes them
        self.queues: Mapping[str, Queue] = self.routing.queues
        self.cluster = cluster
        self.recorder = recorder
        self._journal = journal
        self._new_queue = new_queue
        self._new_queue_id = new_queue_id
        self._max_queues = max_queues
        self.exchange_types = exchange_types
        self._put_copy = put_copy
        self._on_activity = on_activity
        self._declaring: dict[int, object] = {}  # whose queues are being recorded, by id; of an exclusive one the owner
        for exchange_name, exchange_type, internal in PREDECLARED:
            self.routing.add_exchange(
                Exchange(
                    exchange_name,
                    exchange_type,
                    EMPTY_TABLE,
                    exchange_types,
                    durable=True,
                    internal=internal,
                    router=self._router_of(exchange_name),
                )
            )

    def _router_of(self, exchange: str) -> Router | None:
        """Return what routes in the place of the type's router, because the dialect says so."""
        if exchange in _BY_NAME and self.dialect.reaches_queues_by_name:
            return _BY_NAME[exchange](self.dialect.name_of)
        if exchange == TOPICS and self.dialect.has_selectors:
            return TopicBySelectorRouter(self.compile_selector, self.own_messages.unwanted)
        return None

    # For `topology/apply` alone

    def set(self, settings: VirtualHostSettingsRecord) -> None:
        """This is set of it from now on."""
        self._settings = settings

    def alter(self, queue: Queue, arguments: FieldTable) -> None:
        """These are a queue's arguments from now on. What they say holds for what is in it, too."""
        for each in dict.fromkeys((queue, *queue.levels)):
            each.take_arguments(arguments)
        self._is_set_anew(queue)
        self.routing.forget_routes()
        self._on_activity(queue)

    def on_set(self, queue: Queue) -> None:
        """A queue is set to do something else from now on."""

    def policy_steps(self) -> Iterator[None]:
        """Apply the policies as they are now to all exchanges and queues, in steps of a millisecond or two."""
        for exchange in self.exchanges.values():
            exchange.set_policy(self.policies.of_exchange(exchange.name).definition)
        self.routing.forget_routes()
        queues = iter(list(self.queues.values()))
        while step := list(islice(queues, QUEUES_PER_STEP)):
            changed = [queue for queue in step if self.queues.get(queue.name) is queue and self._is_set_anew(queue)]
            if changed:
                self.routing.forget_routes()  # the routes know which queues refuse messages
            for queue in changed:
                self._on_activity(queue)
            yield

    def _is_set_anew(self, queue: Queue) -> bool:
        settings = self.settings_of(queue.name, queue.arguments, is_stored=queue.is_stored)
        if settings == queue.settings:
            return False
        queue.set(settings)
        self.on_set(queue)
        return True

    def settings_of(self, queue: str, arguments: FieldTable, *, is_stored: bool) -> QueueSettings:
        """Return what a queue with this name and these arguments is set to do, with what policies say, and the dialect
        of a queue that lasts where these say nothing.
        """
        if queue == SCHEDULE:
            return SCHEDULE_SETTINGS
        queue_type = QueueType.of(arguments)
        definition = self.policies.of_queue(queue, queue_type).definition
        values = with_policy(arguments.values, definition, queue_type)
        settings = QueueSettings.of_values(values, queue_type)
        if not is_stored and settings.deduplication is not None:
            settings = replace(settings, deduplication=None)  # a policy: an argument is refused
        rules = self.dialect.channel
        if rules is None or not is_stored or queue == DEAD_LETTER_CHANNEL:
            return settings
        return with_channel(settings, rules, has_limit="x-delivery-limit" in values)

    def close(self) -> None:
        """It is deleted: clients that still hold on to it change nothing in it any more."""
        self._is_gone = True
        self._churn.ended_queues.add(self.routing.ended_queues)

    # What is set

    @property
    def settings(self) -> VirtualHostSettingsRecord:
        return self._settings

    @property
    def default_queue_type(self) -> QueueType:
        """The type of queues whose declaration names none."""
        return QueueType.named(self.settings.default_queue_type) or self._configured_queue_type

    @property
    def max_queues(self) -> int:
        """How many queues there may be; one with priorities counts as many times as it has levels."""
        limit = self.settings.max_queues
        return self._max_queues if limit < 0 else min(limit, self._max_queues)

    @property
    def schedule(self) -> Queue | None:
        """Where messages wait for their time; None while none has had to."""
        return self.routing.schedule

    # Names

    def phrase(self, kind: str, name: str) -> str:
        """Return the resource phrase of contract G2."""
        return f"{kind} '{name}' in vhost '{self.name}'"

    def exchange(self, name: str) -> Exchange:
        """Return the exchange or raise `NotFound`."""
        try:
            return self.exchanges[name]
        except KeyError:
            raise NotFound(f"no {self.phrase('exchange', name)}") from None

    def queue(self, name: str, owner: object | None = None) -> Queue:
        """Return the queue; raise `NotFound`, or `ResourceLocked` when it is exclusive to another connection."""
        queue = self.queues.get(name)
        if queue is None or queue.is_closing:
            raise NotFound(f"no {self.phrase('queue', name)}")
        if queue.owner is not None and queue.owner is not owner:
            raise self._locked(name)
        return queue

    def is_there_as(self, exchange: str, exchange_type: str) -> bool:
        """Is a declaration of this exchange answered by its type alone, because it is always there?"""
        if not self.dialect.takes_predeclared_by_type or exchange not in _ALWAYS:
            return False
        return self.exchanges[exchange].type == exchange_type

    # The dead letter channel

    def is_channel(self, queue: str) -> bool:
        """Is this the name of the dead letter channel of this virtual host?"""
        return self.dialect.channel is not None and queue == DEAD_LETTER_CHANNEL

    def channel_declaration(self) -> QueueDeclaration:
        """Return the declaration of the dead letter channel."""
        return QueueDeclaration(DEAD_LETTER_CHANNEL, True, False, EMPTY_TABLE, None).of_type(QueueType.CLASSIC)

    def _locked(self, name: str) -> ResourceLocked:
        return ResourceLocked(
            f"cannot obtain exclusive access to locked {self.phrase('queue', name)}. It could be originally declared on"
            " another connection or the exclusive property value does not match that of the original declaration."
        )

    def require_changeable(self, name: str) -> None:
        """Raise `AccessRefused` for the default exchange, which no client may change (contract X6)."""
        if name == "":
            raise AccessRefused("operation not permitted on the default exchange")

    def require_deletable(self, name: str) -> None:
        """Raise `AccessRefused` for an exchange that every virtual host has (contract X12)."""
        self.require_changeable(name)
        if name.startswith("amq."):
            raise AccessRefused(f"deletion of system {self.phrase('exchange', name)} not allowed")

    def require_type(self, name: str, exchange_type: str) -> None:
        """Raise `PreconditionFailed` for a type that no exchange can have, but for one that is recorded like that."""
        current = self.exchanges.get(name)
        if exchange_type not in self.exchange_types and (current is None or current.type != exchange_type):
            raise PreconditionFailed(f"unknown exchange type '{exchange_type}'")

    def require_unreserved(self, name: str) -> None:
        """Raise `AccessRefused` for the name of a new queue that only the server may choose (contract Q9)."""
        if name.startswith("amq.") and name not in self.queues:
            raise AccessRefused(f"queue name '{name}' contains reserved prefix 'amq.*'")

    # Records

    def record_of(self, binding: Binding) -> BindingRecord:
        """Return the record of a binding."""
        kind, name = binding.destination
        return BindingRecord(self.name, binding.source, kind, name, binding.routing_key, binding.arguments.raw)

    def make_queue(self, record: QueueRecord, arguments: FieldTable) -> Queue:
        """Build a queue from its record; `arguments` are those that take effect. An exclusive one belongs to the
        connection that is declaring it here, or to a remote owner.
        """
        owner: object | None = None
        if record.exclusive:
            elsewhere = RemoteOwner(Incarnation(record.node_id, record.incarnation))
            declaring = self._declaring.get(record.queue_id)
            owner = elsewhere if declaring is None else declaring
        return self._new_queue(
            self.name,
            record.name,
            record.queue_id,
            durable=record.durable,
            auto_delete=record.auto_delete,
            owner=owner,
            arguments=arguments,
            settings=self.settings_of(record.name, arguments, is_stored=record.durable and not record.exclusive),
        )

    def incarnation_of_owner(self, queue: Queue) -> Incarnation | None:
        """Return the incarnation whose connection owns `queue`; None when the queue is not exclusive."""
        if isinstance(queue.owner, RemoteOwner):
            return queue.owner.incarnation
        return None if queue.owner is None else self.cluster.incarnation

    # Recording

    def _deletions(self, exchanges: Iterable[str]) -> list[Change]:
        return [Drop(ExchangeKey(self.name, each)) for each in exchanges]

    def _concerned(self, deleted: Destination) -> list[Resource]:
        """Return what the deletion of a queue or exchange depends on: each auto-delete exchange it may be the last
        destination of, directly or one through another.
        """
        found = {deleted: None}
        waiting = [deleted]
        while waiting:
            for source in self.routing.sources_of(waiting.pop()):
                if self.exchanges[source].auto_delete and ("exchange", source) not in found:
                    found[("exchange", source)] = None
                    waiting.append(("exchange", source))
        return list(found)

    def decision(
        self,
        changes: Sequence[Change] = (),
        *,
        result: Callable[[], Any] = lambda: None,
        reads: Sequence[Resource] = (),
        writes: Sequence[Resource] = (),
        **steps: Any,
    ) -> Decision[Any]:
        """Return a decision about things of this virtual host, whose resources are told without its name. Raises
        `NotAllowed` when it is gone.
        """
        if changes and self._is_gone:
            raise NotAllowed(f"vhost {self.name} not found")
        return Decision(
            changes,
            result,
            lasting=[change for change in changes if self._is_lasting(change)],
            reads=[(self.name,), *((self.name, *each) for each in reads)],
            writes=[(self.name, *each) for each in writes],
            **steps,
        )

    def _is_lasting(self, change: Change) -> bool:
        """Must the effect of `change` survive a restart?"""
        match change:
            case Put(ExchangeRecord(durable=durable)):
                return durable
            case Drop(ExchangeKey(name=name)):
                return self.exchanges[name].durable
            case Put(QueueRecord(durable=durable, exclusive=exclusive)):
                return durable and not exclusive
            case Drop(QueueKey(name=name)):
                return self.queues[name].is_stored
            case Put(BindingRecord() as binding) | Drop(BindingRecord() as binding):
                destination = (binding.destination_kind, binding.destination)
                return self.exchanges[binding.source].durable and self.routing.is_durable(destination)
            case _:
                return False
