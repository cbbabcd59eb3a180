"""A whole store in memory: the verified fake of every store port.

Knows what the ports promise and nothing of disks. What was written lies in a `MemoryState`, which outlives the store:
open another store over it, and you have a restart; leave out `resign` before, and it was a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Any, Final

from broker.errors import StoreError, StoreLocked
from broker.message import STORED, TRANSIENT, Message, StorageQueue
from broker.ports import Batch, Registration
from broker.slot import Slot
from broker.store.memory_cluster import ClusterRows, MemoryClusterStore
from broker.store.rows import add_to_backlog, message_of, metadata_of, name_large_content
from broker.topology import (
    BindingAdded,
    BindingRecord,
    BindingRemoved,
    Change,
    ExchangeDeclared,
    ExchangeDeleted,
    ExchangeRecord,
    QueueDeclared,
    QueueDeleted,
    QueueRecord,
    Topology,
    VirtualHostCreated,
    VirtualHostDeleted,
)

_QUEUE_IDS_PER_REGISTRATION: Final = 1000


@dataclass(slots=True)
class _Row:
    storage_id: int
    content_id: int
    redelivered: bool
    metadata: bytes
    payload: bytes


@dataclass(slots=True)
class _Records:
    vhosts: dict[str, None] = field(default_factory=dict)
    exchanges: dict[tuple[str, str], ExchangeRecord] = field(default_factory=dict)
    queues: dict[tuple[str, str], QueueRecord] = field(default_factory=dict)
    bindings: dict[BindingRecord, None] = field(default_factory=dict)

    def copy(self) -> _Records:
        return _Records(dict(self.vhosts), dict(self.exchanges), dict(self.queues), dict(self.bindings))


@dataclass(slots=True)
class MemoryState:
    """What a store has made durable. `holder` is the store that has it open."""

    rows: dict[int, _Row] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    records: _Records = field(default_factory=_Records)
    lanes: dict[str, int] = field(default_factory=dict)
    running: str | None = None
    high_water: int = 0
    next_queue_id: int = 1
    cluster: ClusterRows = field(default_factory=ClusterRows)
    holder: MemoryStore | None = None


class MemoryStore:
    """A store over `state`, a new one unless given."""

    def __init__(self, state: MemoryState | None = None) -> None:
        self.state = MemoryState() if state is None else state
        self.cluster = MemoryClusterStore(lambda: self._opened().cluster)

    def describe(self) -> str:
        return "memory, nothing survives this process"

    async def open(self) -> None:
        if self.state.holder not in (None, self):
            raise StoreLocked("the store in memory is in use by another store of this process")
        self.state.holder = self

    async def close(self) -> None:
        if self.state.holder is self:
            self.state.holder = None

    async def probe(self) -> float:
        self._opened()
        return 0.0

    async def check_safety(self) -> list[str]:
        return ["the datasource is memory: everything ends with the process"]

    async def write(self, batch: Batch) -> None:
        state = self._opened()
        name_large_content(batch.inserts)
        ids = [message.id for message in batch.inserts]
        if len(set(ids)) < len(ids) or not state.rows.keys().isdisjoint(ids):
            raise StoreError("a message with this id is stored already")
        for message in batch.inserts:
            self._insert(message)
        doomed = [message.id for message in batch.deletes]
        for slot in batch.purges:
            doomed += [message_id for message_id, _ in self._in_slot(slot, {slot.queue_id, -slot.queue_id})]
        self._delete(doomed)
        state.high_water = max(state.high_water, batch.high_water)

    async def read(self, queue: StorageQueue, slot: Slot, limit: int, limit_bytes: int) -> list[Message]:
        state = self._opened()
        storage_ids = {slot.queue_id, -slot.queue_id} if slot.transient else {slot.queue_id}
        messages: list[Message] = []
        octets = 0
        for message_id, row in nsmallest(max(limit, 1), self._in_slot(slot, storage_ids), key=lambda item: item[0]):
            if messages and octets >= limit_bytes:
                break
            payload = state.contents.get(row.content_id, b"") if row.content_id else row.payload
            kind = TRANSIENT if row.storage_id < 0 else STORED
            message = message_of(message_id, queue, row.metadata, payload, kind)
            message.content_id = row.content_id
            message.redelivered = row.redelivered or slot.maybe_delivered
            messages.append(message)
            octets += len(payload)
        return messages

    async def backlog(self) -> list[Slot]:
        slots: dict[tuple[int, int], Slot] = {}
        for message_id, row in self._opened().rows.items():
            add_to_backlog(slots, row.storage_id, _lane_of(message_id), message_id, message_id, 1)
        return list(slots.values())

    async def mark_redelivered(self, messages: Sequence[Message]) -> None:
        rows = self._opened().rows
        for message in messages:
            if message.id in rows:
                rows[message.id].redelivered = True

    async def load(self) -> Topology:
        records = self._opened().records
        return Topology(
            tuple(records.vhosts),
            tuple(records.exchanges.values()),
            tuple(records.queues.values()),
            tuple(records.bindings),
        )

    async def record(self, changes: Sequence[Change]) -> None:
        state = self._opened()
        records, queue_ids = state.records.copy(), set[int]()
        for change in changes:
            queue_ids.update(_RECORD[type(change)](records, change))
        state.records = records
        self._delete([key for key, row in state.rows.items() if abs(row.storage_id) in queue_ids])

    async def reserve_queue_ids(self, count: int) -> tuple[int, int]:
        state = self._opened()
        first = state.next_queue_id
        state.next_queue_id += count
        return first, first + count - 1

    async def register(self, node_id: str) -> Registration:
        state = self._opened()
        last_message_id = max(state.high_water, max(state.rows, default=0))
        self._delete([key for key, row in state.rows.items() if row.storage_id < 0])
        lane = state.lanes.setdefault(node_id, len(state.lanes))
        clean = state.running is None
        state.running = node_id
        first, last = await self.reserve_queue_ids(_QUEUE_IDS_PER_REGISTRATION)
        return Registration(lane, last_message_id, first, last, clean)

    async def resign(self) -> None:
        self._opened().running = None

    def _opened(self) -> MemoryState:
        if self.state.holder is not self:
            raise StoreError("the store in memory is not open")
        return self.state

    def _insert(self, message: Message) -> None:
        queue_id = message.queue.queue_id
        storage_id = -queue_id if message.state == TRANSIENT else queue_id
        inline = b"" if message.content_id else message.payload
        row = _Row(storage_id, message.content_id, message.redelivered, metadata_of(message), inline)
        self.state.rows[message.id] = row
        if message.content_id:
            self.state.contents.setdefault(message.content_id, message.payload)

    def _delete(self, message_ids: Iterable[int]) -> None:
        """Delete rows, and content that no row names any more."""
        rows = self.state.rows
        orphans = {row.content_id for key in message_ids if (row := rows.pop(key, None)) and row.content_id}
        if orphans:
            for content_id in orphans.difference(row.content_id for row in rows.values()):
                self.state.contents.pop(content_id, None)

    def _in_slot(self, slot: Slot, storage_ids: set[int]) -> list[tuple[int, _Row]]:
        return [
            (key, row)
            for key, row in self.state.rows.items()
            if slot.start <= key <= slot.end and row.storage_id in storage_ids and _lane_of(key) == slot.lane
        ]


def _lane_of(message_id: int) -> int:
    return message_id >> 10 & 255


def _create_virtual_host(records: _Records, change: VirtualHostCreated) -> list[int]:
    records.vhosts.setdefault(change.name)
    return []


def _delete_virtual_host(records: _Records, change: VirtualHostDeleted) -> list[int]:
    records.vhosts.pop(change.name, None)
    gone = [queue.queue_id for queue in records.queues.values() if queue.vhost == change.name]
    records.exchanges = {key: value for key, value in records.exchanges.items() if value.vhost != change.name}
    records.queues = {key: value for key, value in records.queues.items() if value.vhost != change.name}
    records.bindings = {key: None for key in records.bindings if key.vhost != change.name}
    return gone


def _declare_exchange(records: _Records, change: ExchangeDeclared) -> list[int]:
    records.exchanges.setdefault((change.exchange.vhost, change.exchange.name), change.exchange)
    return []


def _delete_exchange(records: _Records, change: ExchangeDeleted) -> list[int]:
    records.exchanges.pop((change.vhost, change.name), None)

    def is_gone(binding: BindingRecord) -> bool:
        is_destination = binding.destination_kind == "exchange" and binding.destination == change.name
        return binding.vhost == change.vhost and (binding.source == change.name or is_destination)

    records.bindings = {key: None for key in records.bindings if not is_gone(key)}
    return []


def _declare_queue(records: _Records, change: QueueDeclared) -> list[int]:
    records.queues.setdefault((change.queue.vhost, change.queue.name), change.queue)
    return []


def _delete_queue(records: _Records, change: QueueDeleted) -> list[int]:
    records.queues.pop((change.vhost, change.name), None)
    destination = change.vhost, "queue", change.name
    records.bindings = {
        key: None for key in records.bindings if (key.vhost, key.destination_kind, key.destination) != destination
    }
    return [change.queue_id]


def _add_binding(records: _Records, change: BindingAdded) -> list[int]:
    records.bindings.setdefault(change.binding)
    return []


def _remove_binding(records: _Records, change: BindingRemoved) -> list[int]:
    records.bindings.pop(change.binding, None)
    return []


# Each returns the ids of the queues whose messages go with the change.
_RECORD: Final[dict[type[Change], Callable[[_Records, Any], list[int]]]] = {
    VirtualHostCreated: _create_virtual_host,
    VirtualHostDeleted: _delete_virtual_host,
    ExchangeDeclared: _declare_exchange,
    ExchangeDeleted: _delete_exchange,
    QueueDeclared: _declare_queue,
    QueueDeleted: _delete_queue,
    BindingAdded: _add_binding,
    BindingRemoved: _remove_binding,
}
