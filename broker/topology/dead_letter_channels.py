"""What an administrator does with the messages in dead letter channels: looks at them, puts them back or elsewhere, or
deletes them (docs/jms.md).

A message moves in one transaction of the store, if it is ready on this node: what is ready on others is brought here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from broker.codec.channel_death import COUNT, FIRST, LAST, died_in, told_of
from broker.errors import AdministrationError
from broker.message import Message, MessageIdGenerator, first_id_at, lane_of, published_ms, routing_of
from broker.ports.names import DEAD_LETTER_CHANNEL
from broker.ports.slot import Slot
from broker.queue.admission import QueueAdmission
from broker.queue.outcome import PURGED
from broker.queue.pages import ReadSlot, page_of
from broker.queue.queue import Queue
from broker.topology.dead_letters import DeadLetters
from broker.topology.dialect import QUEUES
from broker.topology.letter import Letter
from broker.topology.told_deaths import count_of, seconds_of, text_of
from broker.topology.vhost import VirtualHost

AT_ONCE: Final = 500
"""Messages that are looked at, and moved, at once."""
_OCTETS_AT_ONCE: Final = 4 * 1024 * 1024
MOST_IDS: Final = 1000
"""Ids that one request may name."""
MOST_LISTED: Final = 1000
"""Messages that one request may ask for."""
MOST_TOLD: Final = 100
"""Messages of which one answer says why they stay."""
_SLOTS_AT_ONCE: Final = 16
"""Slots of other nodes that are brought here before a queue is looked through again."""
VAIN_LOOKS: Final = 3
"""How often that may bring nothing that moves: consumers elsewhere may want the same messages."""
_PAUSE: Final = 0.01
"""Seconds until a queue that is being read is looked at again."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which messages of a channel: those with these ids, None for all, as far as they died in `queue`."""

    ids: tuple[int, ...] | None = None
    queue: str | None = None
    matches: Callable[[Message], bool] | None = None
    """If it is not None, only those for which this is true."""
    most: int | None = None
    """How many to take at once at most."""

    def has(self, message: Message) -> bool:
        """Is this one of them?"""
        if self.queue is not None and died_in(message.header_payload) != self.queue:
            return False
        return self.matches is None or self.matches(message)


@dataclass(frozen=True, slots=True)
class LeftElsewhere:
    """What of a queue is on other nodes."""

    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By node id: how many messages are ready there, and how many its clients hold."""
    silent: tuple[str, ...] = ()
    """Nodes that have not answered."""


async def nothing_left(queue: Queue) -> LeftElsewhere:
    """Stand where there are no other nodes."""
    return LeftElsewhere()


@dataclass(slots=True)
class Moved:
    """How many messages have left a channel, and which of those that were meant stay, and why."""

    count: int = 0
    stay: int = 0
    reasons: dict[int, str] = field(default_factory=dict)
    is_cancelled: bool = False
    """Is nothing more to be moved?"""
    elsewhere_count: int = 0
    """Of those that stay, how many another node has."""
    left_elsewhere: LeftElsewhere = field(default_factory=lambda: LeftElsewhere())

    def forget_kept(self) -> None:
        """Those that have stayed are looked at once more."""
        self.stay = self.elsewhere_count = 0
        self.reasons.clear()

    def keep(self, message_id: int, reason: str) -> None:
        """A message stays."""
        self.stay += 1
        if len(self.reasons) < MOST_TOLD:
            self.reasons[message_id] = reason


_Target: TypeAlias = Callable[[Message], tuple[Queue | None, str]]
"""Returns where a message goes and, if it goes nowhere, why."""


class DeadLetterChannels:
    """The dead letter channels of the virtual hosts of this node."""

    def __init__(
        self,
        vhosts: Mapping[str, VirtualHost],
        letters: DeadLetters,
        ids: MessageIdGenerator,
        *,
        read: ReadSlot,
        held_ids: Callable[[Queue], Iterable[int]],
        touched: set[Queue],
        pause: Callable[[float], Awaitable[None]],
        next_turn: Callable[[], Awaitable[None]],
        dispatch: Callable[[], Any],
        now_ms: Callable[[], int],
        left_elsewhere: Callable[[Queue], Awaitable[LeftElsewhere]] = nothing_left,
    ) -> None:
        """`held_ids` are those of messages that clients of this node hold; `touched` and `dispatch` are those of
        `Broker`; `now_ms` is the time in the ids of messages, of all nodes.
        """
        self._now_ms = now_ms
        self._left_elsewhere = left_elsewhere
        self._vhosts = vhosts
        self._letters = letters
        self._ids = ids
        self._read = read
        self._held_ids = held_ids
        self._touched = touched
        self._pause = pause
        self._next_turn = next_turn
        self._dispatch = dispatch

    async def listed(
        self, vhost: str, queue: str | None = None, *, after: int = 0, limit: int = 100
    ) -> list[dict[str, Any]]:
        """Return up to `limit` messages, with ids above `after`, that wait in a channel and died in `queue`, or with
        None in any: what is in the store for all nodes, and what is in memory of this one.
        """
        if not 0 < limit <= MOST_LISTED:
            raise AdministrationError(f"as many as 1 to {MOST_LISTED} messages can be listed at once")
        channel, told = self._channel(vhost), list[dict[str, Any]]()
        if channel is None:
            return told
        last = self.newest
        for level in channel.levels:
            end: int | None = after
            while end is not None and len(told) < limit:
                page, end = await self.page(level, None, end, last)
                held = set(self._held_ids(level))
                rows = (_told(each) for each in page if each.id not in held and not level.has_expired(each))
                told += [row for row in rows if queue in (None, row["queue"])][: limit - len(told)]
                await self._next_turn()
        return told

    def waiting(self, vhost: str) -> int:
        """Return how many messages are in a channel, as far as this node knows."""
        channel = self._channel(vhost)
        return 0 if channel is None else channel.message_count

    def check(self, vhost: str, chosen: Chosen, target: str | None) -> None:
        """Raise `AdministrationError` if there is no such channel, if too many messages are named, or if there is no
        queue `target` for them.
        """
        queues = self._vhost(vhost).queues
        if chosen.ids is not None and len(chosen.ids) > MOST_IDS:
            raise AdministrationError(f"at most {MOST_IDS} messages can be named at once")
        if target is not None and (target not in queues or target == DEAD_LETTER_CHANNEL):
            raise AdministrationError(f"there is no queue '{target}' to reroute to in virtual host '{vhost}'")

    # `moved` is where moving tells how far it is, and is told to stop.

    async def restore(self, vhost: str, chosen: Chosen, moved: Moved | None = None) -> Moved:
        """Put messages back into the queues in which they died."""
        queues = self._vhost(vhost).queues

        def origin(message: Message) -> tuple[Queue | None, str]:
            name = died_in(message.header_payload)
            if name is None:
                return None, "it does not say in which queue it died"
            queue = queues.get(name)
            return queue, f"there is no queue '{name}'"

        return await self._move(vhost, chosen, origin, moved)

    async def reroute(self, vhost: str, chosen: Chosen, target: str, moved: Moved | None = None) -> Moved:
        """Put messages into another queue, as if they had been sent there."""
        self.check(vhost, chosen, target)
        queues = self._vhost(vhost).queues
        routing = b"".join(len(name.encode()).to_bytes(1, "big") + name.encode() for name in (QUEUES, target))

        def aim(_: Message) -> tuple[Queue | None, str]:
            return queues.get(target), f"there is no queue '{target}'"

        return await self._move(vhost, chosen, aim, moved, routing)

    async def delete(self, vhost: str, chosen: Chosen, moved: Moved | None = None) -> Moved:
        """Delete messages for good."""
        return await self._move(vhost, chosen, None, moved)

    def _vhost(self, name: str) -> VirtualHost:
        vhost = self._vhosts.get(name)
        if vhost is None or vhost.dialect.channel is None:
            raise AdministrationError(f"there is no virtual host '{name}' with a dead letter channel")
        return vhost

    def _channel(self, vhost: str) -> Queue | None:
        """Return the channel; None while nothing has been in it."""
        return self._vhost(vhost).queues.get(DEAD_LETTER_CHANNEL)

    @property
    def newest(self) -> int:
        """An id that is not below those of all messages that have come up to now, on whatever node."""
        return max(self._ids.last, first_id_at(self._now_ms() + 1) - 1)

    # Moving

    async def fetch(self, queue: Queue) -> bool:
        """Bring some of what other nodes have of a queue here; return whether there was any."""
        cluster, count = self._vhosts[queue.vhost].cluster, 0
        while count < _SLOTS_AT_ONCE and await cluster.fetch(queue):
            count += 1
        return count > 0

    async def move(self, letters: Sequence[Letter]) -> None:
        """Put what was withdrawn where it is to go; return when that is committed."""
        await self._letters.move(letters)
        await self._next_turn()

    async def _move(
        self, vhost: str, chosen: Chosen, target_of: _Target | None, told: Moved | None, routing: bytes = b""
    ) -> Moved:
        """Move messages page by page, each in one transaction. With `routing` they have been sent like that."""
        self.check(vhost, chosen, None)
        channel, moved, last = self._channel(vhost), told or Moved(), self.newest
        missing = dict.fromkeys(chosen.ids or ())

        async def look_through(queue: Queue) -> None:
            for level in queue.levels:
                end: int | None = 0
                while end is not None and not moved.is_cancelled:
                    letters, end = await self.withdraw(level, chosen, end, last, target_of, moved, missing)
                    for letter in letters:
                        letter.routing = routing or letter.routing
                    if letters:
                        await self._letters.move(letters)
                        moved.count += len(letters)
                    await self._next_turn()

        vain = 0
        while channel is not None:
            before = moved.count
            await look_through(channel)
            vain = 0 if moved.count > before else vain + 1
            is_wanted = chosen.ids is None or moved.elsewhere_count or missing
            if moved.is_cancelled or not is_wanted or vain == VAIN_LOOKS or not await self.fetch(channel):
                moved.left_elsewhere = await self._left_elsewhere(channel)
                break
            moved.forget_kept()
        for message_id in () if moved.is_cancelled else missing:
            moved.keep(message_id, "it is not there")
        return moved

    async def withdraw(
        self,
        level: Queue,
        chosen: Chosen,
        after: int,
        last: int,
        target_of: _Target | None,
        moved: Moved,
        missing: dict[int, None],
    ) -> tuple[list[Letter], int | None]:
        """Take the next messages out of the queue, but for those that cannot go on. Nothing else reads meanwhile."""
        while level.slots.is_reading:
            await self._pause(_PAUSE)
        level.slots.begin_reading()
        try:
            page, end = await self.page(level, chosen.ids, after, last)
            for message in page:
                missing.pop(message.id, None)
            meant = [each for each in page if chosen.has(each)]
            if chosen.most is not None and len(meant) > chosen.most:
                del meant[chosen.most :]
                end = meant[-1].id
            letters = _addressed(level, meant, target_of, moved)
            taken = {each.id: each for each in level.withdraw([letter.message for letter in letters])}
        finally:
            level.slots.end_reading()
            self._touched.add(level)
            self._dispatch()
        gone = [letter for letter in letters if letter.message.id in taken]
        if len(gone) < len(letters):
            held = set(self._held_ids(level))
            for stays in [letter.message.id for letter in letters if letter.message.id not in taken]:
                is_here = stays in held
                moved.elsewhere_count += not is_here
                moved.keep(stays, "a client has it" if is_here else "another node has it")
        for letter in gone:
            letter.message = taken[letter.message.id]
        return gone, end

    async def page(
        self, level: Queue, ids: tuple[int, ...] | None, after: int, last: int
    ) -> tuple[list[Message], int | None]:
        """Return the next messages above an id, and up to which id they go, None at the end."""
        if ids is not None:
            return await self._named(level, sorted(each for each in set(ids) if after < each <= last))
        return await page_of(level, after, last, self._read, at_once=AT_ONCE, octets=_OCTETS_AT_ONCE)

    async def _named(self, level: Queue, ids: Sequence[int]) -> tuple[list[Message], int | None]:
        """Likewise of messages with these ids."""
        part = ids[:AT_ONCE]
        known = {each.id for each in level.in_memory}
        found: dict[int, Message] = {}
        for message_id in part:
            if message_id not in known:
                slot = Slot(level.queue_id, lane_of(message_id), message_id, message_id, 1, transient=True)
                found |= {each.id: each for each in await self._read(level, slot, 1, _OCTETS_AT_ONCE)}
        wanted = set(part)
        found |= {each.id: each for each in level.in_memory if each.id in wanted}
        return [found[each] for each in sorted(found)], part[-1] if len(ids) > AT_ONCE else None


def _addressed(level: Queue, messages: Sequence[Message], target_of: _Target | None, moved: Moved) -> list[Letter]:
    """Return letters for those of the messages that have a place to go to, or are to be deleted."""
    letters = []
    admission = QueueAdmission()
    for message in messages:
        letter = Letter(level, message, PURGED, message.routing, message.header, octets=message.weight)
        letter.is_persistent = True  # an administrator's move is not undone by a restart
        if target_of is None:
            letter.is_over = True
        else:
            target, reason = target_of(message)
            if target is None or target.is_closing:
                moved.keep(message.id, reason)
                continue
            if admission.refuses(target, message.size, is_late=target.is_stored):
                moved.keep(message.id, f"queue '{target.name}' is full")
                continue
            letter.targets = [target]
        letters.append(letter)
    return letters


def _told(message: Message) -> dict[str, Any]:
    """Return what an administrator is told of a message."""
    deaths = told_of(message.header_payload)
    exchange, key = routing_of(message.routing)
    return {
        "id": message.id,
        "queue": text_of(deaths.get(LAST + "queue")),
        "reason": text_of(deaths.get(LAST + "reason")),
        "exchange": exchange,
        "routing_key": key,
        "deaths": count_of(deaths.get(COUNT)),
        "died_at": seconds_of(deaths.get(LAST + "time")),
        "first_queue": text_of(deaths.get(FIRST + "queue")),
        "first_reason": text_of(deaths.get(FIRST + "reason")),
        "first_died_at": seconds_of(deaths.get(FIRST + "time")),
        "arrived_ms": published_ms(message.id),
        "size": message.size,
        "persistent": message.is_persistent,
    }
