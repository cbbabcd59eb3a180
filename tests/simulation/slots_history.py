"""What consumers of a simulated cluster have seen, and what they must not see."""

from __future__ import annotations

from broker.ports.cluster_rows import Incarnation
from tests.support.memory_slots import SlotTable, Violation, lane_of


class History:
    """What clients have seen, held against what they were promised (contract A2–A4, R1, O2, C3)."""

    def __init__(self, table: SlotTable) -> None:
        self.confirmed: set[int] = set()
        self.settled: set[int] = set()
        self._table = table
        self._delivered: set[int] = set()
        self._last: dict[tuple[Incarnation, int, int], int] = {}

    def deliver(self, incarnation: Incarnation, queue_id: int, message: int, redelivered: bool) -> None:
        """A consumer on that node gets a message."""
        if message not in self._table.messages:
            raise Violation(f"A4: {incarnation} delivers {message}, which is settled")
        owner = self._table.owner_of(message)
        if owner != incarnation:
            raise Violation(f"C3: {incarnation} delivers {message}, which belongs to {owner}")
        if not redelivered:
            if message in self._delivered:
                raise Violation(f"R1: {incarnation} delivers {message} again and does not say so")
            consumer = (incarnation, queue_id, lane_of(message))
            if message < self._last.get(consumer, 0):
                raise Violation(f"O2: {incarnation} delivers {message} after {self._last[consumer]}")
            self._last[consumer] = message
        self._delivered.add(message)

    def check_end(self) -> None:
        lost = self.confirmed - self.settled
        if lost:
            raise Violation(f"D2: {sorted(lost)} were confirmed, and no consumer has settled them")
