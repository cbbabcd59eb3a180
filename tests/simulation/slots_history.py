"""What clients of a simulated cluster have seen, and what they must not see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from broker.message import lane_of
from broker.ports.cluster_rows import Incarnation
from tests.support.memory_slots import MemoryCluster


class Violation(AssertionError):
    """An invariant is broken."""


class History:
    """What clients have seen, held against what they were promised (invariants I2, I13, I14, I21, I32, I53)."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self.confirmed: set[int] = set()
        self.settled: set[int] = set()
        self.stored: set[int] = set()
        """The messages of which the store has had a row."""
        self.max_length: int | None = None
        """How much the queues may have."""
        self.dropped = 0
        self._cluster = cluster
        self._delivered: set[int] = set()
        self._last: dict[tuple[Incarnation, int, int, int], int] = {}

    def publish(self, message: int) -> None:
        """A message is new. Its id may have been given before, if the store has never heard of it."""
        if message in self.stored:
            raise Violation(f"I13: {message} is the id of another message")
        for ids in (self.confirmed, self.settled, self._delivered):
            ids.discard(message)

    def deliver(
        self, incarnation: Incarnation, queue_id: int, message: int, *, redelivered: bool, group: int = 0
    ) -> None:
        """A consumer on that node gets a message, which is in order with others of its group."""
        if message in self.stored and message not in self._cluster.state.rows:
            raise Violation(f"I14: {incarnation} delivers {message}, which is settled")
        owner = self._cluster.owner_of(queue_id, message)
        if owner != incarnation:
            raise Violation(f"I53: {incarnation} delivers {message}, which belongs to {owner}")
        if not redelivered:
            if message in self._delivered:
                raise Violation(f"I21: {incarnation} delivers {message} again and does not say so")
            consumer = (incarnation, queue_id, lane_of(message), group)
            if message < self._last.get(consumer, 0):
                raise Violation(f"I32: {incarnation} delivers {message} after {self._last[consumer]}")
            self._last[consumer] = message
        self._delivered.add(message)

    def drop(self, queue_id: int, messages: Sequence[int], left: int) -> None:
        """A node lets messages go because the queue is too long; `left` is what it has then."""
        if self.max_length is not None and left < self.max_length:
            raise Violation(f"I64: {len(messages)} messages were let go, and {left} are left")
        self.settled.update(messages)
        self.dropped += len(messages)

    def confirm(self, messages: Iterable[int]) -> None:
        """The publisher is told that these are safe."""
        self.confirmed.update(messages)

    def check_end(self) -> None:
        lost = self.confirmed - self.settled
        if lost:
            raise Violation(f"I2: {sorted(lost)} were confirmed, and no consumer has settled them")
