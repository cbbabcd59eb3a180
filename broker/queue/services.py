"""What a queue tells its node, and what it asks of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeVar

from broker.message import Message
from broker.ports.slot import Slot
from broker.queue.outcome import Outcome

Q_contra = TypeVar("Q_contra", contravariant=True)
"""The core's queue."""


class QueueObserver(Protocol[Q_contra]):
    """Is told what happens to a queue. In a cluster this is the part that balances queues between nodes."""

    def after_dispatch(self, queue: Q_contra) -> None:
        """The queue has delivered what its consumers take now. Hot: called once per batch."""
        ...

    def after_exact_dispatch(self, queue: Q_contra) -> None:
        """Likewise, for a queue whose nodes may not each have more of it than they need: see `Queue.is_exact`."""
        ...

    def on_dropped(self, slots: Sequence[Slot]) -> None:
        """The rest of these slots was purged and will not be read."""
        ...


class Unobserved:
    """The observer of the queues of a standalone node: does nothing."""

    def after_dispatch(self, queue: Any) -> None:
        """Nothing to do: no other node holds messages of the queue."""

    def after_exact_dispatch(self, queue: Any) -> None:
        """Nothing to do, likewise."""

    def on_dropped(self, slots: Sequence[Slot]) -> None:
        """Nothing to do: no other node has handed these slots off."""


UNOBSERVED: Final = Unobserved()


class QueueServices(Protocol[Q_contra]):
    """What a queue asks of its node beside the store."""

    def now_ms(self) -> int:
        """Return the time by which messages live, in milliseconds since 1970."""
        ...

    @property
    def lease_margin(self) -> int:
        """Milliseconds within which a node has heard that a queue was used on another."""
        ...

    def watch(self, queue: Q_contra) -> None:
        """Call `Queue.on_time` at the time that `Queue.next_due` returns: it may have come nearer."""
        ...

    def read_due(self, queue: Q_contra) -> None:
        """Let what has expired in the queue's slots `expire_in_slots`; `QueueSlots.end_reading` when that is done."""
        ...

    def read_groups(self, queue: Q_contra) -> None:
        """Read messages of groups that have none in memory (`GroupedQueue`); `Queue.end_reading` when that is done."""
        ...

    def bury(self, queue: Q_contra, messages: Sequence[Message], outcome: Outcome) -> None:
        """Give messages that have left their queue to its dead-letter exchange, and settle them with that."""
        ...

    def has_room(self, queue: Q_contra) -> bool:
        """May the queue read more messages to bury them? If not, it is dispatched when there is room."""
        ...
