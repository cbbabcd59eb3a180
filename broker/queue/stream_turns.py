"""The consumers of one stream on this node: where each of them is, and which of them may go on."""

from __future__ import annotations

from typing import Any, Final

from broker.queue.dispatcher import QueueConsumer
from broker.queue.queue_turns import QueueTurns
from broker.queue.settings import QueueSettings, QueueType
from broker.queue.stream_cursor import StreamCursor
from broker.selector.selector import Selector

_SETTINGS: Final = QueueSettings(type=QueueType.STREAM)


class StreamTurns(QueueTurns):
    """The consumers of a stream. Nobody takes anything away from anybody, so they have no priorities."""

    __slots__ = ("_expected", "_next", "_waiting", "cursors")

    def __init__(self) -> None:
        super().__init__(_SETTINGS)
        self.cursors: dict[QueueConsumer, StreamCursor] = {}
        self._expected: dict[QueueConsumer, StreamCursor] = {}
        """Those of consumers that are not added yet."""
        self._next: dict[QueueConsumer, None] = {}
        """Consumers that may get something when the stream is dispatched next."""
        self._waiting: dict[QueueConsumer, None] = {}
        """Those that have credit, and wait for messages: for what is being read, or is not published yet."""

    def expect(self, consumer: QueueConsumer, cursor: StreamCursor | None) -> None:
        """When this consumer is added it begins at this place; with None it is not waited for any longer."""
        if cursor is None:
            self._expected.pop(consumer, None)
        else:
            self._expected[consumer] = cursor

    def add(self, consumer: QueueConsumer, selector: Selector | None = None) -> None:
        """Add a consumer that is expected."""
        super().add(consumer)
        self.cursors[consumer] = self._expected.pop(consumer)
        self._next[consumer] = None

    def remove(self, consumer: QueueConsumer) -> bool:
        for group in self._groups:
            group.pop(consumer, None)
        consumer.is_resting = False  # the dispatcher, which gives nobody a turn, keeps those that rest
        return super().remove(consumer)

    def remove_all(self) -> list[QueueConsumer]:
        for group in self._groups:
            group.clear()
        return super().remove_all()

    @property
    def _groups(self) -> tuple[dict[QueueConsumer, Any], ...]:
        return self.cursors, self._next, self._waiting

    # Turns

    def wake(self, consumer: QueueConsumer) -> None:
        if consumer.is_resting and consumer in self.cursors:
            consumer.is_resting = False
            self._next[consumer] = None

    def wake_next(self, consumer: QueueConsumer) -> None:
        self.wake(consumer)

    def wait(self, consumer: QueueConsumer) -> None:
        """A consumer waits for messages."""
        self._waiting[consumer] = None

    @property
    def is_awaited(self) -> bool:
        """Does a consumer wait for messages?"""
        return bool(self._waiting)

    def go_on(self) -> None:
        """There may be what consumers wait for."""
        self._next.update(self._waiting)
        self._waiting.clear()

    def take(self) -> list[tuple[QueueConsumer, StreamCursor]]:
        """Remove and return those that may get something, with their places."""
        turns, self._next = self._next, {}
        return [(consumer, self.cursors[consumer]) for consumer in turns if consumer in self.cursors]

    # What other nodes would ask

    def room(self, limit: int) -> int:
        return 0

    def rank(self) -> bool:
        return False
