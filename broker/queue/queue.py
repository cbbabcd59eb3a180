"""A queue: what lies in memory, what lies in slots, and who gets the next message.

Order is the order of message ids. The oldest messages are in `ready`; what did not fit follows in slots, which live in
the store alone; what is published while slots exist collects in the window. With no slot, the window *is* `ready`.
Knows messages, slots and the deliver call of a consumer; knows no frame, no connection and no database.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from broker.message import TRANSIENT, Message, lane_of
from broker.ports.slot import Slot
from broker.ports.store import Journal, SlotCoordinator

MESSAGE_OVERHEAD: Final = 512
"""Octets of memory that a message costs beside its body, about."""


class Consumer(Protocol):
    """What a queue needs of a consumer (an upward call: `Consumer.take` delivers)."""

    @property
    def is_exclusive(self) -> bool: ...

    def take(self, ready: deque[Message], limit: int) -> int:
        """Deliver up to `limit` messages from the left of `ready`, as far as credit and output buffer reach.

        Returns how many were taken. Taking less than `limit` while `ready` is not empty means: no credit now.
        """
        ...

    def can_take(self) -> bool:
        """Would `take` deliver a message now?"""
        ...

    def on_queue_deleted(self) -> None:
        """The queue is gone: forget it and tell the client."""
        ...


class Sharing(Protocol):
    """What a queue tells of itself where other nodes serve it too."""

    def after_dispatch(self, queue: Queue) -> None:
        """The queue has given its consumers what they take now. Hot: called once per batch."""
        ...

    def on_dropped(self, slots: Sequence[Slot]) -> None:
        """What was left of these slots has been purged."""
        ...


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How much of a queue may lie in memory."""

    memory: int = 16 * 1024 * 1024
    """Octets of stored messages kept in memory; the rest is slots (design §3)."""
    transient_memory: int = 256 * 1024 * 1024
    """Octets of messages kept in memory that have no row yet: paging them out costs an insert."""
    window_size: int = 1000
    """Messages of a slot (`performanceTuning/slots/windowSize`)."""
    read_ahead: int = 2000
    """Messages read from the store at once."""
    read_ahead_bytes: int = 8 * 1024 * 1024


class Queue:
    """One queue of one virtual host, on this node."""

    __slots__ = (
        "arguments",
        "auto_delete",
        "bytes",
        "consumers",
        "durable",
        "feeding",
        "holds",
        "is_active",
        "is_closing",
        "is_stored",
        "journal",
        "lane",
        "last_taken",
        "limits",
        "name",
        "on_hungry",
        "open_slot",
        "owner",
        "page_floor",
        "queue_id",
        "ready",
        "remote_consumers",
        "remote_ready",
        "sharing",
        "single_active",
        "slots",
        "tail",
        "vhost",
        "was_consumed",
    )

    def __init__(
        self,
        vhost: str,
        name: str,
        queue_id: int,
        *,
        durable: bool,
        auto_delete: bool = False,
        owner: object | None = None,
        arguments: Any = None,
        lane: int = 0,
        limits: QueueLimits | None = None,
        journal: Journal,
        slots: SlotCoordinator,
        on_hungry: Callable[[Queue], None],
        sharing: Sharing | None = None,
    ) -> None:
        """`owner` is the connection an exclusive queue belongs to; `on_hungry` asks the feed to bring messages.

        `sharing` is there when the node is one of a cluster.
        """
        self.vhost = vhost
        self.name = name
        self.queue_id = queue_id
        self.durable = durable
        self.is_stored = durable and owner is None  # an exclusive queue never survives: its connection does not
        self.auto_delete = auto_delete
        self.owner = owner
        self.arguments = arguments
        self.lane = lane
        self.limits = limits or QueueLimits()
        self.journal = journal
        self.slots = slots
        self.on_hungry = on_hungry
        self.sharing = sharing
        self.single_active = False  # only the consumer that came first takes part, on all nodes together
        self.is_active = True  # with `single_active`: that consumer is on this node
        self.remote_ready = 0  # ready messages that are not here, about a second ago
        self.remote_consumers = 0
        self.ready: deque[Message] = deque()
        self.tail = self.ready  # where published messages go: `ready`, or the window while slots exist
        self.bytes = 0  # octets of body in `tail`
        self.consumers: deque[Consumer] = deque()
        self.was_consumed = False
        self.open_slot: Slot | None = None  # the slot that `ready` is being filled from
        self.feeding = False  # a read of it is under way
        self.is_closing = False
        self.last_taken = 0  # no message with a greater id was ever in a consumer's hands
        self.page_floor = 0  # no slot of the window may begin below: what lies there is not all this window's
        self.holds = 0  # transactions that have ids but are not in the queue yet: slots must not close over them

    def __repr__(self) -> str:
        return f"<Queue {self.vhost}:{self.name} ready={self.ready_count} consumers={len(self.consumers)}>"

    # What it holds

    @property
    def ready_count(self) -> int:
        """Messages that no consumer holds, wherever they lie (contract Q1)."""
        if self.tail is self.ready:
            return len(self.ready)
        opened = self.open_slot.count if self.open_slot else 0
        return len(self.ready) + opened + self.slots.count(self.queue_id) + len(self.tail)

    @property
    def message_count(self) -> int:
        """Ready messages on all nodes together."""
        return self.ready_count + self.remote_ready

    @property
    def consumer_count(self) -> int:
        """Consumers on all nodes together."""
        return len(self.consumers) + self.remote_consumers

    @property
    def is_exclusive(self) -> bool:
        return self.owner is not None

    @property
    def is_in_exclusive_use(self) -> bool:
        return any(consumer.is_exclusive for consumer in self.consumers)

    # In

    def append(self, message: Message) -> None:
        """Take a message that was published. Hot: the caller dispatches once per batch."""
        self.tail.append(message)
        self.bytes += len(message.body)
        if message.chunks is not None:
            self.bytes += message.size

    def insert(self, messages: Sequence[Message]) -> None:
        """Take messages whose ids are older than their arrival (a transaction that had to be written first)."""
        if self.tail is not self.ready:  # slots were taken over meanwhile: the window begins after what was in memory
            floor = max(self.last_taken, self.page_floor, *map(_message_id, self.ready), 0)
            begin = min(floor + 1, self.tail[0].id) if self.tail else floor + 1
            older = [message for message in messages if message.id < begin]
            _merge(self.ready, older)
            messages = messages[len(older) :]
        _merge(self.tail, messages)
        self.bytes += sum(map(_weight, messages))

    def requeue(self, messages: Sequence[Message]) -> None:
        """Put delivered messages back where they were (contract B24); they are redelivered from now on."""
        for message in messages:
            message.redelivered = True
        if self.tail is self.ready:
            self.bytes += sum(map(_weight, messages))
        returned = sorted(messages, key=_message_id)
        ready = self.ready
        if ready and returned and returned[-1].id > ready[0].id:
            merged = sorted([*ready, *returned], key=_message_id)
            ready.clear()
            ready.extend(merged)
        else:
            ready.extendleft(reversed(returned))

    def offer(self, messages: Iterable[Message]) -> None:
        """Take messages the feed has read from a slot: they follow what is in `ready`."""
        self.ready.extend(messages)

    # Out

    @property
    def is_behind(self) -> bool:
        """Are there consumers, and more for them than they take now?"""
        return bool(self.consumers and self.ready)

    def dispatch(self) -> None:
        """Give what is ready to the consumers that have credit, in turn (contract B29), then keep memory bounded."""
        ready = self.ready
        consumers = self.consumers if not self.single_active else self.takers
        if not ready and self.tail is not ready:
            self._refill()
        if consumers and ready:
            last = ready[-1].id
            if len(consumers) == 1:
                consumers[0].take(ready, len(ready))
            else:
                self._share_out()
            if ready:
                last = ready[0].id - 1
            if last > self.last_taken:
                self.last_taken = last
        if not ready:
            if self.tail is ready:
                self.bytes = 0
            elif not self.feeding and self._has_hungry_consumer():
                self._refill()
                if ready:
                    self.dispatch()
        elif self.tail is not ready and len(ready) < self.limits.window_size // 2 and self._has_hungry_consumer():
            self._refill()
        if self.bytes > self.limits.memory or len(self.tail) > self.limits.window_size:
            self._page_out()
        if self.sharing is not None:
            self.sharing.after_dispatch(self)

    @property
    def takers(self) -> deque[Consumer]:
        """The consumers that take part: all, or with `single_active` the first one that ever came, if it is here."""
        if not self.single_active:
            return self.consumers
        return deque([self.consumers[0]] if self.is_active and self.consumers else ())

    def _share_out(self) -> None:
        ready = self.ready
        consumers = self.consumers
        without_credit = 0
        while ready and without_credit < len(consumers):
            consumer = consumers[0]
            consumers.rotate(-1)
            if consumer.take(ready, 1):
                without_credit = 0
            else:
                without_credit += 1

    def pop(self) -> Message | None:
        """Take the next message for basic.get, if it is in memory."""
        if not self.ready and self.tail is not self.ready:
            self._refill()
        if not self.ready:
            return None
        message = self.ready.popleft()
        self.last_taken = max(self.last_taken, message.id)
        self.taken(_weight(message))
        return message

    def taken(self, octets: int) -> None:
        """A consumer or a get took messages with `octets` of body from `ready`."""
        if self.tail is self.ready:
            self.bytes -= octets

    def _has_hungry_consumer(self) -> bool:
        return any(consumer.can_take() for consumer in self.takers)

    @property
    def is_hungry(self) -> bool:
        """Would consumers take more than what is here?"""
        has_slots = self.open_slot is not None or self.slots.count(self.queue_id) > 0
        return not has_slots and len(self.ready) < self.limits.window_size // 2 and self._has_hungry_consumer()

    # Paging: memory to slots and back (design §3)

    def _page_out(self) -> None:
        """Close what is too much in memory into slots."""
        limits = self.limits
        tail = self.tail
        if self.is_closing or self.holds or not tail:
            return
        if tail is not self.ready:
            if len(tail) >= limits.window_size or self.bytes > limits.read_ahead_bytes:
                self._submit(tail)
                self.bytes = 0
            return
        footprint = self.bytes + MESSAGE_OVERHEAD * len(tail)
        if footprint > (limits.transient_memory if tail[-1].state == TRANSIENT else limits.memory):
            # A slot is every row of its range: none may belong to a message that a consumer holds, or has given back,
            # because the store does not know of that.
            floor = max(self.last_taken, self.page_floor)
            if tail[-1].id <= floor:
                return
            self.ready = deque(tail.popleft() for _ in range(max(1, len(tail) // 4)))
            while tail and tail[0].id <= floor:
                self.ready.append(tail.popleft())
            self._submit(tail)
            self.tail = deque()
            self.bytes = 0

    def _submit(self, window: deque[Message]) -> None:
        """Turn `window` into slots and forget its messages: the store has them, or gets them now."""
        size = self.limits.window_size
        while window:
            part = [window.popleft() for _ in range(min(size, len(window)))]
            transient = False
            for message in part:
                if message.state == TRANSIENT:
                    transient = True
                    self.journal.spill(message)
            self.slots.submit(
                Slot(self.queue_id, self.lane, part[0].id, part[-1].id, len(part), transient=transient),
            )

    def recover(self, slot: Slot) -> None:
        """Take over what lies in the store since before this node started."""
        self.slots.submit(slot)
        if self.tail is self.ready:
            self.tail = deque()

    def take_over(self, slot: Slot) -> bool:
        """Take a slot from other nodes; return whether newer messages of its lane will be delivered before it."""
        ready = self.ready
        if self.tail is ready:
            if ready and ready[0].id > max(slot.end, self.last_taken, self.page_floor):
                self.ready = deque()  # what is published here is newer: it waits in the window
            else:
                self.tail = deque()
                self.bytes = 0
        self.slots.submit(slot, in_order=True)
        opened = self.open_slot
        if opened is not None and opened.lane == slot.lane and opened.end > slot.start:
            return True
        return any(message.id > slot.start and lane_of(message.id) == slot.lane for message in self.ready)

    def _refill(self) -> None:
        """Bring the next messages into `ready`: from a slot, or from the window when no slot is left."""
        if self.feeding:
            return
        if self.open_slot is not None or self.slots.count(self.queue_id):
            self.feeding = True
            self.on_hungry(self)
            return
        window, self.tail = self.tail, self.ready
        if self.ready:  # read from a slot, or returned: not to be paged out again
            self.page_floor = max(self.page_floor, self.ready[-1].id)
            self.bytes += sum(map(_weight, self.ready))
        self.ready.extend(window)

    # To other nodes

    def give_oldest(self, count: int) -> tuple[list[Message], list[Slot]]:
        """Give about `count` of the oldest messages away: they are not this node's affair any more."""
        messages, slots = self._give(self.ready, count), []
        count -= len(messages)
        while count > 0 and (slot := self._give_slot()) is not None:
            slots.append(slot)
            count -= slot.count
        if count > 0 and self.tail is not self.ready:
            messages += self._give(self.tail, count)
        return messages, slots

    def give_newest(self, count: int) -> tuple[list[Message], list[Slot]]:
        """Give about `count` of the newest messages away."""
        messages, slots = [], []
        if self.tail is not self.ready:
            messages = self._give(self.tail, count, from_end=True)
            count -= len(messages)
            if messages and self.tail:  # what is published from now on must not get into one slot with it
                self._submit(self.tail)
                self.bytes = 0
            while count > 0 and (slot := self.slots.get(self.queue_id, newest=True)) is not None:
                slots.append(slot)
                count -= slot.count
            if count > 0 and self.open_slot is not None:
                slots.append(self.open_slot)
                count -= self.open_slot.count
                self.open_slot = None
        messages += self._give(self.ready, max(count, 0), from_end=True)
        return messages, slots

    def _give(self, part: deque[Message], count: int, *, from_end: bool = False) -> list[Message]:
        pop = part.pop if from_end else part.popleft
        given = [pop() for _ in range(min(count, len(part)))]
        if given:
            self.page_floor = max(self.page_floor, given[0].id, given[-1].id)
            if part is self.tail:
                self.bytes = max(self.bytes - sum(map(_weight, given)), 0)
        return given

    def _give_slot(self) -> Slot | None:
        if self.open_slot is not None:
            slot, self.open_slot = self.open_slot, None
            return slot
        return self.slots.get(self.queue_id)

    # Gone

    def drop_all(self) -> tuple[int, list[Slot]]:
        """Forget every ready message (purge, delete); return how many in memory, and the slots to purge."""
        messages = list(self.ready)
        if self.tail is not self.ready:
            messages += self.tail
        self.ready = deque()
        self.tail = self.ready
        self.bytes = 0
        for message in messages:
            if message.state != TRANSIENT:
                self.journal.settle(message)
        slots = self.slots.forget(self.queue_id)
        if self.open_slot is not None:
            slots.insert(0, self.open_slot)
            self.open_slot = None
        if self.sharing is not None:
            self.sharing.on_dropped(slots)
        return len(messages), slots


def _message_id(message: Message) -> int:
    return message.id


def _merge(part: deque[Message], messages: Sequence[Message]) -> None:
    """Add messages, which ascend by id, at their place."""
    if part and messages and messages[0].id < part[-1].id:
        merged = sorted([*part, *messages], key=_message_id)
        part.clear()
        part.extend(merged)
    else:
        part.extend(messages)


def _weight(message: Message) -> int:
    """Return the octets a message counts for, the same that `append` adds."""
    return len(message.body) or message.size
