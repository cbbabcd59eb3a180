"""The table of slots in memory: each call of `SlotTable` is one transaction, and what must never commit it refuses.

Knows the rules of `SlotStore`, incarnations and messages by id. A test breaks a rule by its name in `bugs`: the audit,
which knows no bugs, then says what has come of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from broker.errors import Evicted, Fenced, StoreUnavailable
from broker.message import lane_of
from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.peer_calls import Fence
from broker.ports.slot import Slot


class Violation(AssertionError):
    """An invariant is broken."""


@dataclass(slots=True)
class NodeState:
    """The row of a node that writes messages; without an `incarnation` nobody lives there."""

    lane: int
    incarnation: str = ""
    state: str = ""
    batch: int = 0


@dataclass(slots=True)
class SlotTable:
    """Rows of slots, messages (queue by id) and nodes."""

    bugs: Collection[str] = ()
    power: Fence = field(default_factory=Fence)
    rows: dict[int, SlotRow] = field(default_factory=dict)
    messages: dict[int, int] = field(default_factory=dict)
    nodes: dict[str, NodeState] = field(default_factory=dict)

    # Who counts

    def claim(self, fence: Fence) -> None:
        """Somebody is the coordinator from now on."""
        self.power = fence

    def join(self, incarnation: Incarnation) -> int:
        """An incarnation begins, and the one that this node had before is over; return its lane."""
        node = self.nodes.setdefault(incarnation.node_id, NodeState(len(self.nodes) + 1))
        node.incarnation, node.state, node.batch = incarnation.id, "running", 0
        return node.lane

    def end(self, incarnation: Incarnation, *, in_order: bool = False) -> None:
        """An incarnation is evicted, or leaves."""
        node = self.nodes[incarnation.node_id]
        if node.incarnation == incarnation.id:
            node.incarnation, node.state = "", "stopped" if in_order else "dead"

    def is_living(self, incarnation: Incarnation) -> bool:
        node = self.nodes.get(incarnation.node_id)
        return node is not None and node.incarnation == incarnation.id

    def owner_of(self, message_id: int) -> Incarnation | None:
        """Return whose a message is: its slot's owner's, or its lane's."""
        for row in self.rows.values():
            is_of_lane = row.lane == lane_of(message_id) and row.queue_id == self.messages.get(message_id)
            if is_of_lane and row.start <= message_id <= row.end:
                return row.owner
        for node_id, node in self.nodes.items():
            if node.lane == lane_of(message_id) and node.incarnation:
                return Incarnation(node_id, node.incarnation)
        return None

    # Messages

    def write(self, incarnation: Incarnation, batch: int, inserts: dict[int, int], deletes: Iterable[int]) -> None:
        """Write what a node's journal has; once per number of a batch."""
        self._check_incarnation(incarnation)
        node = self.nodes[incarnation.node_id]
        if batch <= node.batch:
            return
        node.batch = batch
        self.messages.update(inserts)
        for message_id in deletes:
            self.messages.pop(message_id, None)

    def read(self, slot: Slot | SlotRow, limit: int) -> list[int]:
        """Return the first messages of a slot."""
        return list(self._in_range(slot.queue_id, slot.lane, slot.start, slot.end))[:limit]

    # The port

    def slots(self) -> list[SlotRow]:
        return sorted(self.rows.values(), key=lambda row: (row.queue_id, row.lane, row.start))

    def owned(self, incarnation: Incarnation) -> list[SlotRow]:
        return [row for row in self.slots() if row.owner == incarnation]

    def assign(self, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> list[SlotRow]:
        self._check_power(fence, "assign without fence")
        if not self.is_living(incarnation) and "assign to anybody" not in self.bugs:
            return []
        owned = []
        for row in rows:
            present = self.rows.get(row.start)
            if present is None or present.end != row.end:
                continue
            if present.owner in (None, incarnation) or "assign without CAS" in self.bugs:
                self.rows[row.start] = replace(present, owner=incarnation)
                owned.append(self.rows[row.start])
        if owned:
            self._audit(incarnation)
        return owned

    def cut(
        self, removed: Sequence[int], kept: Sequence[Slot], given: Sequence[Slot], incarnation: Incarnation
    ) -> list[SlotRow]:
        self._check_incarnation(incarnation)
        if not self._was_cut(removed, kept, given, incarnation):
            for start in removed:
                del self.rows[start]
            for slot in (*kept, *given):
                if not self._overlaps(slot):
                    self.rows[slot.start] = row_of(slot, incarnation if slot in kept else None)
        self._audit(incarnation)
        rows = (self.rows.get(slot.start) for slot in given)
        return [row for row in rows if row is not None and row.owner is None]

    def finish(self, starts: Sequence[int], incarnation: Incarnation) -> list[int]:
        self._check_incarnation(incarnation)
        rows = [row for start in starts if (row := self.rows.get(start)) is not None and row.owner == incarnation]
        gone = [row.start for row in rows if not self.read(row, 1) or "finish too early" in self.bugs]
        for start in gone:
            del self.rows[start]
        return gone

    def purge(self, queue_id: int) -> int:
        count = 0
        for row in [row for row in self.slots() if row.queue_id == queue_id and row.owner is None]:
            for message_id in self.read(row, len(self.messages)):
                del self.messages[message_id]
                count += 1
            del self.rows[row.start]
        return count

    def window(self, lane: int, size: int) -> list[Slot]:
        slots: list[Slot] = []
        for queue_id in sorted(set(self.messages.values())):
            bounds = sorted((row.start, row.end) for row in self.rows.values() if row.lane == lane)
            for message_id in self._in_range(queue_id, lane, 0, 1 << 63):
                if any(start <= message_id <= end for start, end in bounds if self.rows[start].queue_id == queue_id):
                    continue
                last = slots[-1] if slots and slots[-1].queue_id == queue_id else None
                between = last and any(last.end < start < message_id for start, _ in bounds)
                if last is None or last.count >= size or between:
                    slots.append(Slot(queue_id, lane, message_id, message_id, 1, transient=True, row=message_id))
                else:
                    last.end, last.count = message_id, last.count + 1
        return slots

    def reclaim(self, fence: Fence, size: int) -> int:
        self._check_power(fence, "reclaim without fence")
        count = 0
        for row in self.slots():
            if row.owner is not None and (not self.is_living(row.owner) or "reclaim from all" in self.bugs):
                self.rows[row.start] = replace(row, owner=None, maybe_delivered="reclaim unflagged" not in self.bugs)
                count += 1
        for node in self.nodes.values():
            if not node.incarnation and node.state != "recovered":
                for slot in self.window(node.lane, size):
                    slot.maybe_delivered = node.state != "stopped" and "reclaim unflagged" not in self.bugs
                    self.rows[slot.start] = row_of(slot, None)
                    count += 1
                node.state = "recovered"
        self._audit(None)
        return count

    # Rules

    def _check_incarnation(self, incarnation: Incarnation) -> None:
        if self.is_living(incarnation):
            return
        if "no check of incarnations" in self.bugs:
            raise Violation(f"C4: {incarnation} has committed after it was over")
        raise Evicted(f"this incarnation of node '{incarnation.node_id}' is over")

    def _check_power(self, fence: Fence, bug: str) -> None:
        if fence == self.power:
            return
        if bug in self.bugs:
            raise Violation(f"C1: epoch {fence.epoch} has committed after {self.power.epoch} had begun")
        raise Fenced(f"epoch {fence.epoch} is over")

    def _was_cut(
        self, removed: Sequence[int], kept: Sequence[Slot], given: Sequence[Slot], incarnation: Incarnation
    ) -> bool:
        """Was this done before? Then rows are not this incarnation's any more, or are shorter than their pieces.

        Pieces of its own lane need not come from a row.
        """
        rows = [self.rows.get(start) for start in removed]
        if any(row is None or row.owner != incarnation for row in rows):
            return True
        ranges = [(row.start, row.end) for row in rows if row is not None]
        own_lane = self.nodes[incarnation.node_id].lane
        pieces = [piece for piece in (*kept, *given) if piece.lane != own_lane]
        return not all(any(low <= piece.start and piece.end <= high for low, high in ranges) for piece in pieces)

    def _overlaps(self, slot: Slot) -> bool:
        same = (row for row in self.rows.values() if (row.queue_id, row.lane) == (slot.queue_id, slot.lane))
        return any(row.start <= slot.end and slot.start <= row.end for row in same)

    def _in_range(self, queue_id: int, lane: int, start: int, end: int) -> Iterator[int]:
        return iter(
            sorted(
                message_id
                for message_id, its_queue in self.messages.items()
                if its_queue == queue_id and start <= message_id <= end and lane_of(message_id) == lane
            )
        )

    def _audit(self, incarnation: Incarnation | None) -> None:
        """What holds whatever was done: slots do not overlap (C2), and nobody is given slots after its incarnation
        (C4).
        """
        if incarnation is not None and not self.is_living(incarnation):
            raise Violation(f"C4: {incarnation} owns slots after it was over")
        last: SlotRow | None = None
        for row in self.slots():
            if last is not None and (last.queue_id, last.lane) == (row.queue_id, row.lane) and last.end >= row.start:
                raise Violation(f"C2: {last} and {row} overlap")
            last = row


class MemorySlots:
    """The port over a table; `fail` and `hold` say how its calls end."""

    def __init__(self, table: SlotTable | None = None) -> None:
        self.table = table or SlotTable()
        self.calls: list[str] = []
        self.failures: list[tuple[str, bool]] = []

    def fail(self, operation: str, times: int = 1, *, after: bool = False) -> None:
        """Let the next calls fail: before anything was done, or `after` it was done."""
        self.failures += [(operation, after)] * times

    async def slots(self) -> Sequence[SlotRow]:
        rows: Sequence[SlotRow] = self._do("slots")
        return rows

    async def owned(self, incarnation: Incarnation) -> Sequence[SlotRow]:
        rows: Sequence[SlotRow] = self._do("owned", incarnation)
        return rows

    async def fence(self) -> Fence:
        return self.table.power

    async def assign(self, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> Sequence[SlotRow]:
        owned: Sequence[SlotRow] = self._do("assign", rows, incarnation, fence)
        return owned

    async def cut(
        self, removed: Sequence[int], kept: Sequence[Slot], given: Sequence[Slot], incarnation: Incarnation
    ) -> Sequence[SlotRow]:
        rows: Sequence[SlotRow] = self._do("cut", removed, kept, given, incarnation)
        return rows

    async def finish(self, starts: Sequence[int], incarnation: Incarnation) -> Sequence[int]:
        gone: Sequence[int] = self._do("finish", starts, incarnation)
        return gone

    async def purge(self, queue_id: int) -> int:
        count: int = self._do("purge", queue_id)
        return count

    async def window(self, lane: int, size: int) -> Sequence[Slot]:
        slots: Sequence[Slot] = self._do("window", lane, size)
        return slots

    async def reclaim(self, fence: Fence, size: int) -> int:
        count: int = self._do("reclaim", fence, size)
        return count

    def _do(self, operation: str, *arguments: object) -> Any:
        self.calls.append(operation)
        failure = next((failure for failure in self.failures if failure[0] == operation), None)
        if failure is None:
            return getattr(self.table, operation)(*arguments)
        self.failures.remove(failure)
        if failure[1]:
            getattr(self.table, operation)(*arguments)
        raise StoreUnavailable("the store is away")


def row_of(slot: Slot, owner: Incarnation | None) -> SlotRow:
    return SlotRow(
        slot.queue_id,
        slot.lane,
        slot.start,
        slot.end,
        slot.count,
        slot.maybe_delivered,
        slot.transient,
        owner,
    )
