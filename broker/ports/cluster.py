"""The seams of a cluster: what its nodes ask of the store they share, and of each other.

Knows the values that pass through the seams; knows no implementation. Every port has one contract suite in
`tests/contract/`, which every implementation passes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from broker.errors import BrokerError
from broker.message import TRANSIENT, Message
from broker.ports.cluster_rows import (
    Beat,
    Claim,
    Cursor,
    EventPage,
    Incarnation,
    Lease,
    Leave,
    MembershipChange,
    NodeRow,
    Register,
    Renew,
    Resign,
    SlotRow,
)
from broker.ports.peer_calls import Caller, Demand, Fence, Grant, NodeIdentity, QueueCount, QueueName, Supply
from broker.ports.records import Change, Topology
from broker.ports.slot import Slot
from broker.ports.store import Registration

Q_contra = TypeVar("Q_contra", contravariant=True)


class Cluster(Protocol[Q_contra]):
    """The nodes that share the store, as the core of one of them asks them; `Q_contra` is the core's queue.

    A node that has its store for itself asks `NoOtherNodes`, and never whether there is a cluster.
    """

    @property
    def incarnation(self) -> Incarnation:
        """This node as the others know it."""
        ...

    @property
    def recorded(self) -> int:
        """The last event of topology that this node has recorded, 0 before the first."""
        ...

    def is_trusted(self) -> bool:
        """May this node deliver, because no other can have taken over what it has? Hot."""
        ...

    def shares(self, queue: Q_contra) -> bool:
        """Do other nodes serve `queue` too, so that they must know who consumes it?"""
        ...

    async def fetch(self, queue: Q_contra) -> bool:
        """Get ready messages of the queue from other nodes for basic.get; return whether there were any."""
        ...

    async def purge(self, queue: Q_contra) -> int:
        """Delete the queue's ready messages that other nodes have, or none; return how many there were."""
        ...

    def on_read(self, queue: Q_contra, slot: Slot, messages: Sequence[Message], is_end: bool) -> None:
        """These messages of a slot are in memory now; `is_end` when the slot has no more."""
        ...

    def rows_to_come(self, queue: Q_contra) -> Sequence[Slot]:
        """Return where this node may still write rows of a queue that was deleted: they are to be purged after that."""
        ...

    async def record(self, changes: Sequence[Change], is_lasting: Callable[[Change], bool]) -> None:
        """Record those of `changes` that the store or other nodes must know; return when they are on disk.

        `is_lasting` says which of them survive a restart. Whoever calls it applies all changes before anything else can
        happen. Raises `TopologyMoved` when nothing is recorded because other nodes came first.
        """
        ...

    async def announce(self, event_id: int) -> None:
        """Let the other nodes apply events up to this one, as far as they answer."""
        ...


class NoOtherNodes:
    """The cluster of a node that has its store for itself: nobody to ask, and nobody to tell."""

    __slots__ = ("_forget", "_record")

    incarnation = Incarnation("", "")
    recorded = 0

    def __init__(
        self, record: Callable[[Sequence[Change]], Awaitable[None]], forget: Callable[[Message], None]
    ) -> None:
        """`record` is the store's; `forget` is the journal's: it deletes the row of a transient message."""
        self._record = record
        self._forget = forget

    def is_trusted(self) -> bool:
        return True

    def shares(self, queue: object) -> bool:
        return False

    async def fetch(self, queue: object) -> bool:
        return False

    async def purge(self, queue: object) -> int:
        return 0

    def on_read(self, queue: object, slot: Slot, messages: Sequence[Message], is_end: bool) -> None:
        """Transient messages that are back in memory need no row: nobody else will ever read it."""
        for message in messages:
            if message.state == TRANSIENT:
                self._forget(message)

    def rows_to_come(self, queue: object) -> Sequence[Slot]:
        return ()

    async def record(self, changes: Sequence[Change], is_lasting: Callable[[Change], bool]) -> None:
        lasting = [change for change in changes if is_lasting(change)]
        if lasting:
            await self._record(lasting)

    async def announce(self, event_id: int) -> None:
        """Nobody has to be told."""


class TopologyMoved(BrokerError):
    """Other nodes were faster: what they did has been applied, and what was decided must be decided anew."""


class ClusterStore(Protocol):
    """Who coordinates, who is there, and what has changed (reliability.md §3.2–3.4; design §5).

    Every call is one transaction. A bool says whether the row was as the caller had seen it, and so was changed. A call
    waits for no other work of the store and not for long. It raises `StoreUnavailable` when the store gave no answer:
    what was asked may have been done, or may still be. A caller that is cancelled has given up in the same way.
    """

    async def read_lease(self) -> Lease:
        """Return the lease; epoch 0 without a holder when there never was one."""
        ...

    async def claim(self, claim: Claim, node_id: str, thrift_host: str, thrift_port: int) -> bool:
        """Make `node_id` the holder, served at this address, and let the fence pass nobody else from now on."""
        ...

    async def renew(self, renew: Renew, node_id: str) -> bool:
        """Move the lease's beat on while `node_id` holds it in that term."""
        ...

    async def resign(self, resign: Resign, node_id: str) -> None:
        """Release the lease if `node_id` holds it in that term; the fence stays until the next claim."""
        ...

    async def own_row(self, node_id: str) -> NodeRow | None:
        """Return the row of `node_id`, None when there never was one."""
        ...

    async def register_node(self, register: Register, node_id: str, host: str, port: int) -> bool:
        """Begin the incarnation `register.incarnation` of `node_id`, which others reach at this address."""
        ...

    async def beat(self, beat: Beat, node_id: str) -> bool:
        """Move the beat of `node_id` on while it is UP in that incarnation."""
        ...

    async def leave(self, leave: Leave, node_id: str) -> None:
        """End that incarnation of `node_id` if it is UP: STOPPED, with the next fence."""
        ...

    async def nodes(self) -> Sequence[NodeRow]:
        """Return the rows of all nodes there ever were, by id, as of one moment."""
        ...

    async def evict(self, row: NodeRow, epoch: int, term: str) -> bool:
        """Set a node to DEAD, with the next fence, if it is UP and its incarnation and beat are as in `row`.

        False only when the fence refuses this epoch and term: there is a newer coordinator. A node that has beaten
        since, or was evicted already, is left as it is, and that is True.
        """
        ...

    async def timeline(self, limit: int) -> Sequence[MembershipChange]:
        """Return the last changes, newest first; each was written in the transaction that made it."""
        ...


class SlotStore(Protocol):
    """Slots that left the node that published them: each has at most one owner (design §3; reliability.md §3.4).

    The messages of a lane that lie in no slot belong to the node of that lane. Every call is one transaction. It raises
    `StoreUnavailable` when the store gave no answer: what was asked may have been done. Where `incarnation` acts, it
    raises `Evicted` when that incarnation is over; where a `fence` is named, `Fenced` when there is a newer
    coordinator.
    """

    async def slots(self) -> Sequence[SlotRow]:
        """Return all slots, by queue, lane and start."""
        ...

    async def owned(self, incarnation: Incarnation) -> Sequence[SlotRow]:
        """Return the slots of `incarnation`."""
        ...

    async def fence(self) -> Fence:
        """Return the fence as it is: who claims slots by itself names it (reliability.md §3.9)."""
        ...

    async def assign(self, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> Sequence[SlotRow]:
        """Make `incarnation` the owner of those of `rows` that are free and have the same start and end; return these,
        owned.

        An incarnation that is over is given none. Repeating it after a lost answer returns what `incarnation` owns
        already.
        """
        ...

    async def cut(
        self, removed: Sequence[int], kept: Sequence[Slot], given: Sequence[Slot], incarnation: Incarnation
    ) -> Sequence[SlotRow]:
        """Replace the slots of `incarnation` that start at `removed` by `kept`, its own, and `given`, free.

        With nothing `removed`, messages of the node's own lane become slots. Returns the free ones. Repeating it after
        a lost answer changes nothing more.
        """
        ...

    async def finish(self, starts: Sequence[int], incarnation: Incarnation) -> Sequence[int]:
        """Delete those of the slots of `incarnation` of which no message is left; return their starts."""
        ...

    async def purge(self, queue_id: int) -> int:
        """Delete every free slot of the queue with its messages; return how many messages there were."""
        ...

    async def window(self, lane: int, size: int) -> Sequence[Slot]:
        """Return slots of about `size` messages for all of a lane that lies in none: what its node goes on with."""
        ...

    async def reclaim(self, fence: Fence, size: int) -> int:
        """Free the slots of incarnations that are over, and cut what lies in no slot of lanes where nobody lives into
        free slots of about `size` messages (for large backlogs more); return how many slots were freed or made.

        They are `maybe_delivered`, but for the lane of a node that left in order and had given everything back.
        """
        ...


class EventStore(Protocol):
    """Topology as a cluster's nodes change it together: every change is an event (design §5, reliability.md §3.10)."""

    async def record(
        self, changes: Sequence[Change], payload: bytes, *, expected: int, token: str, incarnation: Incarnation
    ) -> bool:
        """Record `changes`, and as the event `expected` + 1 their `payload`, if `expected` is the last event there is.

        True also when this was done before under `token`, which no other change has. False when others were faster:
        read their events and decide again. Raises `Evicted` when that incarnation is over.
        """
        ...

    async def events(self, after: int, limit: int) -> EventPage:
        """Return the events that follow `after`, ascending and without a gap, at most `limit` of them."""
        ...

    async def load(self) -> tuple[Topology, int]:
        """Return all that is recorded, durable or not, and the last event that is in it."""
        ...

    async def note_cursor(self, incarnation: Incarnation, event_id: int, topology_hash: str) -> None:
        """Record how far this node has applied events, and the hash of what it has then."""
        ...

    async def cursors(self) -> Sequence[Cursor]:
        """Return the cursors of all nodes whose incarnation is not over."""
        ...

    async def prune(self, keep: int) -> int:
        """Delete all but the last `keep` events; return how many were deleted."""
        ...


class MemberStore(Protocol):
    """What a node of a cluster does instead of `NodeStore.register` and `resign`."""

    async def join(self, incarnation: Incarnation) -> Registration:
        """Begin to write messages in `incarnation`, which must be UP; raises `Evicted` when it is not.

        When no other node is UP, what must not survive goes: queues and exchanges that are not durable, subscriptions,
        transient messages. From here on batches carry the incarnation of `incarnation`; they fail when it is over,
        which `ClusterStore.evict`, `leave` and `register_node` bring about.
        """
        ...

    async def coordinator_address(self) -> tuple[str, int, Fence] | None:
        """Return where the holder of the lease answers, and its epoch and term; None when nobody holds it."""
        ...


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

    async def await_slots(self, demands: Sequence[Demand], wait_ms: int, caller: Caller) -> Supply:
        """Return when there are slots for the caller or others want its messages, at the latest after `wait_ms`."""
        ...

    async def push_events(self, last_event_id: int, caller: Caller) -> int:
        """Learn that topology events up to this id exist; return the last one applied, once this one is."""
        ...

    async def hint_resigned(self, resigned: Fence, caller: Caller) -> None:
        """Learn that this coordinator has resigned: nobody need wait for its lease to run out."""
        ...

    async def ping(self, caller: Caller) -> NodeIdentity:
        """Say who answers at this address."""
        ...

    async def release(self, queue: QueueName, messages: int, caller: Caller) -> int:
        """Close up to about `messages` ready ones that this node's own consumers do not take now into slots that nobody
        owns, and return how many they are; 0 when there are none.
        """
        ...

    async def purge_queue(self, queue: QueueName, caller: Caller) -> int:
        """Delete every ready message of the queue that lies on this node, and return how many there were."""
        ...

    async def exchange_counts(self, counts: Sequence[QueueCount], caller: Caller) -> Sequence[QueueCount]:
        """Note what lies on the caller and who consumes there; return the sums over all other nodes and free slots."""
        ...
