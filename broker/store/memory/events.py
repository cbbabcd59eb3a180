"""The port `EventStore` in memory: changes of topology as numbered events."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from broker.ports.cluster_rows import Cursor, EventPage, EventRow, Incarnation
from broker.ports.records import Change, Topology
from broker.store.memory.state import Event, MemoryState


class MemoryEventStore:
    """Events in the rows that `opened` returns; it raises when the store is closed."""

    def __init__(self, opened: Callable[[], MemoryState]) -> None:
        self._opened = opened

    async def record(
        self, changes: Sequence[Change], payload: bytes, *, expected: int, token: str, incarnation: Incarnation
    ) -> bool:
        state = self._opened()
        state.check_incarnation(incarnation)
        if state.last_event != expected:
            return any(event.row.event_id == expected + 1 and event.token == token for event in state.events)
        records = state.records.copy()
        gone = {queue_id for change in changes for queue_id in records.record(change)}
        state.records = records
        state.delete_queues(gone)
        state.last_event += 1
        state.events.append(Event(EventRow(state.last_event, incarnation, payload), token))
        return True

    async def events(self, after: int, limit: int) -> EventPage:
        state = self._opened()
        rows = [event.row for event in state.events]
        oldest = rows[0].event_id if rows else state.last_event + 1 if state.last_event else 0
        return EventPage(state.last_event, oldest, [row for row in rows if row.event_id > after][:limit])

    async def load(self) -> tuple[Topology, int]:
        state = self._opened()
        return state.records.topology(), state.last_event

    async def note_cursor(self, incarnation: Incarnation, event_id: int, topology_hash: str) -> None:
        state = self._opened()
        if state.is_alive(incarnation):
            state.cursors[incarnation.node_id] = Cursor(incarnation, event_id, topology_hash)

    async def cursors(self) -> list[Cursor]:
        state = self._opened()
        return [
            state.cursors[name] for name in sorted(state.cursors) if state.is_alive(state.cursors[name].incarnation)
        ]

    async def prune(self, keep: int) -> int:
        state = self._opened()
        kept = [event for event in state.events if event.row.event_id > state.last_event - keep]
        count, state.events = len(state.events) - len(kept), kept
        return count
