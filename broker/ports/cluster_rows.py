"""The rows that the store keeps of a cluster, and the changes that nodes ask for (ADR 17).

`coordination/` decides, `store/` keeps. Every change is a compare-and-set: it names what the node saw, and has no
effect when the row has changed since. `asked_at` and `until` are times of the asking node's monotonic clock; the store
ignores them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from broker.ports.slot import Slot


@dataclass(frozen=True, slots=True)
class Lease:
    """The row of the lease; `holder` is None when it was released or never held."""

    epoch: int
    beat: int
    term: str
    holder: str | None


@dataclass(frozen=True, slots=True)
class Claim:
    """Set lease and fence to the next epoch and `term`, in one transaction, if epoch, beat and term are as `seen`."""

    seen: Lease
    term: str
    asked_at: float
    until: float


@dataclass(frozen=True, slots=True)
class Renew:
    """Add one to the beat of the lease if epoch and term are these."""

    epoch: int
    term: str
    asked_at: float
    until: float


@dataclass(frozen=True, slots=True)
class Resign:
    """Clear the holder of the lease if epoch and term are these; no part waits for the answer."""

    epoch: int
    term: str


class NodeState(Enum):
    """The state in a node's row: it lives, it was evicted, or it left by itself."""

    UP = "UP"
    DEAD = "DEAD"
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True)
class NodeRow:
    """The row of one node. Each start writes a new `incarnation`; a higher `fence` voids writes under a lower one."""

    node_id: str
    incarnation: str
    fence: int
    beat: int
    state: NodeState
    host: str
    port: int
    terms: str = ""
    """What all nodes of a cluster must agree about, in words; empty for a node that does not say."""


@dataclass(frozen=True, slots=True)
class Register:
    """Write this node's row with `incarnation`, beat 0 and the next fence, if incarnation, fence, beat and state are as
    `seen`; None means that there is no row.
    """

    seen: NodeRow | None
    incarnation: str
    asked_at: float
    until: float


@dataclass(frozen=True, slots=True)
class Beat:
    """Add one to this node's beat if it is UP in `incarnation`."""

    incarnation: str
    asked_at: float
    until: float


@dataclass(frozen=True, slots=True)
class Leave:
    """Set this node to STOPPED if it is UP in `incarnation`; no part waits for the answer."""

    incarnation: str


class ChangeType(Enum):
    """The kinds of entries in the timeline, the first three with Andes' numbers (andes §2.2)."""

    MEMBER_ADDED = 1
    MEMBER_REMOVED = 2
    COORDINATOR_CHANGED = 3
    MEMBER_UNREACHABLE = 4
    MEMBER_REACHABLE = 5


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """An entry of the timeline: `member_id` joined, left or became coordinator; then `incarnation` is its term. Or the
    calls of `node_id` to it do not arrive any more, or do again.

    `node_id` is the node that caused the change; None when a coordinator evicted a member and had resigned meanwhile.
    """

    type: ChangeType
    member_id: str
    incarnation: str
    node_id: str | None
    happened_ms: int = field(default=0, compare=False)
    """When that was, by the clock of the database, in milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One incarnation of a node; the store accepts its writes until it is over."""

    node_id: str
    id: str


@dataclass(frozen=True, slots=True)
class SlotRow:
    """A slot as the store has it: message ids `start` to `end` of a queue and lane, and its owner.

    `start` alone identifies a slot, because a message is in at most one. A slot without `owner` is free.
    """

    queue_id: int
    lane: int
    start: int
    end: int
    count: int
    maybe_delivered: bool = False
    transient: bool = False
    owner: Incarnation | None = None


def row_of(slot: Slot, owner: Incarnation | None = None) -> SlotRow:
    """Return the row that the store keeps of `slot`."""
    place = slot.queue_id, slot.lane, slot.start, slot.end, slot.count
    return SlotRow(*place, slot.maybe_delivered, slot.transient, owner)


def slot_of(row: SlotRow) -> Slot:
    """Return the slot that a row describes."""
    return Slot(row.queue_id, row.lane, row.start, row.end, row.count, row.maybe_delivered, row.transient, row.start)


@dataclass(frozen=True, slots=True)
class EventRow:
    """A recorded change of topology: who made it, and its payload, encoded by
    `coordination/replication/event_codec.py`.
    """

    event_id: int
    author: Incarnation
    payload: bytes


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, and the ids of the last and of the oldest event in the store; both 0 when there never was one."""

    last: int
    oldest: int
    events: Sequence[EventRow]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Up to which event a node has applied, and the hash of its topology then."""

    incarnation: Incarnation
    event_id: int
    topology_hash: str
