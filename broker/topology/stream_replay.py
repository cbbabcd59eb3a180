"""Replaying a part of a stream into a queue, for an administrator: what the stream has, and where consumers are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from broker.codec.expiration import note_due
from broker.codec.stream_records import RecordReader, StreamRecord, filter_value
from broker.errors import AdministrationError, AmqpError
from broker.message import PENDING, Message, MessageIdGenerator
from broker.ports.store import Journal
from broker.ports.streams import NOTHING, StreamStore
from broker.queue.admission import QueueAdmission
from broker.queue.queue import Queue, state_of
from broker.queue.stream_cursor import Since
from broker.queue.stream_queue import StreamQueue
from broker.topology.vhost import VirtualHost

_log = structlog.get_logger(__name__)

MOST: Final = 100_000
"""Messages that one request replays at most."""
_AT_ONCE: Final = 500
"""Messages that are put into the queue in one transaction."""
_OCTETS_READ: Final = 256 * 1024
_SLACK_MS: Final = 10_000
"""By how much times may differ from the order of offsets, because the clocks of nodes do."""


@dataclass(frozen=True, slots=True)
class ReplayWish:
    """Which messages: from one place up to another, which is not meant itself; a place is an offset or a time."""

    start: int | Since = 0
    until: int | Since | None = None
    value: str | None = None
    """Only those of which this is the header x-stream-filter-value."""
    limit: int = MOST

    def has(self, record: StreamRecord) -> bool:
        """Is this message meant, as far as the record tells?"""
        start, until = self.start, self.until
        if isinstance(start, Since) and record.published_ms < start.time_ms:
            return False
        if isinstance(until, Since) and record.published_ms >= until.time_ms:
            return False
        return self.value is None or filter_value(record.header) == self.value

    def ends_before(self, record: StreamRecord) -> bool:
        """Is nothing meant from this message on?"""
        if isinstance(self.until, Since):
            return record.published_ms >= self.until.time_ms + _SLACK_MS
        return self.until is not None and record.offset >= self.until


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many messages were put into the queue, and the offset at which to go on; None if nothing is left."""

    messages: int
    next: int | None


class StreamReplays:
    """What an administrator of one node does with streams."""

    def __init__(
        self,
        vhosts: Mapping[str, VirtualHost],
        store: StreamStore,
        ids: MessageIdGenerator,
        journal: Journal,
        *,
        now_ms: Callable[[], int],
        write_places: Callable[[], Awaitable[None]],
        next_turn: Callable[[], Awaitable[None]],
        touched: set[Queue],
        dispatch: Callable[[], Any],
    ) -> None:
        """`write_places` writes the places of consumers that are not in the store yet."""
        self._vhosts = vhosts
        self._store = store
        self._ids = ids
        self._journal = journal
        self._now_ms = now_ms
        self._write_places = write_places
        self._next_turn = next_turn
        self._touched = touched
        self._dispatch = dispatch

    @property
    def now_ms(self) -> int:
        """The time by which messages are published, in milliseconds since 1970."""
        return self._now_ms()

    def _stream(self, vhost: str, name: str) -> StreamQueue:
        queue = self._queue(vhost, name)
        if not isinstance(queue, StreamQueue):
            raise AdministrationError(f"queue '{name}' in vhost '{vhost}' is no stream")
        return queue

    def _queue(self, vhost: str, name: str) -> Queue:
        found = self._vhosts.get(vhost)
        if found is None:
            raise AdministrationError(f"there is no virtual host '{vhost}'")
        try:
            return found.queue(name)
        except AmqpError as error:
            raise AdministrationError(error.reply_text) from None

    async def show(self, vhost: str, name: str) -> Mapping[str, Any]:
        """Return which offsets a stream has, and where the consumers are whose places are kept."""
        stream = self._stream(vhost, name)
        await self._write_places()
        bounds = (await self._store.stream_bounds([stream.queue_id])).get(stream.queue_id, NOTHING)
        places = await self._store.places_in_stream(stream.queue_id)
        return {
            "vhost": vhost,
            "name": name,
            "first_offset": bounds.first,
            "next_offset": bounds.end,
            "messages": bounds.count,
            "octets": bounds.octets,
            "places": [{"consumer": each, "next_offset": offset} for each, offset in places.items()],
        }

    async def forget_place(self, vhost: str, name: str, consumer: str) -> bool:
        """Forget the place of a consumer; return whether there was one."""
        stream = self._stream(vhost, name)
        await self._write_places()
        return await self._store.forget_place((stream.queue_id, consumer))

    async def replay(self, vhost: str, name: str, destination: str, wish: ReplayWish) -> Replayed:
        """Put copies of a stream's messages into a queue, in their order. What is told to be there is committed: a
        durable queue keeps copies over a restart whatever their delivery mode, as the stream does.

        Raises `AdministrationError` when the queue takes no more, or one of both is deleted meanwhile.
        """
        stream, target = self._stream(vhost, name), self._queue(vhost, destination)
        if target is stream:
            raise AdministrationError("a stream cannot be replayed into itself: it would never end")
        offset = await self._start_of(stream, wish)
        count = 0
        while offset is not None and count < wish.limit:
            records, end, is_over = await self._page(stream, offset, wish)
            if stream.is_deleted:
                raise AdministrationError(
                    f"the stream '{name}' has been deleted meanwhile: {count} of its messages are in '{destination}'"
                )
            meant = [record for record in records if record.offset >= offset and wish.has(record)]
            taken = meant[: wish.limit - count]
            for part in _parts(taken):
                await self._put(stream, target, part, count)
                count += len(part)
            if len(taken) < len(meant):
                return Replayed(count, meant[len(taken)].offset)
            offset = None if is_over else end
            await self._next_turn()
        return Replayed(count, offset)

    async def _start_of(self, stream: StreamQueue, wish: ReplayWish) -> int | None:
        if isinstance(wish.start, Since):
            return await self._store.find_in_stream(stream.queue_id, wish.start.time_ms)
        return wish.start

    async def _page(self, stream: StreamQueue, offset: int, wish: ReplayWish) -> tuple[list[StreamRecord], int, bool]:
        """Return the next records, the offset behind them, and whether nothing that is meant follows."""
        page = await self._store.read_stream(stream.queue_id, offset, _OCTETS_READ)
        records: list[StreamRecord] = []
        reader = RecordReader()
        for segment in page.segments:
            try:
                records += reader.decode(segment.content, segment.first, segment.count)
            except ValueError as error:
                _log.error("a segment cannot be read", queue=stream.name, first=segment.first, reason=str(error))
        found = [record for record in records if not wish.ends_before(record)]
        return found, page.end, page.end <= offset or len(found) < len(records)

    async def _put(self, stream: StreamQueue, target: Queue, records: Sequence[StreamRecord], before: int) -> None:
        """Put copies into the queue, and let its consumers have them when they are committed."""
        self._ids.advance(self._now_ms())
        admission, copies = QueueAdmission(), list[Message]()
        for record in records:
            queue = target.level_for(record.header)
            copy = Message(
                self._ids.next(),
                queue,
                record.routing,
                record.header,
                record.body,
                record.chunks,
                state_of(queue, is_persistent=True),
            )
            note_due(copy)
            if target.is_deleted:
                raise AdministrationError(
                    f"queue '{target.name}' has been deleted meanwhile, with {before} messages of '{stream.name}': say"
                    f" another one"
                )
            if admission.refuses(target, copy.size, is_late=True):
                raise AdministrationError(
                    f"queue '{target.name}' takes no more: {before} messages of '{stream.name}' are in it, go on from"
                    f" offset {records[0].offset}"
                )
            copies.append(copy)
        for copy in copies:
            _queue_of(copy).slots.begin_transaction()
        try:
            await self._journal.transact([copy for copy in copies if copy.state == PENDING], ())
        finally:
            for copy in copies:
                _queue_of(copy).slots.end_transaction()
        by_queue: dict[Queue, list[Message]] = {}
        for copy in copies:
            by_queue.setdefault(_queue_of(copy), []).append(copy)
        for queue, members in by_queue.items():
            queue.insert(members)
            self._touched.add(queue)
        self._dispatch()


def _parts(records: Sequence[StreamRecord]) -> Iterator[Sequence[StreamRecord]]:
    return (records[start : start + _AT_ONCE] for start in range(0, len(records), _AT_ONCE))


def _queue_of(message: Message) -> Any:
    return message.queue
