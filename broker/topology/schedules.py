"""What an administrator does with delayed messages: lists, cancels, and moves them to another time (docs/delayed.md).

What is cancelled or moved leaves the schedule before anything else can happen to it, or it has gone on before: only one
of the two. In a cluster the node that would let a message go on decides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from broker.codec.envelope import Envelope, opened, sealed
from broker.codec.expiration import LATEST, note_due
from broker.codec.properties import PERSISTENT, BasicProperties, decode_properties
from broker.errors import AdministrationError, AmqpError
from broker.message import PENDING, SETTLED, Message, MessageIdGenerator, lane_of, published_ms, routing_of
from broker.ports.slot import Slot
from broker.ports.store import DueKey, Journal
from broker.queue.admission import QueueAdmission
from broker.queue.pages import ReadSlot
from broker.queue.queue import Queue
from broker.topology.firing import FULL_PAUSE
from broker.topology.vhost import VirtualHost

MOST_LISTED: Final = 1000
"""Messages that one request may ask for."""
MOST_IDS: Final = 1000
"""Ids that one request may name."""
MOST_SEARCHED: Final = 20_000
"""Messages that are looked at for one request."""
_AT_ONCE: Final = 500
_OCTETS_AT_ONCE: Final = 4 * 1024 * 1024
_PAUSE: Final = 0.01
"""Seconds until a schedule that is being read is looked at again."""
CANCELLED: Final = "cancelled"
MOVED: Final = "moved"
FIRED: Final = "fired"
"""It has gone on: that was first."""
GONE: Final = "gone"
"""It is not there: it has gone on or was cancelled before, or never was."""
BUSY: Final = "busy"
"""It is there, and no node that can be asked now has it: try again."""
_NUMBERS: Final = {CANCELLED: -1, FIRED: -2}
"""What stands for these between nodes; an id stands for one that was moved."""


@dataclass(frozen=True, slots=True)
class ScheduleChange:
    """What has become of a delayed message: one of the words above, and its new id if it was moved."""

    outcome: str
    new_id: int = 0


@dataclass(frozen=True, slots=True)
class WantedDelayed:
    """Which delayed messages are meant; None for any."""

    exchange: str | None = None
    routing_key: str | None = None
    message_id: str | None = None
    until: int = LATEST
    """Those that are due up to then, in milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class SchedulePage:
    """Delayed messages in the order in which they are due, and where to go on; None at the end."""

    rows: Sequence[Mapping[str, Any]]
    following: DueKey | None


class ReadDue(Protocol):
    """`MessageStore.read_due`, of what is stored and has not been settled."""

    def __call__(
        self, queue: Queue, until_ms: int, after: DueKey, limit: int, limit_bytes: int
    ) -> Awaitable[Sequence[Message]]: ...


Elsewhere = Callable[[str, Sequence[int], int], Awaitable[Mapping[int, ScheduleChange]]]
"""Lets the other nodes change what they have of these messages: the virtual host, the ids, the new time or 0."""


async def _nowhere(vhost: str, ids: Sequence[int], due: int) -> Mapping[int, ScheduleChange]:
    """There are no other nodes."""
    return {}


class Schedules:
    """The schedules of the virtual hosts of this node."""

    def __init__(
        self,
        vhosts: Mapping[str, VirtualHost],
        ids: MessageIdGenerator,
        journal: Journal,
        *,
        read: ReadSlot,
        read_due: ReadDue,
        touched: set[Queue],
        now_ms: Callable[[], int],
        pause: Callable[[float], Awaitable[None]],
        next_turn: Callable[[], Awaitable[None]],
        dispatch: Callable[[], Any],
        elsewhere: Elsewhere = _nowhere,
    ) -> None:
        """`touched` and `dispatch` are those of `Broker`; `now_ms` is the time by which messages are due."""
        self._vhosts = vhosts
        self._ids = ids
        self._journal = journal
        self._read = read
        self._read_due = read_due
        self._touched = touched
        self._now_ms = now_ms
        self._pause = pause
        self._next_turn = next_turn
        self._dispatch = dispatch
        self._elsewhere = elsewhere

    def waiting(self) -> list[dict[str, Any]]:
        """Return how many messages wait in each virtual host, on all nodes together."""
        return [
            {"vhost": name, "messages": 0 if vhost.schedule is None else vhost.schedule.message_count}
            for name, vhost in sorted(self._vhosts.items())
        ]

    async def listed(
        self, vhost: str, wanted: WantedDelayed, *, after: DueKey = (0, 0), limit: int = 100
    ) -> SchedulePage:
        """Return up to `limit` messages behind the place `after`, those that are due first first. The end of a page
        that is not full is where the search has come to: it goes on with the next one.

        What is overdue, because its queue is full, is tried again each second: who asks for what is due up to now, or a
        second ago, means that, too.
        """
        if not 0 < limit <= MOST_LISTED:
            raise AdministrationError(f"as many as 1 to {MOST_LISTED} messages can be listed at once")
        schedule, rows = self._schedule(vhost), list[Mapping[str, Any]]()
        place: DueKey | None = None if schedule is None else after
        seen, now = 0, self._now_ms()
        until = wanted.until if wanted.until < now - FULL_PAUSE else max(wanted.until, now + FULL_PAUSE)
        while schedule is not None and place is not None and len(rows) < limit and seen < MOST_SEARCHED:
            page = await self._read_due(schedule, until, place, _AT_ONCE, _OCTETS_AT_ONCE)
            place = None
            for message in page:
                place = (message.due, message.id)
                seen += 1
                row = None if message.id in schedule.dying else _told(message, wanted)
                if row is not None:
                    row["overdue"] = self._is_overdue(schedule, message, row, now)
                    if message.due <= wanted.until or row["overdue"]:
                        rows.append(row)
                    if len(rows) == limit:
                        break
            await self._next_turn()
        return SchedulePage(rows, place)

    def _is_overdue(self, schedule: Queue, message: Message, row: Mapping[str, Any], now: int) -> bool:
        """Has a message's time come, while its queue has no room for it?"""
        if row["queue"] is None or message.due > now + FULL_PAUSE:
            return False
        target = self._vhosts[schedule.vhost].queues.get(row["queue"])
        return target is not None and QueueAdmission().refuses(target, message.size, is_late=True)

    async def find(self, vhost: str, message_id: str) -> list[int]:
        """Return the ids of the messages whose property `message_id` is this. Looks at all that wait."""
        found: list[int] = []
        place: DueKey | None = (0, 0)
        wanted = WantedDelayed(message_id=message_id)
        while place is not None and len(found) < MOST_IDS:
            page = await self.listed(vhost, wanted, after=place, limit=MOST_LISTED)
            found += [row["id"] for row in page.rows]
            place = page.following
        return found[:MOST_IDS]

    async def cancel(self, vhost: str, ids: Sequence[int]) -> dict[int, ScheduleChange]:
        """Delete messages before they go on; return what has become of each."""
        return await self._change(vhost, ids, 0)

    async def move(self, vhost: str, ids: Sequence[int], due: int) -> dict[int, ScheduleChange]:
        """Let messages go on at another time, in milliseconds since 1970, or at once if it is over; return what has
        become of each.
        """
        if not 0 < due <= LATEST:
            raise AdministrationError(f"a time is a number of milliseconds since 1970, up to {LATEST}")
        return await self._change(vhost, ids, max(due, self._now_ms()))

    @property
    def now_ms(self) -> int:
        """The time by which messages are due, in milliseconds since 1970."""
        return self._now_ms()

    def _schedule(self, name: str) -> Queue | None:
        vhost = self._vhosts.get(name)
        if vhost is None:
            raise AdministrationError(f"there is no virtual host '{name}'")
        return vhost.schedule

    # Changing

    async def _change(self, vhost: str, ids: Sequence[int], due: int) -> dict[int, ScheduleChange]:
        if len(ids) > MOST_IDS:
            raise AdministrationError(f"at most {MOST_IDS} messages can be named at once")
        schedule = self._schedule(vhost)
        changes = await self.change_here(vhost, ids, due)
        left = [each for each in ids if each not in changes]
        if left and schedule is not None:
            changes |= await self._elsewhere(vhost, left, due)
            for message_id in [each for each in left if each not in changes]:
                is_there = await self._stored(schedule, message_id)
                changes[message_id] = ScheduleChange(BUSY if is_there else GONE)
        return {each: changes.get(each, ScheduleChange(GONE)) for each in dict.fromkeys(ids)}

    async def change_for(self, vhost: str, ids: Sequence[int], due: int) -> Sequence[int]:
        """Do it for another node: `SlotService.change_delayed`."""
        changes = await self.change_here(vhost, ids, due) if vhost in self._vhosts else {}
        return [_number_of(changes.get(each)) for each in ids]

    async def change_here(self, vhost: str, ids: Iterable[int], due: int) -> dict[int, ScheduleChange]:
        """Cancel or move those of the messages that this node has; return what has become of these."""
        schedule, changes = self._schedule(vhost), dict[int, ScheduleChange]()
        wanted = list(dict.fromkeys(ids))
        for start in range(0, len(wanted) if schedule is not None else 0, _AT_ONCE):
            assert schedule is not None
            part = wanted[start : start + _AT_ONCE]
            taken = await self._withdraw(schedule, part, changes)
            if taken:
                await self._replace(schedule, taken, due, changes)
            await self._next_turn()
        return changes

    async def _withdraw(self, schedule: Queue, ids: Sequence[int], changes: dict[int, ScheduleChange]) -> list[Message]:
        """Take messages out of a schedule. Nothing else reads meanwhile."""
        while schedule.slots.is_reading:
            await self._pause(_PAUSE)
        schedule.slots.begin_reading()
        try:
            found = await self._named(schedule, ids)
            for message_id in ids:
                if message_id in schedule.dying:
                    changes[message_id] = ScheduleChange(FIRED)
            return schedule.withdraw(found)
        finally:
            schedule.slots.end_reading()
            self._touched.add(schedule)
            self._dispatch()

    async def _named(self, schedule: Queue, ids: Sequence[int]) -> list[Message]:
        found: dict[int, Message] = {}
        for message_id in ids:
            found |= {each.id: each for each in await self._stored(schedule, message_id)}
        wanted = set(ids)
        found |= {each.id: each for each in schedule.in_memory if each.id in wanted}
        return list(found.values())

    async def _stored(self, schedule: Queue, message_id: int) -> Sequence[Message]:
        """Return the message with this id, if the store has it."""
        if not 0 < message_id <= LATEST:
            return ()
        slot = Slot(schedule.queue_id, lane_of(message_id), message_id, message_id, 1)
        return await self._read(schedule, slot, 1, _OCTETS_AT_ONCE)

    async def _replace(
        self, schedule: Queue, taken: Sequence[Message], due: int, changes: dict[int, ScheduleChange]
    ) -> None:
        """Delete the rows of messages that have left the schedule, and write those of their successors with that."""
        self._ids.advance(self._now_ms())
        made = [self._successor(schedule, message, due) for message in taken] if due else []
        for copy in made:
            schedule.slots.begin_transaction()
            assert copy.state == PENDING
        try:
            await self._journal.transact(made, [message for message in taken if message.state < SETTLED])
        finally:
            for _ in made:
                schedule.slots.end_transaction()
        schedule.end_dying(taken)
        for number, message in enumerate(taken):
            message.state = SETTLED
            changes[message.id] = ScheduleChange(MOVED, made[number].id) if made else ScheduleChange(CANCELLED)
        if made:
            schedule.insert(made)
            self._touched.add(schedule)
            self._dispatch()

    def _successor(self, schedule: Queue, message: Message, due: int) -> Message:
        envelope = opened(message.header)
        header = sealed(envelope.header, due, envelope.queue)
        copy = Message(self._ids.next(), schedule, message.routing, header, message.body, message.chunks, PENDING)
        copy.content_id = message.content_id
        note_due(copy)
        return copy


def _number_of(change: ScheduleChange | None) -> int:
    """Return how nodes tell each other what has become of a message."""
    return 0 if change is None else _NUMBERS.get(change.outcome, change.new_id)


def change_of(number: int) -> ScheduleChange | None:
    """Return what another node has told; None if the message is not there."""
    known = {each: outcome for outcome, each in _NUMBERS.items()}
    if number in known:
        return ScheduleChange(known[number])
    return ScheduleChange(MOVED, number) if number > 0 else None


def _told(message: Message, wanted: WantedDelayed) -> dict[str, Any] | None:
    """Return what an administrator is told of a message; None if it is not meant."""
    exchange, key = routing_of(message.routing)
    if wanted.exchange not in (None, exchange) or wanted.routing_key not in (None, key):
        return None
    if wanted.message_id is not None and wanted.message_id.encode("utf-8", "surrogateescape") not in message.header:
        return None
    try:
        envelope = opened(message.header)
        properties = decode_properties(envelope.header[4:-1])
    except AmqpError:  # damaged: it can be cancelled all the same
        envelope, properties = Envelope(b"", message.due), BasicProperties()
    if wanted.message_id not in (None, properties.message_id):
        return None
    return {
        "id": message.id,
        "due_ms": envelope.due,
        "exchange": exchange,
        "routing_key": key,
        "queue": envelope.queue or None,
        "message_id": properties.message_id,
        "correlation_id": properties.correlation_id,
        "content_type": properties.content_type,
        "published_ms": published_ms(message.id),
        "payload_bytes": message.size,
        "persistent": properties.delivery_mode == PERSISTENT,
    }
