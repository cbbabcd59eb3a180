"""The contents of a store in memory: the rows that the tables of a database would have."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from broker.errors import Evicted, Fenced, StoreError
from broker.message import lane_of
from broker.ports.branches import BranchKey, PreparedBranch
from broker.ports.cluster_rows import Cursor, EventRow, Incarnation, NodeState, SlotRow
from broker.ports.levels import queue_id_of
from broker.ports.peer_calls import Fence
from broker.ports.slot import ALL_LANES, Slot
from broker.ports.store import DueKey, KeyPlace
from broker.ports.streams import ReaderPlace
from broker.store.claiming import KeyRow
from broker.store.memory.cluster import ClusterRows, LaneRow
from broker.store.memory.topology import Records

QUEUE_IDS_PER_REGISTRATION: Final = 1000


@dataclass(slots=True)
class Row:
    """The row of a message; `storage_id` is the id of its queue, negative for a transient message.

    `due` is when it expires, in milliseconds since 1970; 0 without an expiration.
    """

    storage_id: int
    content_id: int
    redelivered: int
    metadata: bytes
    payload: bytes
    due: int = 0
    group: int | None = None
    """Its entry in the index of message groups; None without one."""


@dataclass(slots=True)
class SegmentRow:
    """A segment of a stream; `position` counts the octets of all before it since the stream was made."""

    first: int
    count: int
    last_ms: int
    position: int
    content: bytes


@dataclass(slots=True)
class Event:
    """An event, and the token by which its author recognises it."""

    row: EventRow
    token: str


@dataclass(slots=True)
class MemoryState:
    """What remains when a store is closed. `holder` is the only store that has it open, or `sharers` share it."""

    rows: dict[int, Row] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    branches: dict[BranchKey, PreparedBranch] = field(default_factory=dict)
    keys: dict[KeyPlace, KeyRow] = field(default_factory=dict)
    streams: dict[int, list[SegmentRow]] = field(default_factory=dict)
    reader_places: dict[ReaderPlace, int] = field(default_factory=dict)
    records: Records = field(default_factory=Records)
    high_water: int = 0
    next_queue_id: int = 1
    cluster: ClusterRows = field(default_factory=ClusterRows)
    slots: dict[int, SlotRow] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    last_event: int = 0
    cursors: dict[str, Cursor] = field(default_factory=dict)
    holder: Any = None
    sharers: set[Any] = field(default_factory=set)

    def reserve_queue_ids(self, count: int) -> tuple[int, int]:
        """Return the first and last of `count` queue ids that were never handed out."""
        first = self.next_queue_id
        self.next_queue_id += count
        return first, first + count - 1

    def last_message_id(self) -> int:
        """Return an upper bound of the message ids of all lanes."""
        ends = (row.end for row in self.slots.values())
        return max(self.high_water, max(self.rows, default=0), max(ends, default=0))

    def delete(self, message_ids: Iterable[int]) -> int:
        """Delete messages, and the bodies that no other uses; return how many messages there were."""
        gone = [row for key in message_ids if (row := self.rows.pop(key, None)) is not None]
        orphans = {row.content_id for row in gone if row.content_id}
        if orphans:
            for content_id in orphans.difference(row.content_id for row in self.rows.values()):
                self.contents.pop(content_id, None)
        return len(gone)

    def add_slot(self, row: SlotRow) -> None:
        """Add a slot. Raises `StoreError` where another one begins: the start alone names a slot."""
        if row.start in self.slots:
            raise StoreError(f"two slots begin at {row.start}: {self.slots[row.start]} and {row}")
        self.slots[row.start] = row

    def in_slot(self, slot: Slot | SlotRow, *, transient: bool = True) -> list[tuple[int, Row]]:
        """Return the messages of a slot in no order; without `transient` those under the queue's own id only."""
        storage_ids = {slot.queue_id, -slot.queue_id} if transient else {slot.queue_id}
        return [
            (key, row)
            for key, row in self.rows.items()
            if slot.start <= key <= slot.end
            and row.storage_id in storage_ids
            and slot.lane in (ALL_LANES, lane_of(key))
        ]

    def due_keys(self, queue_id: int, until_ms: int, after: DueKey) -> list[DueKey]:
        """Return the places of a queue's messages that expire up to `until_ms`, behind `after`, in no order."""
        keys = [(row.due, key) for key, row in self.rows.items() if row.due and abs(row.storage_id) == queue_id]
        return [key for key in keys if key > after and key[0] <= until_ms]

    def delete_queues(self, queue_ids: Collection[int]) -> None:
        """Delete the slots and messages of these queues."""
        self.slots = {start: row for start, row in self.slots.items() if queue_id_of(row.queue_id) not in queue_ids}
        self.delete([key for key, row in self.rows.items() if queue_id_of(abs(row.storage_id)) in queue_ids])
        self.forget_scopes(queue_ids)
        self.streams = {key: rows for key, rows in self.streams.items() if key not in queue_ids}
        self.reader_places = {key: row for key, row in self.reader_places.items() if key[0] not in queue_ids}

    def forget_scopes(self, scopes: Collection[int]) -> None:
        """Forget all keys of queues or exchanges that are gone."""
        if scopes:
            self.keys = {place: row for place, row in self.keys.items() if row.scope not in scopes}

    def delete_mortal(self) -> None:
        """Delete what must not survive a restart: parts of the topology, and transient messages."""
        self.delete_queues(self.records.delete_mortal())
        self.delete([key for key, row in self.rows.items() if row.storage_id < 0])

    # Who may write

    def is_alive(self, incarnation: Incarnation) -> bool:
        """Return whether this incarnation may write."""
        lane = self.cluster.lanes.get(incarnation.node_id)
        return lane is not None and bool(lane.incarnation) and lane.incarnation == incarnation.id

    def check_incarnation(self, incarnation: Incarnation) -> LaneRow:
        """Return the lane of `incarnation`. Raises `Evicted` when it is over."""
        if not self.is_alive(incarnation):
            raise Evicted(f"the incarnation {incarnation.id} of node {incarnation.node_id!r} is over")
        return self.cluster.lanes[incarnation.node_id]

    def incarnations_up(self) -> set[Incarnation]:
        """Return the incarnations that last."""
        rows = self.cluster.nodes.values()
        return {Incarnation(row.node_id, row.incarnation) for row in rows if row.state is NodeState.UP}

    def pass_fence(self, fence: Fence) -> None:
        """Raise `Fenced` when there is a newer coordinator."""
        if self.cluster.fence != (fence.epoch, fence.term):
            raise Fenced(f"epoch {fence.epoch} is over: there is a newer coordinator")
