"""The port `SlotStore` in memory: the slots of all nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from broker.message import lane_of
from broker.ports.cluster_rows import Incarnation, SlotRow, row_of
from broker.ports.peer_calls import Fence
from broker.ports.slot import Slot
from broker.store.memory.state import MemoryState
from broker.store.slot_ranges import check_apart, check_lane, new_pieces

_PIECES: Final = 1000


class MemorySlotStore:
    """Slots in the rows that `opened` returns; it raises when the store is closed."""

    def __init__(self, opened: Callable[[], MemoryState]) -> None:
        self._opened = opened

    async def slots(self) -> list[SlotRow]:
        return sorted(self._opened().slots.values(), key=lambda row: (row.queue_id, row.lane, row.start))

    async def owned(self, incarnation: Incarnation) -> list[SlotRow]:
        rows = self._opened().slots
        return [rows[start] for start in sorted(rows) if rows[start].owner == incarnation]

    async def fence(self) -> Fence:
        return Fence(*self._opened().cluster.fence)

    async def assign(self, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> list[SlotRow]:
        state = self._opened()
        state.pass_fence(fence)
        if not state.is_alive(incarnation):
            return []
        given = []
        for start, end in sorted({row.start: row.end for row in rows}.items()):
            row = state.slots.get(start)
            if row is not None and row.end == end and row.owner in (None, incarnation):
                state.slots[start] = replace(row, owner=incarnation)
                given.append(state.slots[start])
        return given

    async def cut(
        self, removed: Sequence[int], kept: Sequence[Slot], given: Sequence[Slot], incarnation: Incarnation
    ) -> list[SlotRow]:
        state = self._opened()
        lane = state.check_incarnation(incarnation).lane
        pieces = (*kept, *given)
        check_apart(pieces)
        taken = [
            row for start in set(removed) if (row := state.slots.get(start)) is not None and row.owner == incarnation
        ]
        if not removed:
            check_lane(pieces, lane, incarnation)
        for row in taken:
            del state.slots[row.start]
        there = list(state.slots.values())
        freed = {slot.start for slot in given}
        for slot in new_pieces(pieces, taken, lane, there):
            state.add_slot(row_of(slot, None if slot.start in freed else incarnation))
        ends = {slot.start: slot.end for slot in given}
        found = [row for start in sorted(ends) if (row := state.slots.get(start)) is not None]
        return [row for row in found if row.owner is None and row.end == ends[row.start]]

    async def finish(self, starts: Sequence[int], incarnation: Incarnation) -> list[int]:
        state = self._opened()
        state.check_incarnation(incarnation)
        finished = []
        for start in starts:
            row = state.slots.get(start)
            if row is None or (row.owner == incarnation and not state.in_slot(row)):
                state.slots.pop(start, None)
                finished.append(start)
        return finished

    async def purge(self, queue_id: int) -> int:
        state = self._opened()
        free = [row for row in state.slots.values() if row.queue_id == queue_id and row.owner is None]
        for row in free:
            del state.slots[row.start]
        return sum(state.delete([key for key, _ in state.in_slot(row)]) for row in free)

    async def stored(self, queue_id: int) -> int:
        return sum(abs(row.storage_id) == queue_id for row in self._opened().rows.values())

    async def window(self, lane: int, size: int) -> list[Slot]:
        return _window(self._opened(), lane, size)

    async def reclaim(self, fence: Fence, size: int) -> int:
        state = self._opened()
        state.pass_fence(fence)
        freed = [row for row in state.slots.values() if row.owner is not None and not state.is_alive(row.owner)]
        for row in freed:
            state.slots[row.start] = replace(row, owner=None, maybe_delivered=True)
        unreturned = {row.owner.node_id for row in freed if row.owner is not None}
        count = len(freed)
        for node_id, lane in state.cluster.lanes.items():
            if lane.incarnation or lane.state == "recovered":
                continue
            for piece in _window(state, lane.lane, size):
                piece.maybe_delivered = lane.state != "stopped" or node_id in unreturned
                state.slots[piece.start] = row_of(piece, None)
                count += 1
            lane.state = "recovered"
        return count


def _window(state: MemoryState, lane: int, size: int) -> list[Slot]:
    by_queue: dict[int, list[int]] = {}
    for key in sorted(key for key in state.rows if lane_of(key) == lane):
        by_queue.setdefault(abs(state.rows[key].storage_id), []).append(key)
    return [
        piece for queue_id in sorted(by_queue) for piece in _pieces(state, queue_id, lane, by_queue[queue_id], size)
    ]


def _pieces(state: MemoryState, queue_id: int, lane: int, ids: list[int], size: int) -> list[Slot]:
    """Cut those of these messages that are in no slot into pieces of `size`; no piece overlaps a slot."""
    size = max(size, -(-len(ids) // _PIECES))
    rows = [row for row in state.slots.values() if (row.queue_id, row.lane) == (queue_id, lane)]
    uncovered = [key for key in ids if not any(row.start <= key <= row.end for row in rows)]
    pieces: dict[tuple[int, int], Slot] = {}
    for number, key in enumerate(uncovered):
        place = sum(row.start < key for row in rows), number // size
        piece = pieces.setdefault(place, Slot(queue_id, lane, key, key, 0))
        piece.end, piece.count = key, piece.count + 1
        piece.transient |= state.rows[key].storage_id < 0
    return list(pieces.values())
