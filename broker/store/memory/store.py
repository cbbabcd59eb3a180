"""A whole store in memory: every store port over one `MemoryState`.

The state remains when the store is closed. Opening another store over it is a restart; without a `resign` before, it is
a restart after a crash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import nlargest, nsmallest

from broker.clock import SystemClock
from broker.codec.expiration import LATEST
from broker.errors import BranchConflict, StoreError, StoreLocked
from broker.message import STORED, TRANSIENT, Message, StorageQueue, lane_of
from broker.ports.branches import BranchKey, PreparedBranch, Xid
from broker.ports.cluster_rows import Incarnation, row_of
from broker.ports.finding import MOST_FOUND, FoundPage, FoundRow
from broker.ports.groups import GroupHead, GroupPage
from broker.ports.records import Change, Drop, Topology, VirtualHostRecord
from broker.ports.slot import Slot
from broker.ports.store import Batch, DueKey, KeyPlace, KeySweep, Registration, StoreLook
from broker.ports.streams import ReaderPlace, StreamBounds, StreamPage, TrimRule
from broker.store.memory import streams
from broker.store.memory.cluster import MemoryClusterStore
from broker.store.memory.events import MemoryEventStore
from broker.store.memory.keys import claim_keys, sweep_keys, trim_keys
from broker.store.memory.members import MemoryMemberStore
from broker.store.memory.slots import MemorySlotStore
from broker.store.memory.state import QUEUE_IDS_PER_REGISTRATION, Row
from broker.store.memory.state import MemoryState as MemoryState
from broker.store.rows import (
    add_to_backlog,
    count_as_slot_says,
    ids_by_deliveries,
    message_of,
    metadata_of,
    name_large_content,
)


class MemoryStore:
    """A store over `state`, or over a new one. Several stores may have a state open if each of them `is_shared`."""

    connects = 0
    """There is no server."""

    def __init__(self, state: MemoryState | None = None, *, is_shared: bool = False) -> None:
        self.state = MemoryState() if state is None else state
        self.cluster = MemoryClusterStore(lambda: self._opened().cluster)
        self.slots = MemorySlotStore(self._opened)
        self.events = MemoryEventStore(self._opened)
        self.members = MemoryMemberStore(self._opened, self._on_joined)
        self._is_shared = is_shared
        self._node_id = ""
        self._incarnation: Incarnation | None = None

    def describe(self) -> str:
        return "memory, nothing survives this process"

    async def open(self) -> None:
        if self.state.holder not in (None, self) or (self.state.sharers and not self._is_shared):
            raise StoreLocked("the store in memory is in use by another store of this process")
        if self._is_shared:
            self.state.sharers.add(self)
        else:
            self.state.holder = self

    async def look(self) -> StoreLook:
        return StoreLook(True, (), await self.check_safety())

    async def close(self) -> None:
        self.state.sharers.discard(self)
        if self.state.holder is self:
            self.state.holder = None

    async def probe(self) -> float:
        self._opened()
        return 0.0

    async def time_ms(self) -> int:
        return SystemClock().wall_ms()

    async def check_safety(self) -> list[str]:
        return ["the datasource is memory: everything ends with the process"]

    async def distrust(self) -> None:
        """Nothing to do: no setting of memory changes."""

    async def write(self, batch: Batch) -> None:
        state = self._opened()
        if self._incarnation is not None:
            state.check_incarnation(self._incarnation)
        name_large_content(batch.inserts)
        ids = [message.id for message in batch.inserts]
        if len(set(ids)) < len(ids) or not state.rows.keys().isdisjoint(ids):
            raise StoreError("a message with this id is stored already")
        self._change_branches(batch)
        claim_keys(state, batch)
        for message in batch.inserts:
            if message.id not in batch.duplicates:
                self._insert(message)
        streams.append_segments(state, batch)
        for grouped in batch.grouped:
            if grouped.message_id in state.rows:
                state.rows[grouped.message_id].group = grouped.group
        self._recount(batch.recounts)
        doomed = [message.id for message in batch.deletes]
        for slot in batch.purges:
            doomed += [message_id for message_id, _ in state.in_slot(slot)]
        state.delete(doomed)
        for slot in batch.slots:
            state.add_slot(row_of(slot))
        state.high_water = max(state.high_water, batch.high_water)

    async def read(self, queue: StorageQueue, slot: Slot, limit: int, limit_bytes: int) -> list[Message]:
        state = self._opened()
        found = state.in_slot(slot, transient=slot.transient)
        ids = nsmallest(max(limit, 1), [message_id for message_id, _ in found])
        messages = self._read(queue, ids, limit_bytes)
        count_as_slot_says(slot, messages)
        return messages

    async def earliest_due(self) -> dict[int, int]:
        earliest: dict[int, int] = {}
        for row in self._opened().rows.values():
            if row.due:
                queue_id = abs(row.storage_id)
                earliest[queue_id] = min(row.due, earliest.get(queue_id, row.due))
        return earliest

    async def read_due(
        self, queue: StorageQueue, until_ms: int, after: DueKey, limit: int, limit_bytes: int
    ) -> list[Message]:
        keys = nsmallest(max(limit, 1), self._opened().due_keys(queue.queue_id, until_ms, after))
        return self._read(queue, [message_id for _, message_id in keys], limit_bytes)

    async def next_due(self, queue: StorageQueue, after: DueKey) -> int | None:
        keys = self._opened().due_keys(queue.queue_id, LATEST, after)
        return min(keys)[0] if keys else None

    async def read_groups(self, queue_id: int, after: int, limit: int, depth: int) -> GroupPage:
        groups: dict[int, list[int]] = {}
        for message_id, row in self._opened().rows.items():
            if row.group is not None and row.group > after and abs(row.storage_id) == queue_id:
                groups.setdefault(row.group, []).append(message_id)
        heads: list[GroupHead] = []
        for group in sorted(groups):
            if sum(len(head.message_ids) for head in heads) >= limit:
                return GroupPage(heads, heads[-1].group)
            heads.append(GroupHead(group, sorted(groups[group])[:depth]))
        return GroupPage(heads, None)

    async def read_listed(self, queue: StorageQueue, message_ids: Sequence[int], limit_bytes: int) -> list[Message]:
        rows = self._opened().rows
        ids = [each for each in message_ids if each in rows and abs(rows[each].storage_id) == queue.queue_id]
        return self._read(queue, ids, limit_bytes)

    async def find_messages(self, wanted: bytes, before: int, limit: int) -> FoundPage:
        state = self._opened()
        ids = nlargest(max(limit, 1), (each for each in state.rows if each < before))
        rows: list[FoundRow] = []
        for seen, message_id in enumerate(ids, 1):
            row = state.rows[message_id]
            if wanted in row.metadata:
                rows.append(
                    FoundRow(message_id, abs(row.storage_id), row.redelivered, row.metadata, row.storage_id < 0)
                )
                if len(rows) == MOST_FOUND:
                    return FoundPage(rows, seen, message_id)
        return FoundPage(rows, len(ids), ids[-1] if len(ids) >= limit else None)

    async def backlog(self) -> list[Slot]:
        slots: dict[tuple[int, int], Slot] = {}
        for message_id, row in self._opened().rows.items():
            add_to_backlog(slots, row.storage_id, lane_of(message_id), message_id, message_id, 1)
        return list(slots.values())

    async def mark_redelivered(self, messages: Sequence[Message]) -> None:
        self._recount(messages)

    async def sweep_keys(self, after: KeyPlace, now_ms: int, limit: int) -> KeySweep:
        return sweep_keys(self._opened(), after, now_ms, limit)

    async def trim_keys(self, scope: int, keep: int, limit: int) -> int:
        return trim_keys(self._opened(), scope, keep, limit)

    async def stream_bounds(self, queue_ids: Sequence[int]) -> dict[int, StreamBounds]:
        return streams.stream_bounds(self._opened(), queue_ids)

    async def read_stream(self, queue_id: int, offset: int, limit_octets: int) -> StreamPage:
        return streams.read_stream(self._opened(), queue_id, offset, limit_octets)

    async def find_in_stream(self, queue_id: int, time_ms: int) -> int | None:
        return streams.find_in_stream(self._opened(), queue_id, time_ms)

    async def trim_stream(self, queue_id: int, retention: TrimRule, limit: int) -> int:
        return streams.trim_stream(self._opened(), queue_id, retention, limit)

    async def keep_places(self, places: Mapping[ReaderPlace, int]) -> None:
        streams.keep_places(self._opened(), places)

    async def place_in_stream(self, place: ReaderPlace) -> int | None:
        return self._opened().reader_places.get(place)

    async def places_in_stream(self, queue_id: int) -> dict[str, int]:
        return streams.places_in_stream(self._opened(), queue_id)

    async def forget_place(self, place: ReaderPlace) -> bool:
        return self._opened().reader_places.pop(place, None) is not None

    async def prepared_xids(self, vhost: str, limit: int) -> list[Xid]:
        keys = sorted((key for key in self._opened().branches if key.vhost == vhost), key=lambda key: key.digest)
        return [key.xid for key in keys[:limit]]

    async def read_branch(self, key: BranchKey) -> PreparedBranch | None:
        return self._opened().branches.get(key)

    async def load(self) -> Topology:
        return self._opened().records.topology()

    async def record(self, changes: Sequence[Change]) -> None:
        state = self._opened()
        records = state.records.copy()
        gone = {queue_id for change in changes for queue_id in records.record(change)}
        state.records = records
        state.delete_queues(gone)
        vhosts = {change.key for change in changes if isinstance(change, Drop)}
        state.branches = {
            key: branch for key, branch in state.branches.items() if VirtualHostRecord(key.vhost) not in vhosts
        }

    async def reserve_queue_ids(self, count: int) -> tuple[int, int]:
        return self._opened().reserve_queue_ids(count)

    async def register(self, node_id: str) -> Registration:
        state = self._opened()
        lanes = state.cluster.lanes
        clean = not any(row.state in ("running", "dead") for row in lanes.values()) and not any(
            row.owner is not None or row.maybe_delivered for row in state.slots.values()
        )
        last_message_id = state.last_message_id()
        state.slots = {}
        state.delete_mortal()
        for row in lanes.values():
            row.state, row.incarnation = "stopped", ""
        lane = state.cluster.lane_for(node_id)
        lane.state = "running"
        self._node_id, self._incarnation = node_id, None
        first, last = state.reserve_queue_ids(QUEUE_IDS_PER_REGISTRATION)
        return Registration(lane.lane, last_message_id, first, last, clean)

    async def resign(self) -> None:
        state = self._opened()
        if self._node_id in state.cluster.lanes:
            state.cluster.lanes[self._node_id].state = "stopped"

    def _on_joined(self, incarnation: Incarnation) -> None:
        self._node_id, self._incarnation = incarnation.node_id, incarnation

    def _opened(self) -> MemoryState:
        if self.state.holder is not self and self not in self.state.sharers:
            raise StoreError("the store in memory is not open")
        return self.state

    def _read(self, queue: StorageQueue, ids: Sequence[int], limit_bytes: int) -> list[Message]:
        """Return the first of these messages, up to the one that reaches `limit_bytes`."""
        state = self._opened()
        messages: list[Message] = []
        octets = 0
        for message_id in ids:
            if messages and octets >= limit_bytes:
                break
            row = state.rows[message_id]
            payload = state.contents.get(row.content_id, b"") if row.content_id else row.payload
            message = message_of(message_id, queue, row.metadata, payload, TRANSIENT if row.storage_id < 0 else STORED)
            message.content_id = row.content_id
            message.redelivered = row.redelivered
            messages.append(message)
            octets += len(row.metadata) + len(payload)
        return messages

    def _change_branches(self, batch: Batch) -> None:
        branches = dict(self.state.branches)
        for branch in batch.prepared:
            if branches.setdefault(branch.key, branch) is not branch:
                raise BranchConflict(branch.key.digest)
        for key in batch.resolved:
            if branches.pop(key, None) is None:
                raise BranchConflict(key.digest)
        self.state.branches = branches

    def _recount(self, messages: Sequence[Message]) -> None:
        rows = self._opened().rows
        for deliveries, ids in ids_by_deliveries(messages).items():
            for message_id in ids:
                if message_id in rows:
                    rows[message_id].redelivered = deliveries

    def _insert(self, message: Message) -> None:
        queue_id = message.queue.queue_id
        storage_id = -queue_id if message.state == TRANSIENT else queue_id
        inline = b"" if message.content_id else message.payload
        row = Row(storage_id, message.content_id, message.redelivered, metadata_of(message), inline, message.due)
        self.state.rows[message.id] = row
        if message.content_id:
            self.state.contents.setdefault(message.content_id, message.payload)
