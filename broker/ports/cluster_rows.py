"""What the store keeps of a cluster, and what its nodes ask it to change there (reliability.md §3.3–3.4).

Knows values only: who decides is in `coordination/`, who keeps is in `store/`. Every change is a compare-and-set: it
names what was seen, and changes nothing when that is not so any more. `asked_at` and `until` are of the asking node's
monotonic clock and no business of the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    """Take lease and fence to the next epoch and to `term`, in one transaction, where epoch, beat and term are as
    `seen`.
    """

    seen: Lease
    term: str
    asked_at: float
    until: float


@dataclass(frozen=True, slots=True)
class Renew:
    """Add one to the beat of the lease where epoch and term are these."""

    epoch: int
    term: str
    asked_at: float
    until: float


@dataclass(frozen=True, slots=True)
class Resign:
    """Set the holder of the lease to nobody where epoch and term are these; the answer is of no interest."""

    epoch: int
    term: str


class NodeState(Enum):
    """What a node's row says: it lives, it was evicted, or it left by itself."""

    UP = "UP"
    DEAD = "DEAD"
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True)
class NodeRow:
    """The row of one node; a new `incarnation` is a new incarnation of it, a higher `fence` voids all that came
    before.
    """

    node_id: str
    incarnation: str
    fence: int
    beat: int
    state: NodeState
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Register:
    """Write this node's row with `incarnation`, beat 0 and the next fence, where incarnation, fence, beat and state are
    as `seen`; None: where there is no row.
    """

    seen: NodeRow | None
    incarnation: str
    asked_at: float
    until: float


@dataclass(frozen=True, slots=True)
class Beat:
    """Add one to this node's beat where it is UP in `incarnation`."""

    incarnation: str
    asked_at: float
    until: float


@dataclass(frozen=True, slots=True)
class Leave:
    """Set this node to STOPPED where it is UP in `incarnation`; the answer is of no interest."""

    incarnation: str


class ChangeType(Enum):
    """What an entry of the timeline tells, numbered as in Andes (andes.md §2.2)."""

    MEMBER_ADDED = 1
    MEMBER_REMOVED = 2
    COORDINATOR_CHANGED = 3


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """An entry of the timeline: the member that changed, in the incarnation `incarnation` or, as coordinator, in that
    term.

    `node_id` is who brought it about; None when a coordinator that evicted had resigned meanwhile.
    """

    type: ChangeType
    member_id: str
    incarnation: str
    node_id: str | None


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One incarnation of a node: what it writes counts until that is over."""

    node_id: str
    id: str


@dataclass(frozen=True, slots=True)
class SlotRow:
    """A slot as the store has it: message ids `start` to `end` of a queue and lane, and whose they are.

    `start` alone names a slot, because a message is in one slot at most. Without an `owner` it is free.
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
    """Return what the store keeps of `slot`."""
    place = slot.queue_id, slot.lane, slot.start, slot.end, slot.count
    return SlotRow(*place, slot.maybe_delivered, slot.transient, owner)


def slot_of(row: SlotRow) -> Slot:
    """Return the slot that a row describes."""
    return Slot(row.queue_id, row.lane, row.start, row.end, row.count, row.maybe_delivered, row.transient, row.start)


@dataclass(frozen=True, slots=True)
class EventRow:
    """A recorded change of topology, by whom, and what it is, in the words of `coordination/event_codec.py`."""

    event_id: int
    author: Incarnation
    payload: bytes


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, and the ids of the last and of the oldest one that is kept; both 0 when there never was one."""

    last: int
    oldest: int
    events: Sequence[EventRow]


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a node has applied events, and the hash of its topology then."""

    incarnation: Incarnation
    event_id: int
    topology_hash: str
