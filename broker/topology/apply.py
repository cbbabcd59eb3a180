"""Applies changes of topology to memory: the only place that alters it, whichever node decided and recorded the change.

`HANDLERS` says what each kind of record does to memory. Applying a change again has no effect. Nothing that was
recorded is refused, and nothing is decided or recorded here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final

from broker.auth.directory import Directory
from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.errors import BrokerError, PreconditionFailed, StoreError, SyntaxFault, clip
from broker.ports.kinds import KINDS, Kind, Kinds
from broker.ports.levels import level_of, queue_id_of
from broker.ports.names import SCHEDULE
from broker.ports.records import (
    BindingRecord,
    Change,
    ExchangeKey,
    ExchangeRecord,
    GlobalParameterKey,
    GlobalParameterRecord,
    PermissionRecord,
    PolicyKey,
    PolicyRecord,
    Put,
    QueueKey,
    QueueRecord,
    Record,
    SubscriptionKey,
    SubscriptionRecord,
    TopicPermissionRecord,
    Topology,
    UserRecord,
    VirtualHostRecord,
    VirtualHostSettingsKey,
    VirtualHostSettingsRecord,
)
from broker.ports.slot import Slot
from broker.queue.queue import Queue
from broker.queue.settings import QueueType
from broker.topology import snapshot
from broker.topology.binding import Binding, Destination
from broker.topology.diff import changes_to, hashing
from broker.topology.exchange import Exchange
from broker.topology.queue_arguments import without_effect
from broker.topology.subscriptions import incarnation_of
from broker.topology.vhost import VirtualHost

_NOTHING: Final[Sequence[Slot]] = ()
_COMPLAINTS: Final = 1000
_RECORD_SHOWN: Final = 300
"""Octets of a record's text in a complaint."""
_CHANGES_PER_STEP: Final = 500


_NO_TURNS: Final[deque[None]] = deque(maxlen=0)
"""Takes steps one after the other."""


def _nobody(name: str) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Handler:
    """What records of one kind do to memory.

    `put` and `drop` return the slots to be purged; `records` returns the records that describe what is in memory.
    """

    put: Callable[[LiveTopology, Any], Sequence[Slot]]
    drop: Callable[[LiveTopology, Any], Sequence[Slot]]
    records: Callable[[LiveTopology], Iterable[Record]]


# A record of an unknown virtual host has no effect: that virtual host was deleted with all that it held.


def _put_vhost(live: LiveTopology, record: VirtualHostRecord) -> Sequence[Slot]:
    if record.name not in live.vhosts:
        live.vhosts[record.name] = live.new_vhost(record.name)
    return _NOTHING


def _drop_vhost(live: LiveTopology, key: VirtualHostRecord) -> Sequence[Slot]:
    vhost = live.vhosts.get(key.name)
    if vhost is None:
        return _NOTHING
    slots = [slot for queue in list(vhost.queues.values()) for slot in _discard(vhost, queue)]
    if vhost.schedule is not None:
        slots += _discard(vhost, vhost.schedule)
    del live.vhosts[key.name]
    vhost.close()
    live.directory.drop_vhost(key.name)
    live.on_vhost_dropped(key.name)
    return slots


def _put_exchange(live: LiveTopology, record: ExchangeRecord) -> Sequence[Slot]:
    vhost = live.vhosts.get(record.vhost)
    if vhost is not None and record.name not in vhost.exchanges:
        vhost.routing.add_exchange(_exchange_of(live, record, vhost))
    return _NOTHING


def _exchange_of(live: LiveTopology, record: ExchangeRecord, vhost: VirtualHost) -> Exchange:
    """Return the exchange of a record, which cannot be refused any more: what makes no sense in it has no effect."""
    phrase, types = vhost.phrase("exchange", record.name), vhost.exchange_types
    arguments = _arguments_of(live, record.arguments, phrase)
    flags: dict[str, Any] = {"durable": record.durable, "auto_delete": record.auto_delete, "internal": record.internal}
    try:
        exchange = Exchange(record.name, record.type, arguments, types, **flags, is_recorded=True)
    except PreconditionFailed as error:
        live.complaints.append(f"the arguments of {phrase} have no effect: {error}")
        arguments = FieldTable.unreadable(record.arguments)
        exchange = Exchange(record.name, record.type, arguments, types, **flags, is_recorded=True)
    exchange.set_policy(vhost.policies.of_exchange(record.name).definition)
    if what_is_wrong := exchange.what_is_wrong:
        live.complaints.append(f"{phrase} routes nothing: {what_is_wrong}")
    return exchange


def _arguments_of(live: LiveTopology, raw: bytes, phrase: str) -> FieldTable:
    """Return recorded arguments. Those that cannot be read have no effect; the record keeps their octets."""
    try:
        return FieldTable(raw).validate()
    except SyntaxFault as error:
        live.complaints.append(f"the arguments of {phrase} cannot be read and have no effect: {error}")
        return FieldTable.unreadable(raw)


def _drop_exchange(live: LiveTopology, key: ExchangeKey) -> Sequence[Slot]:
    vhost = live.vhosts.get(key.vhost)
    if vhost is not None and key.name in vhost.exchanges:
        vhost.routing.remove_exchanges([key.name])
        _forget_rest(live, vhost, ("exchange", key.name))
    return _NOTHING


def _forget_rest(live: LiveTopology, vhost: VirtualHost, gone: Destination) -> None:
    """Forget in later turns what is left of the bindings to what was deleted."""
    rest = vhost.routing.rest_of(gone)
    if rest is not None:
        live.go_on(rest)


def _put_queue(live: LiveTopology, record: QueueRecord) -> Sequence[Slot]:
    vhost = live.vhosts.get(record.vhost)
    if vhost is None:
        return _NOTHING
    current = vhost.schedule if record.name == SCHEDULE else vhost.queues.get(record.name)
    if current is None and record.name == SCHEDULE:
        vhost.routing.add_schedule(vhost.make_queue(record, EMPTY_TABLE))
    elif current is None:
        phrase = vhost.phrase("queue", record.name)
        arguments = _arguments_of(live, record.arguments, phrase)
        for wrong in without_effect(arguments, QueueType.of(arguments)):
            live.complaints.append(f"an argument of {phrase} has no effect: {wrong}")
        vhost.routing.add_queue(vhost.make_queue(record, arguments))
    elif current.queue_id != record.queue_id:
        raise StoreError(f"{vhost.phrase('queue', record.name)} is there already with another id")
    elif current.arguments.raw != record.arguments:
        vhost.alter(current, _arguments_of(live, record.arguments, vhost.phrase("queue", record.name)))
    return _NOTHING


def _drop_queue(live: LiveTopology, key: QueueKey) -> Sequence[Slot]:
    vhost = live.vhosts.get(key.vhost)
    queue = None if vhost is None else vhost.routing.queues_by_id.get(key.queue_id)
    if vhost is None or queue is None:
        return _NOTHING
    slots = _discard(vhost, queue)
    _forget_rest(live, vhost, ("queue", queue.name))
    return slots


def _discard(vhost: VirtualHost, queue: Queue) -> Sequence[Slot]:
    """Remove a deleted queue from memory; return the slots to be purged, because rows of the queue may reach the store
    after the record of its deletion.
    """
    slots = queue.delete()
    if queue is vhost.schedule:
        vhost.routing.remove_schedule()
    else:
        vhost.routing.remove_queue(queue.name)
    vhost.consumers.subscriptions.forget(queue.queue_id)
    return [*slots, *(slot for level in queue.levels for slot in vhost.cluster.rows_to_come(level))]


def _put_binding(live: LiveTopology, record: BindingRecord) -> Sequence[Slot]:
    vhost = live.vhosts.get(record.vhost)
    if vhost is not None:
        ends = vhost.exchanges if record.destination_kind == "exchange" else vhost.queues
        if record.source not in vhost.exchanges or record.destination not in ends:
            raise StoreError(
                f"binding from '{record.source}' to '{record.destination}' in vhost '{vhost.name}' has lost an end"
            )
        binding = _binding_of(record)
        if vhost.routing.bind(binding):
            vhost.replay(binding)
    return _NOTHING


def _drop_binding(live: LiveTopology, key: BindingRecord) -> Sequence[Slot]:
    vhost = live.vhosts.get(key.vhost)
    if vhost is not None and key.source in vhost.exchanges:
        vhost.routing.unbind(_binding_of(key))
    return _NOTHING


def _binding_of(record: BindingRecord) -> Binding:
    destination = (record.destination_kind, record.destination)
    return Binding(record.source, destination, record.routing_key, FieldTable(record.arguments))


def _put_subscription(live: LiveTopology, record: SubscriptionRecord) -> Sequence[Slot]:
    queue = live.find_queue(record.queue_id)
    if queue is not None:
        consumers = live.vhosts[queue.vhost].consumers
        consumers.subscriptions.add(record)
        consumers.update_activity(queue)
    return _NOTHING


def _drop_subscription(live: LiveTopology, key: SubscriptionKey) -> Sequence[Slot]:
    queue = live.find_queue(key.queue_id)
    if queue is not None:
        consumers = live.vhosts[queue.vhost].consumers
        consumers.subscriptions.remove(key.queue_id, incarnation_of(key))
        consumers.update_activity(queue)
    return _NOTHING


def _in_all(
    records: Callable[[Iterable[VirtualHost]], Iterable[Record]],
) -> Callable[[LiveTopology], Iterable[Record]]:
    return lambda live: records(live.vhosts.values())


def _put_vhost_settings(live: LiveTopology, record: VirtualHostSettingsRecord) -> Sequence[Slot]:
    vhost = live.vhosts.get(record.vhost)
    if vhost is not None:
        vhost.set(record)
    return _NOTHING


def _drop_vhost_settings(live: LiveTopology, key: VirtualHostSettingsKey) -> Sequence[Slot]:
    vhost = live.vhosts.get(key.vhost)
    if vhost is not None:
        vhost.set(VirtualHostSettingsRecord(key.vhost))
    return _NOTHING


def _put_policy(live: LiveTopology, record: PolicyRecord) -> Sequence[Slot]:
    vhost = live.vhosts.get(record.vhost)
    if vhost is not None:
        if wrong := vhost.policies.put(record):
            live.complaints.append(f"the policy '{record.name}' of vhost '{vhost.name}' has no effect: {wrong}")
        _apply_policies(live, vhost)
    return _NOTHING


def _drop_policy(live: LiveTopology, key: PolicyKey) -> Sequence[Slot]:
    vhost = live.vhosts.get(key.vhost)
    if vhost is not None:
        vhost.policies.drop(key)
        _apply_policies(live, vhost)
    return _NOTHING


def _apply_policies(live: LiveTopology, vhost: VirtualHost) -> None:
    steps = vhost.policy_steps()
    next(steps, None)
    live.go_on(steps)


def _put_global_parameter(live: LiveTopology, record: GlobalParameterRecord) -> Sequence[Slot]:
    live.global_parameters[record.name] = record
    return _NOTHING


def _drop_global_parameter(live: LiveTopology, key: GlobalParameterKey) -> Sequence[Slot]:
    live.global_parameters.pop(key.name, None)
    return _NOTHING


def _in_directory(
    put: Callable[[Directory, Any], None],
    drop: Callable[[Directory, Any], None],
    records: Callable[[Directory], Iterable[Record]],
) -> Handler:
    """Return the handler of a kind that the directory knows."""

    def apply_to(change: Callable[[Directory, Any], None], live: LiveTopology, value: Any) -> Sequence[Slot]:
        change(live.directory, value)
        return _NOTHING

    return Handler(partial(apply_to, put), partial(apply_to, drop), lambda live: records(live.directory))


HANDLERS: Final[Mapping[type[Any], Handler]] = {
    VirtualHostRecord: Handler(_put_vhost, _drop_vhost, _in_all(snapshot.vhosts)),
    ExchangeRecord: Handler(_put_exchange, _drop_exchange, _in_all(snapshot.exchanges)),
    QueueRecord: Handler(_put_queue, _drop_queue, _in_all(snapshot.queues)),
    BindingRecord: Handler(_put_binding, _drop_binding, _in_all(snapshot.bindings)),
    SubscriptionRecord: Handler(_put_subscription, _drop_subscription, _in_all(snapshot.subscriptions)),
    UserRecord: _in_directory(Directory.put_user, Directory.drop_user, lambda found: found.users),
    PermissionRecord: _in_directory(
        Directory.put_permission, Directory.drop_permission, lambda found: found.permissions
    ),
    TopicPermissionRecord: _in_directory(
        Directory.put_topic, Directory.drop_topic, lambda found: found.topic_permissions
    ),
    VirtualHostSettingsRecord: Handler(_put_vhost_settings, _drop_vhost_settings, _in_all(snapshot.vhost_settings)),
    PolicyRecord: Handler(_put_policy, _drop_policy, _in_all(snapshot.policies)),
    GlobalParameterRecord: Handler(
        _put_global_parameter, _drop_global_parameter, lambda live: live.global_parameters.values()
    ),
}


class LiveTopology:
    """The topology in this node's memory. Only `apply` alters it."""

    def __init__(
        self,
        vhosts: dict[str, VirtualHost],
        new_vhost: Callable[[str], VirtualHost],
        kinds: Kinds = KINDS,
        handlers: Mapping[type[Any], Handler] = HANDLERS,
    ) -> None:
        """`new_vhost` builds an empty virtual host, which `apply` adds to `vhosts`."""
        self.vhosts = vhosts
        self.complaints: deque[str] = deque(maxlen=_COMPLAINTS)
        """A line for each record that was applied although something in it makes no sense, until they are taken."""
        self.new_vhost = new_vhost
        self.directory: Final = Directory()
        """Who may do what."""
        self.global_parameters: Final[dict[str, GlobalParameterRecord]] = {}
        """By name."""
        self.go_on: Callable[[Iterator[None]], object] = _NO_TURNS.extend
        """Called with the rest of steps, of which the first is done; the others may come in later turns of the loop."""
        self.on_vhost_dropped: Callable[[str], object] = _nobody
        """Called with the name of a virtual host that is gone."""
        self._kinds = kinds
        self._handlers = handlers

    def apply(self, change: Change) -> Sequence[Slot]:
        """Apply `change` to memory; return the slots to be purged, because their rows may still be on the way to the
        store.

        Raises `StoreError` when the change does not fit what is there.
        """
        handler = self._handlers[self._kinds.of(change).record]
        return handler.put(self, change.record) if isinstance(change, Put) else handler.drop(self, change.key)

    def purge(self, queue_id: int) -> Sequence[Slot]:
        """Drop the ready messages of a queue, if it is there; return the slots to be purged."""
        queue = self.find_queue(queue_id)
        return _NOTHING if queue is None else queue.purge()

    def restore(self, topology: Topology) -> list[str]:
        """Apply all recorded topology; return a line for each record that makes no sense or does not fit the others.

        Such a record stays as it is, in effect as far as it makes sense; it costs no other one.
        """
        return [complaint for step in self.restoring(topology) for complaint in step]

    def restoring(self, topology: Topology) -> Iterator[Sequence[str]]:
        """Apply all recorded topology as `restore` does, in steps of a few milliseconds; yield the lines of each."""
        changes = changes_to(topology, self._kinds)
        while step := list(islice(changes, _CHANGES_PER_STEP)):
            for change in step:
                self._restore(change)
            yield self.take_complaints()

    def take_complaints(self) -> list[str]:
        """Return a line for each record that was applied since the last call although it makes no sense here."""
        complaints = list(self.complaints)
        self.complaints.clear()
        return complaints

    def _restore(self, change: Put) -> None:
        try:
            self.apply(change)
        except StoreError as error:
            self.complaints.append(str(error))
        except BrokerError as error:
            self.complaints.append(f"{clip(repr(change.record), _RECORD_SHOWN)} is left alone: {error}")

    def snapshot(self) -> Topology:
        """Return the records that a cluster would have of what is in this node's memory."""
        return Topology(record for kind in self._kinds for record in self.records(kind))

    def hashing(self) -> Iterator[str]:
        """Hash what is in memory as `diff.hashing` does; end it when that changes between two steps."""
        return hashing(self.records, self._kinds)

    def records(self, kind: Kind) -> Iterable[Record]:
        """Return the records of one kind that a cluster would have of what is in this node's memory."""
        return self._handlers[kind.record].records(self)

    def find_level(self, storage_id: int) -> Queue | None:
        """Return the queue, or the level of one, with this storage id, if there is one."""
        queue, level = self.find_queue(queue_id_of(storage_id)), level_of(storage_id)
        return None if queue is None or level >= len(queue.levels) else queue.levels[level]

    def find_queue(self, queue_id: int) -> Queue | None:
        """Return the queue with this id, if there is one."""
        for vhost in self.vhosts.values():
            queue = vhost.routing.queues_by_id.get(queue_id)
            if queue is not None:
                return queue
        return None
