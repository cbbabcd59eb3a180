"""Values of the calls between nodes (ADR 19): who calls, under which coordinator's fence, and for which queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.errors import CoordinationError
from broker.message import weight_of
from broker.ports.slot import Slot


@dataclass(frozen=True, slots=True)
class Fence:
    """The epoch and term of the coordinator under which a call or answer is valid; epoch 0 when none is known
    (invariant I51).
    """

    epoch: int = 0
    term: str = ""


@dataclass(frozen=True, slots=True)
class QueueName:
    """A storage queue as nodes name it to each other. Andes knows `name` alone; then `queue_id` is 0."""

    name: str
    queue_id: int = 0


@dataclass(frozen=True, slots=True)
class Caller:
    """The calling node, its incarnation, the call's id, and the coordinator that the node knows.

    A repeated call with the same `request_id` changes nothing more and gets the first answer. `callee` is the
    incarnation that the call is for, empty for whoever answers: an address may lead to another node. All but `node_id`
    is empty when the caller knows only Andes' part of the service. `session` counts the sessions of long polls that the
    incarnation has begun, and `poll` the polls of this session: one that comes after a later one is refused.
    """

    node_id: str
    incarnation: str = ""
    request_id: str = ""
    fence: Fence = Fence()
    callee: str = ""
    session: int = 0
    poll: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """A slot that is assigned to a node, and the fence of the coordinator that assigned it."""

    queue: QueueName
    slot: Slot
    node_id: str
    fence: Fence = Fence()
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Demand:
    """How many messages of a queue a node wants, and the highest priority of the consumers that would take them."""

    queue: QueueName
    messages: int
    priority: int = 0


@dataclass(frozen=True, slots=True)
class FiguresPage:
    """Figures of a node: an array of JSON, and the place in the whole list where it goes on; 0 at its end."""

    rows: bytes
    next: int = 0


GRANTS_PER_SUPPLY: Final = 256
"""The most slots in one answer of a long poll; the rest comes with the next one."""


@dataclass(frozen=True, slots=True)
class Supply:
    """The answer of a long poll: slots for the caller, and other nodes' demand for the caller's messages.

    `number` grows from answer to answer that tells of such demand: they may arrive in another order.
    """

    grants: tuple[Grant, ...] = ()
    remote_demand: tuple[Demand, ...] = ()
    fence: Fence = Fence()
    number: int = 0


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
    """No answer came; whether the call was carried out is unknown."""


@dataclass(frozen=True, slots=True)
class QueueCount:
    """How many ready messages and consumers a queue has on one or more nodes, and when a client used it there last.

    `used_at` is in milliseconds since 1970, by the store's time; 0 for a queue without a lease (`x-expires`). `octets`
    are those of the bodies of the ready messages, of a queue that may have only so many; otherwise 0.
    """

    queue_id: int
    ready: int
    consumers: int
    used_at: int = 0
    octets: int = 0


@dataclass(slots=True)
class Reply:
    """A message for the channel that consumes replies at `address`: `amq.rabbitmq.reply-to.` and its opaque part.

    `routing`, `header`, `body` and `chunks` are as those of a `Message`.
    """

    vhost: str
    address: str
    routing: bytes
    header: bytes
    body: bytes
    chunks: list[bytes] | None

    @property
    def weight(self) -> int:
        """Octets of memory that it occupies."""
        return weight_of(self.routing, self.header, self.body, self.chunks)


@dataclass(frozen=True, slots=True)
class ReplyPart:
    """A reply between nodes, or a piece of one that is too large for one call.

    `header` is the payload of the content header frame, which says how long the whole body is; empty in a piece that
    continues the reply before. `body` is the body, or the next octets of it.
    """

    vhost: str
    address: str
    routing: bytes
    header: bytes
    body: bytes
