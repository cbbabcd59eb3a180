"""A message as it is in one queue, and where its id comes from.

A message keeps its wire bytes; they are decoded only on demand. A *tail* is a frame without its first three octets
(type and channel), that is size, payload and end octet: the part that is the same on every channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

FRAME_END: Final = b"\xce"

MESSAGE_OVERHEAD: Final = 512
"""Approximate octets of memory that a message costs beside its frames: objects, and places in the tables it is in."""
_CHUNK_OVERHEAD: Final = 64
_CLAIM_OVERHEAD: Final = 512
_SHARED_BODY: Final = 1024
"""Octets from which a body of several stored messages is stored once instead of once for each."""
_TEXT: Final = ("utf-8", "surrogateescape")

# The states of a message towards the store, in the order in which it can pass them. From STORED on it may be confirmed
# to its publisher: its row is committed, or a consumer has settled it, or it is transient.
PENDING: Final = 0  # in the journal, not yet handed to the store
WRITING: Final = 1  # in the batch that the store is committing now
STORED: Final = 2  # its row is committed
SETTLED: Final = 3  # final: no row exists, or its row's delete is on the way
WRITING_SETTLED: Final = 4  # settled while its batch was being committed: the row must be deleted after that
TRANSIENT: Final = 5  # has no row, unless its queue is paged out

MOST_DELIVERIES: Final = 32_767
"""The largest number of deliveries that is told apart: what the store's column can keep."""


class StorageQueue(Protocol):
    """What a message and the store need to know of a queue."""

    @property
    def queue_id(self) -> int: ...

    @property
    def is_stream(self) -> bool:
        """Do its messages have offsets, and stay when they are read?"""
        ...


class Message:
    """One message in one queue. A message routed to several queues is cloned; clones share their bytes.

    `routing` is the exchange and routing key as two short strings, as published. `header` is the tail of the content
    header frame. `body` is the tail of the only body frame, or empty; a body of more frames is in `chunks`.
    `content_id` names the shared or chunked content in the store, 0 when the body lies in the message's own row.
    `redelivered` is how often the message was or may have been delivered before. A queue that does not count deliveries
    (`QueueSettings.counts_deliveries`) tells only 0 from more.
    `due` is when it expires by its own property `expiration`, in milliseconds since 1970; 0 without one.
    `weight` is how many octets of memory the message occupies. Every bound of memory counts it. A clone weighs as much
    as if it had its bytes alone: which of the clones will stay longest, nobody knows.
    """

    __slots__ = (
        "body",
        "chunks",
        "confirms",
        "consumer",
        "content_id",
        "due",
        "header",
        "id",
        "queue",
        "redelivered",
        "routing",
        "sequence",
        "state",
        "weight",
    )

    consumer: Any
    confirms: Any
    sequence: int

    def __init__(
        self,
        message_id: int,
        queue: StorageQueue,
        routing: bytes,
        header: bytes,
        body: bytes,
        chunks: list[bytes] | None,
        state: int,
    ) -> None:
        self.id = message_id
        self.queue = queue
        self.routing = routing
        self.header = header
        self.body = body
        self.chunks = chunks
        self.state = state
        self.content_id = 0
        self.due = 0
        self.redelivered = 0
        self.confirms = None
        self.weight = (
            MESSAGE_OVERHEAD + len(routing) + len(header) + len(body)
            if chunks is None
            else weight_of(routing, header, body, chunks)
        )

    @property
    def size(self) -> int:
        """Octets of the body."""
        if self.chunks is None:
            return len(self.body) - 5 if self.body else 0
        return sum(map(len, self.chunks)) - 5 * len(self.chunks)

    @property
    def header_payload(self) -> bytes:
        """The content header frame's payload: class id, weight, body size, flags, properties (0-9-1 §4.2.6.1)."""
        return self.header[4:-1]

    @property
    def payload(self) -> bytes:
        """The whole body."""
        if self.chunks is None:
            return self.body[4:-1]
        return b"".join(chunk[4:-1] for chunk in self.chunks)

    @property
    def is_persistent(self) -> bool:
        return self.state != TRANSIENT

    if TYPE_CHECKING:

        def __repr__(self) -> str: ...

    else:

        def __repr__(self):
            return f"<Message {self.id} state={self.state} redelivered={self.redelivered} size={self.size}>"


class KeyClaim(NamedTuple):
    """A key of de-duplication that a message asks for (ADR 66).

    `scope` is the queue or exchange in which the key is one, `digest` stands for the key (`ports/keys.py`). `owner` is
    the id of the message that the key belongs to; of one publish that an exchange sends to several queues, that of the
    first. Times are in milliseconds since 1970.
    """

    scope: int
    digest: str
    owner: int
    now: int
    """When the message was published."""
    until: int
    """How long the key is remembered; 0: as long as the message `owner` is in its queue."""
    is_binding: bool = True
    """Is the message left out when the key belongs to another? If not, the key is its own only if it is free."""
    keep: int = 0
    """About how many keys the scope remembers; 0 for any number."""

    @property
    def place(self) -> tuple[int, str]:
        return self.scope, self.digest


class KeyedMessage(Message):
    """A message that asks for keys, in the order of its way: it is in its queue if it gets all of them.

    Until `is_decided`, which the store does, no consumer gets it. One that is left out is SETTLED then.
    """

    __slots__ = ("claims", "is_decided")

    def __init__(
        self,
        message_id: int,
        queue: StorageQueue,
        routing: bytes,
        header: bytes,
        body: bytes,
        chunks: list[bytes] | None,
        state: int,
    ) -> None:
        super().__init__(message_id, queue, routing, header, body, chunks, state)
        self.claims: tuple[KeyClaim, ...] = ()
        self.is_decided = False
        self.weight += _CLAIM_OVERHEAD


def routing_of(routing: bytes) -> tuple[str, str]:
    """Return exchange and routing key from `Message.routing`."""
    end = 1 + routing[0]
    return str(routing[1:end], *_TEXT), str(routing[end + 1 :], *_TEXT)


def share_body(stored: Sequence[Message]) -> None:
    """Let several messages, which are to be stored and have one body, share it in the store, if it is not small."""
    if len(stored) > 1 and (len(stored[0].body) > _SHARED_BODY or stored[0].chunks is not None):
        for message in stored:
            message.content_id = stored[0].id


def once_more(deliveries: int) -> int:
    """Return the number of deliveries after one more."""
    return deliveries + 1 if deliveries < MOST_DELIVERIES else MOST_DELIVERIES


def weight_of(routing: bytes, header: bytes, body: bytes, chunks: list[bytes] | None) -> int:
    """Return how many octets of memory a message with these frames occupies."""
    frames = (routing, header, body, *(chunks or ()))
    return MESSAGE_OVERHEAD + sum(map(len, frames)) + _CHUNK_OVERHEAD * len(chunks or ())


def tail(payload: bytes) -> bytes:
    """Return the frame tail that carries `payload`."""
    return len(payload).to_bytes(4, "big") + payload + FRAME_END


def body_tails(payload: bytes, frame_max: int) -> tuple[bytes, list[bytes] | None]:
    """Return `(body, chunks)` for a `Message`, in frames of at most `frame_max` octets with their eight of envelope."""
    room = frame_max - 8
    if not payload:
        return b"", None
    if len(payload) <= room:
        return tail(payload), None
    return b"", [tail(payload[start : start + room]) for start in range(0, len(payload), room)]


_EPOCH_MS: Final = 1_292_976_000_000  # 2010-12-22 UTC, the reference of Andes' message ids (andes §4.1)
COUNTER_MASK: Final = (1 << 10) - 1
_MILLISECOND: Final = 1 << 18


def published_ms(message_id: int) -> int:
    """Return when a message with this id came into its queue, in milliseconds since 1970."""
    return (message_id >> 18) + _EPOCH_MS


def first_id_at(wall_ms: int) -> int:
    """Return an id that is smaller than those of messages that come at this time, and greater than all before."""
    return (wall_ms - _EPOCH_MS) << 18


def ids_between(first: int, last: int) -> int:
    """Return how many ids of one lane follow `first` up to `last`, if they were taken one after the other."""
    return ((last >> 18) - (first >> 18)) * (COUNTER_MASK + 1) + (last & COUNTER_MASK) - (first & COUNTER_MASK)


def lane_of(message_id: int) -> int:
    """Return the lane of the node that made this id."""
    return message_id >> 10 & 255


class MessageIdGenerator:
    """Generates the ids of one lane: 45 bits of milliseconds since 2010-12-22, 8 bits of lane, 10 bits of counter.

    Ids only grow: when the clock stands still or steps back, or the 1024 numbers of a millisecond are used up, the next
    id is one greater than the last and runs ahead of the clock.
    """

    __slots__ = ("_lane_bits", "last", "now_ms")

    def __init__(self, lane: int, last: int = 0) -> None:
        """Continue `lane` (0 to 255) after `last`, the highest id it may already have used."""
        if not 0 <= lane <= 255:
            raise ValueError(f"lane {lane} is not between 0 and 255")
        self._lane_bits = lane << 10
        self.last = (last >> 18 << 18) + self._lane_bits + (COUNTER_MASK if last else 0)
        self.now_ms = 0
        """When the current batch came, in milliseconds since 1970: ids may be ahead of it."""

    def advance(self, wall_ms: int) -> None:
        """Make the next id carry the time `wall_ms`, unless the lane is already past it. Call once per batch."""
        self.now_ms = wall_ms
        base = ((wall_ms - _EPOCH_MS) << 18) + self._lane_bits
        if base > self.last:
            self.last = base

    def next(self) -> int:
        """Return an id greater than every one before."""
        following = self.last + 1
        if not following & COUNTER_MASK:
            following += _MILLISECOND - COUNTER_MASK - 1
        self.last = following
        return following

    def see(self, message_id: int) -> None:
        """Make every further id greater than this one of another lane."""
        if message_id > self.last:
            self.last = (message_id >> 18 << 18) + self._lane_bits + COUNTER_MASK
