"""A stream: a queue whose messages have offsets and stay when they are consumed; each consumer has a place of its own.

What is published goes to the store by way of the journal, and comes from there in the order of its commits, which is
that of offsets on all nodes (ADR 81). What consumers need of it is in memory in blocks that they share; who is at the
end gets what this node appends from memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Final, Protocol

from broker.codec.stream_records import RecordReader, StreamRecord
from broker.message import STORED, TRANSIENT, KeyedMessage, Message
from broker.ports.slot import Slot
from broker.ports.streams import NO_STREAM, NOTHING, StoredSegment, StreamAppend, StreamBounds
from broker.queue.dispatcher import QueueConsumer
from broker.queue.outcome import Outcome
from broker.queue.queue import Queue
from broker.queue.settings import QueueSettings
from broker.queue.stock import Stock
from broker.queue.stream_cache import Block, StreamCache
from broker.queue.stream_cursor import Since, Start, StreamCursor, StreamWish
from broker.queue.stream_turns import StreamTurns

MAX_UNACKED: Final = 65_535
"""Deliveries that a consumer may hold: the largest prefetch there is."""
_AT_ONCE: Final = 1000
_OCTETS_AT_ONCE: Final = 1 << 20
_MOST_READ: Final = 256 * 1024
_LEAST_READ: Final = 16 * 1024
_MEMORY_PER_OCTET: Final = 6
"""About how many octets of memory one octet in the store takes, of small messages."""


class StreamMessage(Message):
    """A message of a stream as one consumer has it; its id is the offset."""

    __slots__ = ("cursor",)

    cursor: StreamCursor


class StreamStorage(Protocol):
    """What a stream asks of its node: to read it, and what only the store knows."""

    def read(self, stream: StreamQueue, offset: int, octets: int) -> None:
        """Read about so many octets from the offset on: `StreamQueue.on_page` gets them, and is dispatched."""
        ...

    async def bounds(self, stream: StreamQueue) -> StreamBounds:
        """Return what there is of the stream on all nodes."""
        ...

    async def find(self, stream: StreamQueue, time_ms: int) -> int | None:
        """Return the first offset of the first segment that has a message of this time or later."""
        ...

    async def place(self, stream: StreamQueue, name: str) -> int | None:
        """Return the offset that is kept for the consumers of this name."""
        ...

    def keep(self, stream: StreamQueue, name: str, offset: int) -> None:
        """Keep the offset that a consumer of this name is to get next."""
        ...

    def tells_length(self) -> bool:
        """Is it this node that tells how long streams are, which all nodes share?"""
        ...


class StreamQueue(Queue):
    """A stream of one virtual host, on this node."""

    __slots__ = ("_bounds", "_cache", "_reader", "_storage", "_turns", "_wanted")

    is_stream: ClassVar[bool] = True

    def __init__(self, *identity: Any, storage: StreamStorage, **parts: Any) -> None:
        """All else is as for `Queue`."""
        self._turns = StreamTurns()
        super().__init__(*identity, turns=self._turns, **parts)
        self._storage = storage
        self._bounds = NOTHING
        self._cache = StreamCache(self.limits.memory)
        self._reader = RecordReader()
        self._wanted: set[int] = set()
        """The offsets from which on is being read."""

    def _take_on(self, settings: QueueSettings) -> None:
        super()._take_on(settings)
        self.looks_at_publishers = True

    # What there is of it

    @property
    def bounds(self) -> StreamBounds:
        """Which offsets there are, as far as this node knows."""
        return self._bounds

    def learn(self, bounds: StreamBounds) -> bool:
        """There is this of the stream, on all nodes; return whether consumers may go on: the caller dispatches then."""
        known, self._bounds = self._bounds, bounds
        if bounds.end < known.end:
            self._bounds = StreamBounds(bounds.first, known.end, bounds.octets)
        if bounds.end <= known.end or not self._turns.is_awaited:
            return False
        self._turns.go_on()
        return True

    @property
    def is_awaited(self) -> bool:
        """Does a consumer wait for messages?"""
        return self._turns.is_awaited

    @property
    def ready_count(self) -> int:
        return self._bounds.count if self._storage.tells_length() else 0

    @property
    def message_count(self) -> int:
        return self._bounds.count

    @property
    def ready_octets(self) -> int:
        return 0

    def stock(self) -> Stock:
        ready = self.ready_count
        octets = self._bounds.octets if ready else 0
        return Stock(
            ready,
            self._unacked,
            octets_ready=octets,
            octets_in_memory=min(self._cache.weight, octets),
            persistent=ready,
            octets_persistent=octets,
        )

    # Messages in

    def _new_append(self) -> Callable[[Message], None]:
        return self._journal.append_to_stream

    def on_appended(self, append: StreamAppend) -> None:
        """The store has given messages their offsets. The caller dispatches then."""
        messages = append.messages
        if append.first == NO_STREAM or not messages or self._is_deleted:
            return
        end, known = append.first + len(messages), self._bounds
        first = known.first if known.count else append.first
        self._bounds = StreamBounds(first, max(end, known.end), known.octets + append.octets)
        if self._turns.cursors:
            self._cache.append(self._reader.of_messages(messages, append.first))
            self._turns.go_on()

    def hold(self, message: KeyedMessage) -> None:
        """Nothing to do: the journal appends a message when it has got its keys."""

    def insert(self, messages: Sequence[Message]) -> None:
        """Nothing to do: `on_appended` has told of the messages of a transaction."""

    # Consumers

    async def find_start(self, wish: StreamWish, name: str) -> StreamCursor:
        """Return the place at which a consumer begins. `name` is its tag."""
        start, storage = wish.start, self._storage
        kept = await storage.place(self, name) if wish.is_kept else None
        if kept is not None:
            return StreamCursor(kept, StreamWish(kept, wish.filters, wish.takes_unfiltered, True), name)
        self.learn(await storage.bounds(self))
        bounds = self._bounds
        match start:
            case Start.FIRST:
                place = bounds.first
            case Start.LAST:
                place = max(bounds.end - 1, bounds.first)
            case Start.NEXT:
                place = bounds.end
            case Since(time_ms):
                found = await storage.find(self, time_ms)
                place = bounds.end if found is None else found
            case int(offset):
                place = offset
        return StreamCursor(place, wish, name if wish.is_kept else "")

    def expect(self, consumer: QueueConsumer, cursor: StreamCursor | None) -> None:
        """When this consumer is added it begins at this place; with None it is not waited for any longer."""
        self._turns.expect(consumer, cursor)

    def now_ms(self) -> int:
        """Return the time by which messages are published, in milliseconds since 1970."""
        return self._services.now_ms()

    def remove_consumer(self, consumer: QueueConsumer) -> bool:
        cursor = self._turns.cursors.get(consumer)
        if cursor is not None and cursor.name:
            self._storage.keep(self, cursor.name, cursor.kept)
        was_active = super().remove_consumer(consumer)
        if not self._turns.cursors:
            self._cache.clear()
        return was_active

    @property
    def has_demand(self) -> bool:
        return False

    @property
    def can_hand_off(self) -> bool:
        return False

    # Messages out

    def dispatch(self, *, may_deliver: bool = True) -> bool:
        """Deliver to the consumers that have credit what is in memory, and read what is not."""
        if may_deliver:
            for consumer, cursor in self._turns.take():
                self._serve(consumer, cursor)
        return False

    def _serve(self, consumer: QueueConsumer, cursor: StreamCursor) -> None:
        while True:
            room = consumer.room(min(_AT_ONCE, MAX_UNACKED - consumer.unacked))
            if room <= 0:
                consumer.is_resting = True
                return
            block = self._cache.find(cursor.next)
            if block is None:
                self._turns.wait(consumer)
                if cursor.next < self._bounds.end:
                    self._read(cursor.next)
                return
            if block.end < self._bounds.end and self._cache.find(block.end) is None:
                self._read(block.end)
            places, following = cursor.take(block, room, _OCTETS_AT_ONCE)
            if not self._deliver(consumer, cursor, block, places, following):
                return

    def _deliver(
        self, consumer: QueueConsumer, cursor: StreamCursor, block: Block, places: Sequence[int], following: int
    ) -> bool:
        """Give a consumer these messages of a block; return whether it may take more."""
        messages = _messages(self, cursor, block.records, places)
        ready = deque(messages)
        if messages:
            consumer.take(ready, len(ready))
            cursor.on_taken(messages[: len(messages) - len(ready)] if ready else messages)
        if ready:
            cursor.next = ready[0].id
            consumer.is_resting = True
            return False
        cursor.next = following
        return True

    def _read(self, offset: int) -> None:
        if offset not in self._wanted and not self.is_closing:
            self._wanted.add(offset)
            share = self.limits.memory // (2 * _MEMORY_PER_OCTET * max(len(self._turns.cursors), 1))
            self._storage.read(self, offset, min(max(share, _LEAST_READ), _MOST_READ))

    def on_page(self, offset: int, segments: Sequence[StoredSegment], end: int, damaged: Callable[[int], None]) -> None:
        """This is what the store has from `offset` on, up to `end`: which is `offset` itself if there is nothing.
        `damaged` is called with the first offset of a segment that cannot be read. The caller dispatches then.
        """
        self._wanted.discard(offset)
        if not self._turns.cursors:
            return
        records: list[StreamRecord] = []
        for segment in segments:
            try:
                records += self._reader.decode(segment.content, segment.first, segment.count)
            except ValueError:
                damaged(segment.first)
        if end > offset:
            # What is missing before the first segment is deleted by retention, or damaged: nobody asks for it again.
            self._cache.add(Block(min(offset, records[0].offset) if records else offset, end, records))
            self._turns.go_on()

    def on_taken(self, count: int, octets: int) -> None:
        self._unacked += count
        self.counts.taken += count

    def settle(self, messages: Sequence[Message], outcome: Outcome, unstored: int = 0) -> None:
        count = len(messages) + unstored
        self.counts.settled[outcome.number] += count
        if outcome.was_held:
            self._unacked -= count
        self._note_answered(messages)

    def requeue(self, messages: Sequence[Message], *, is_lost: bool = False, is_unseen: bool = False) -> None:
        """Clients have given messages back, or are gone: they stay where they are. Who gives one back itself does not
        get it again, as with RabbitMQ, but has room for another; if its place is kept, the next one of its name does.
        """
        self._unacked -= len(messages)
        if not is_lost:
            self._note_answered(messages, is_handled=False)

    def return_unsent(self, messages: Sequence[Message]) -> None:
        self._unacked -= len(messages)

    def _note_answered(self, messages: Iterable[Message], *, is_handled: bool = True) -> None:
        by_cursor: dict[StreamCursor, list[Message]] = {}
        for message in messages:
            if isinstance(message, StreamMessage) and message.cursor.name:
                by_cursor.setdefault(message.cursor, []).append(message)
        for cursor, answered in by_cursor.items():
            if is_handled:
                cursor.on_answered(answered)
            else:
                cursor.on_returned(answered)
            self._storage.keep(self, cursor.name, cursor.kept)

    def pop(self) -> Message | None:
        return None

    # Deletion

    def cancel_delete(self) -> None:
        super().cancel_delete()
        self._turns.go_on()

    def delete(self) -> list[Slot]:
        self._cache.clear()
        self._bounds = NOTHING
        return super().delete()


def _messages(
    stream: StreamQueue, cursor: StreamCursor, records: Sequence[StreamRecord], places: Iterable[int]
) -> list[Message]:
    """Return these messages of a block as one consumer has them. Hot: what is known already is not computed again."""
    # The stream is told of acknowledged messages only if their rows could be deleted: it wants to know of these.
    state = STORED if cursor.name else TRANSIENT
    new = StreamMessage.__new__
    messages: list[Message] = []
    add = messages.append
    for place in places:
        message = new(StreamMessage)
        message.id, _, message.routing, message.header, message.body, message.chunks, message.weight = records[place]
        message.queue = stream
        message.state = state
        message.content_id = message.due = message.redelivered = 0
        message.confirms = None
        message.cursor = cursor
        add(message)
    return messages
