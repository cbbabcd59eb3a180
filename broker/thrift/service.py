"""What nodes ask of each other, in this broker's words: values, errors and the port of the slot service (design §5).

Knows slots and names of queues and nodes; knows neither Thrift nor a socket, neither who answers nor how.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from broker.errors import CoordinationError
from broker.slot import Slot


@dataclass(frozen=True, slots=True)
class Fence:
    """Whose power a call or an answer stands on; epoch 0 when nobody's is known (reliability.md §3.4)."""

    epoch: int = 0
    term: str = ""


@dataclass(frozen=True, slots=True)
class QueueName:
    """A storage queue as nodes name it to each other. Andes knows `name` alone; then `queue_id` is 0."""

    name: str
    queue_id: int = 0


@dataclass(frozen=True, slots=True)
class Caller:
    """The node that calls, its life, the call's id, and whom it takes for the coordinator.

    Repeating a call with its `request_id` changes nothing more and is answered as the first time. All but `node_id` is
    empty when the caller knows Andes' part of the service only.
    """

    node_id: str
    incarnation: str = ""
    request_id: str = ""
    fence: Fence = Fence()


@dataclass(frozen=True, slots=True)
class Grant:
    """A slot that is assigned to a node, and the coordinator who did it."""

    queue: QueueName
    slot: Slot
    node_id: str
    fence: Fence = Fence()
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Demand:
    """So many messages of a queue are wanted."""

    queue: QueueName
    messages: int


@dataclass(frozen=True, slots=True)
class Supply:
    """The answer of a long poll: slots for the caller, and queues of which others want the caller's messages."""

    grants: tuple[Grant, ...] = ()
    wanted_elsewhere: tuple[Demand, ...] = ()
    fence: Fence = Fence()


@dataclass(frozen=True, slots=True)
class Identity:
    """The node that answers, its life, and whom it takes for the coordinator."""

    node_id: str
    incarnation: str
    fence: Fence = Fence()


@dataclass(frozen=True, slots=True)
class Hint:
    """Where the coordinator of `epoch` listens."""

    host: str
    port: int
    epoch: int = 0


class NotCoordinator(CoordinationError):
    """The node that was asked is not the coordinator; `hint` says who is, if it knows."""

    def __init__(self, text: str, hint: Hint | None = None) -> None:
        super().__init__(text)
        self.hint = hint


class Unauthorized(CoordinationError):
    """The two nodes do not share a secret."""


class Unavailable(CoordinationError):
    """The node that was asked cannot do it now; the same call may succeed later."""


class PeerUnreachable(CoordinationError):
    """No answer came, so nobody knows whether the call was done."""


class SlotService(Protocol):
    """The coordinator, as the other nodes see it, and what every node answers.

    Every call may raise `NotCoordinator`, `Unauthorized` and `Unavailable`, and `PeerUnreachable` when the service is
    on another node. Every call may be repeated.
    """

    async def get_slot(self, queue: QueueName, caller: Caller) -> Grant | None:
        """Assign the oldest slot of the queue to the caller, or return None if there is none."""
        ...

    async def submit_slot(self, queue: QueueName, slot: Slot, local_safe_zone: int, caller: Caller) -> None:
        """Take over a closed window: its messages are in the store."""
        ...

    async def delete_slot(self, queue: QueueName, slot: Slot, caller: Caller) -> bool:
        """Forget a slot that is empty; False when it must be asked again later."""
        ...

    async def return_slots(self, queue: QueueName, caller: Caller) -> None:
        """Take back every slot of the queue that the caller was assigned to."""
        ...

    async def exchange_safe_zones(self, message_id: int, caller: Caller) -> int:
        """Note the smallest id that the caller may still submit, and return the smallest of all nodes."""
        ...

    async def clear_slots(self, queue: QueueName, caller: Caller) -> None:
        """Forget every slot of the queue: it was purged."""
        ...

    async def check_health(self) -> bool:
        """Answer. Any node does, also one that is not the coordinator."""
        ...

    async def await_slots(self, hungry: Sequence[Demand], wait_ms: int, caller: Caller) -> Supply:
        """Return when there are slots for the caller or others want its messages, at the latest after `wait_ms`."""
        ...

    async def push_events(self, last_event_id: int, caller: Caller) -> int:
        """Learn that topology events up to this id exist; return the last one applied, once this one is."""
        ...

    async def hint_resigned(self, resigned: Fence, caller: Caller) -> None:
        """Learn that this coordinator has resigned: nobody need wait for its lease to run out."""
        ...

    async def ping(self, caller: Caller) -> Identity:
        """Say who answers at this address."""
        ...
