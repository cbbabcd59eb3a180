"""What nodes ask of each other, as values (design §5): who calls, on whose power, and for which queue.

Knows slots and names of queues and nodes; knows neither Thrift nor a socket, neither who answers nor how.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.errors import CoordinationError
from broker.ports.slot import Slot


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
    """The node that calls, its incarnation, the call's id, and whom it takes for the coordinator.

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


GRANTS_PER_SUPPLY: Final = 256
"""The most slots that one answer of a long poll tells of; what is left over comes with the next one."""


@dataclass(frozen=True, slots=True)
class Supply:
    """The answer of a long poll: slots for the caller, and queues of which others want the caller's messages."""

    grants: tuple[Grant, ...] = ()
    remote_demand: tuple[Demand, ...] = ()
    fence: Fence = Fence()


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """The node that answers, its incarnation, and whom it takes for the coordinator."""

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


@dataclass(frozen=True, slots=True)
class QueueCount:
    """How many ready messages and consumers a queue has somewhere."""

    queue_id: int
    ready: int
    consumers: int
