"""The slots of one queue, as those see them who read them and who share them out between nodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from broker.message import Message
from broker.ports.slot import Slot
from broker.queue.window import Window


class QueueSlots:
    """The slots of one queue on this node, and what is in them."""

    __slots__ = ("_window",)

    def __init__(self, window: Window) -> None:
        self._window = window

    # What there is

    @property
    def count(self) -> int:
        """Slots on this node with messages that are not in memory."""
        return self._window.slot_count

    @property
    def paged(self) -> list[Slot]:
        """The slots of messages that are in the store alone, oldest first."""
        window = self._window
        return [slot for slot in (window.open_slot, *window.slots) if slot is not None]

    @property
    def opened(self) -> Slot | None:
        """The slot that is being read."""
        return self._window.open_slot

    @property
    def last_taken(self) -> int:
        """An upper bound of the ids that were ever delivered on this node."""
        return self._window.last_taken

    def oldest_id(self, held: Iterable[int]) -> int | None:
        """Return an id below which this node has no message of the queue; `held` are the ids that clients hold. None
        when it has no message at all.
        """
        window = self._window
        if window.has_slots:
            return 0
        window.put_in_order()
        return min([*(part[0].id for part in (window.ready, window.tail) if part), *held], default=None)

    # Reading

    @property
    def is_reading(self) -> bool:
        """Is a read of a slot under way?"""
        return self._window.is_reading

    def begin_reading(self) -> None:
        """Somebody else reads from the store what this queue has in slots: `refill` waits for `end_reading`."""
        self._window.is_reading = True

    def end_reading(self) -> None:
        """The read that was asked for, or `begin_reading`, is over, with or without messages."""
        self._window.is_reading = False

    def open_next(self) -> Slot | None:
        """Return the slot to read from: the open one, or else the oldest; None when there is none."""
        return self._window.open_next_slot()

    def on_read(self, slot: Slot, messages: Sequence[Message], fresh: Sequence[Message] | None = None) -> bool:
        """`messages` of the open slot were read, and are in memory now, or only the `fresh` ones of them; return
        whether nothing of it is left to read.
        """
        return self._window.on_read(slot, messages, fresh)

    def offer(self, messages: Sequence[Message]) -> None:
        """Add messages that were read from a slot behind those that are ready in memory."""
        self._window.offer(messages)

    def spent(self, limit: int) -> list[Slot]:
        """Return slots of which nothing is left as far as this node knows, `limit` at most."""
        return self._window.spent_slots(limit)

    # Transactions

    def begin_transaction(self) -> None:
        """A transaction has given ids to messages for this queue: no slot may cover them until `end_transaction`."""
        self._window.open_transactions += 1

    def end_transaction(self) -> None:
        """The transaction's messages are inserted now, or will never be."""
        self._window.open_transactions -= 1

    # Between nodes

    def unmeasured(self) -> list[Slot]:
        """Return the slots whose octets the queue must know and does not; answer with `on_measured`."""
        return self._window.unmeasured()

    def on_measured(self, slot: Slot, start: int, octets: int) -> None:
        """The bodies in a slot, from the message `start` on, have so many octets. The caller dispatches then."""
        self._window.on_measured(slot, start, octets)

    def take_oldest(self, count: int) -> tuple[list[Message], list[Slot]]:
        """Remove and return about `count` of the oldest ready messages, for another node."""
        return self._window.take_oldest(count)

    def take_newest(self, count: int) -> tuple[list[Message], list[Slot]]:
        """Remove and return about `count` of the newest ready messages, for another node."""
        return self._window.take_newest(count)

    def take_delivered(self) -> list[Slot]:
        """Remove all slots, and return those that may hold messages that were delivered. The node stops: nothing is
        read from them any more.
        """
        window = self._window
        slots = (window.open_slot, *window.slots.clear())
        return [slot for slot in slots if slot is not None and slot.maybe_delivered]
