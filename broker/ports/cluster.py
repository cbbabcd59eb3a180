"""The ports of a cluster: what a node asks of the shared store and of the other nodes.

Every port has one contract suite in `tests/contract/`, which every implementation passes.
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
    EventRow,
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
from broker.ports.peer_calls import (
    Caller,
    Demand,
    Fence,
    FiguresPage,
    Grant,
    QueueCount,
    QueueName,
    Reply,
    ReplyPart,
    Supply,
)
from broker.ports.records import Change, Topology
from broker.ports.slot import Slot
from broker.ports.store import Registration

Q_contra = TypeVar("Q_contra", contravariant=True)


class Cluster(Protocol[Q_contra]):
    """The nodes that share the store, as the core of one of them sees them; `Q_contra` is the core's queue.

    The core of a standalone node has `NoOtherNodes` instead, so it never asks whether there is a cluster.
    """

    @property
    def incarnation(self) -> Incarnation:
        """This node's incarnation, by which other nodes know it."""
        ...

    @property
    def recorded(self) -> int:
        """The id of the last topology event that this node recorded, 0 before the first."""
        ...

    @property
    def lease_margin(self) -> int:
        """Milliseconds within which this node has heard that a queue was used on another."""
        ...

    def is_trusted(self) -> bool:
        """May this node deliver, because no other node can have taken over its messages? Hot."""
        ...

    def shares(self, queue: Q_contra) -> bool:
        """Do other nodes serve `queue` too, so that they must know its consumers on this node?"""
        ...

    async def fetch(self, queue: Q_contra) -> bool:
        """Get ready messages of the queue from other nodes for basic.get; return whether there were any."""
        ...

    async def purge(self, queue: Q_contra) -> int:
        """Delete the queue's ready messages that are free or on other nodes; return how many there were."""
        ...

    async def has_unseen(self, queue: Q_contra) -> bool:
        """Has the store messages of the queue that nobody can tell of, because other nodes cannot be asked?"""
        ...

    def on_read(self, queue: Q_contra, slot: Slot, messages: Sequence[Message], is_end: bool) -> None:
        """`messages` of `slot` are in memory now; `is_end` when the slot has no more."""
        ...

    def rows_to_come(self, queue: Q_contra) -> Sequence[Slot]:
        """Return the slots in which this node may still write rows of a deleted queue; they are purged after that."""
        ...

    @property
    def records_all(self) -> bool:
        """Must changes be recorded whose effect does not survive a restart, because other nodes must know them?"""
        ...

    async def record(self, changes: Sequence[Change]) -> None:
        """Record `changes` in one transaction; return when they are on disk.

        The caller applies them before anything else happens. Raises `TopologyMoved` when nothing was recorded because
        other nodes recorded first.
        """
        ...

    async def announce(self, event_id: int, *, is_certain: bool) -> None:
        """Have the other nodes apply events up to this one; return when they have, or did not answer.

        With `is_certain`, wait for those that do not answer too, until they have applied it, do not live any more, or
        have had three heartbeat intervals (invariant I71).
        """
        ...

    def send_reply(self, incarnation: str, reply: Reply, on_answer: Callable[[bool], None]) -> None:
        """Send a reply to a channel of the node that has this incarnation.

        `on_answer` is called once, at once or later: with False when no channel has got it, or nobody can say.
        """
        ...

    async def awaits_reply(self, incarnation: str, vhost: str, address: str) -> bool:
        """Does a channel of the node that has this incarnation consume replies at `address`? No, if it cannot say."""
        ...


class NoOtherNodes:
    """The cluster of a standalone node: there is no other node to ask or to tell."""

    __slots__ = ("_forget", "_record")

    incarnation = Incarnation("", "")
    recorded = 0
    records_all = False
    lease_margin = 0

    def __init__(
        self, record: Callable[[Sequence[Change]], Awaitable[None]], forget: Callable[[Message], None]
    ) -> None:
        """`record` is the store's; `forget` is the journal's and deletes the row of a transient message."""
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

    async def has_unseen(self, queue: object) -> bool:
        return False

    def on_read(self, queue: object, slot: Slot, messages: Sequence[Message], is_end: bool) -> None:
        """Delete the rows of transient messages that are back in memory: no other node will read them."""
        for message in messages:
            if message.state == TRANSIENT:
                self._forget(message)

    def rows_to_come(self, queue: object) -> Sequence[Slot]:
        return ()

    async def record(self, changes: Sequence[Change]) -> None:
        await self._record(changes)

    async def announce(self, event_id: int, *, is_certain: bool) -> None:
        """Nothing to do: there is no other node."""

    def send_reply(self, incarnation: str, reply: Reply, on_answer: Callable[[bool], None]) -> None:
        on_answer(False)

    async def awaits_reply(self, incarnation: str, vhost: str, address: str) -> bool:
        return False


class TopologyMoved(BrokerError):
    """Other nodes recorded first: their events are applied, and the change must be decided again."""


class ClusterStore(Protocol):
    """The coordinator's lease, the nodes' rows and the history of both (ADR 16, ADR 17).

    Every call is one transaction. A returned bool says whether the row was as the caller had seen it, and so was
    changed. A call waits for no other work of the store, and not for long. It raises `StoreUnavailable` when the store
    gave no answer: the change may be made already, or may still be made. The same holds when the caller is cancelled.
    """

    async def read_lease(self) -> Lease:
        """Return the lease; epoch 0 without a holder when there never was one."""
        ...

    async def claim(self, claim: Claim, node_id: str, thrift_host: str, thrift_port: int) -> bool:
        """Make `node_id` the holder of the lease, reachable at this address; from now on the fence refuses every other
        node.
        """
        ...

    async def renew(self, renew: Renew, node_id: str) -> bool:
        """Advance the beat of the lease while `node_id` holds it in that term."""
        ...

    async def resign(self, resign: Resign, node_id: str) -> None:
        """Release the lease if `node_id` holds it in that term; the fence stays until the next claim."""
        ...

    async def own_row(self, node_id: str) -> NodeRow | None:
        """Return the row of `node_id`, None when there never was one."""
        ...

    async def register_node(self, register: Register, node_id: str, host: str, port: int, terms: str = "") -> bool:
        """Start the incarnation `register.incarnation` of `node_id`, which other nodes reach at this address, under
        these `terms`.
        """
        ...

    async def beat(self, beat: Beat, node_id: str) -> bool:
        """Advance the beat of `node_id` while it is UP in that incarnation."""
        ...

    async def leave(self, leave: Leave, node_id: str) -> None:
        """End that incarnation of `node_id` if it is UP: STOPPED, with the next number in the row's `fence`."""
        ...

    async def nodes(self) -> Sequence[NodeRow]:
        """Return the rows of all nodes that ever registered, by id, as of one moment."""
        ...

    async def evict(self, row: NodeRow, epoch: int, term: str) -> bool:
        """Set a node to DEAD, with the next number in its row's `fence`, if it is UP and its incarnation and beat are
        as in `row`.

        Return False only when the fence refuses this epoch and term, because there is a newer coordinator. A node that
        has beaten since, or was evicted already, stays as it is; the answer is then True.
        """
        ...

    async def timeline(self, limit: int) -> Sequence[MembershipChange]:
        """Return the last changes, newest first; each was written in the transaction that made it."""
        ...


class SlotStore(Protocol):
    """Slots that left the node that published them: each has at most one owner (ADR 19).

    Messages of a lane that are in no slot belong to the node of that lane. Every call is one transaction. It raises
    `StoreUnavailable` when the store gave no answer: the change may be made. A call that `incarnation` makes for itself
    raises `Evicted` when that incarnation is over; a call that names a `fence` raises `Fenced` when there is a newer
    coordinator.
    """

    async def slots(self) -> Sequence[SlotRow]:
        """Return all slots, by queue, lane and start."""
        ...

    async def owned(self, incarnation: Incarnation) -> Sequence[SlotRow]:
        """Return the slots of `incarnation`."""
        ...

    async def fence(self) -> Fence:
        """Return the current fence, which a node names to claim slots by itself (ADR 19)."""
        ...

    async def assign(self, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> Sequence[SlotRow]:
        """Make `incarnation` the owner of those of `rows` that are free with the same start and end; return these,
        owned.

        An incarnation that is over gets none. A call that is repeated after a lost answer returns what `incarnation`
        owns already.
        """
        ...

    async def cut(
        self, removed: Sequence[int], kept: Sequence[Slot], given: Sequence[Slot], incarnation: Incarnation
    ) -> Sequence[SlotRow]:
        """Replace the slots of `incarnation` that start at `removed` by `kept`, which it owns, and `given`, which are
        free.

        With nothing `removed`, messages of the node's own lane become slots. Returns the free ones. A call that is
        repeated after a lost answer changes nothing more.
        """
        ...

    async def finish(self, starts: Sequence[int], incarnation: Incarnation) -> Sequence[int]:
        """Delete those slots of `incarnation` that start at `starts` and have no message left; return their starts."""
        ...

    async def purge(self, queue_id: int) -> int:
        """Delete every free slot of the queue with its messages; return how many messages there were."""
        ...

    async def stored(self, queue_id: int) -> int:
        """Return how many messages of the queue are stored, whoever has them."""
        ...

    async def window(self, lane: int, size: int) -> Sequence[Slot]:
        """Return slots of about `size` messages for all of a lane that is in no slot yet: what its node continues to
        serve.
        """
        ...

    async def reclaim(self, fence: Fence, size: int) -> int:
        """Free the slots of incarnations that are over; return how many slots were freed or made.

        In lanes without a living node, messages that are in no slot become free slots of about `size` messages (more
        for large backlogs). These slots are `maybe_delivered`, except in the lane of a node that left in order after
        handing everything off.
        """
        ...


class EventStore(Protocol):
    """The topology that the nodes change together: every change is an event (ADR 20)."""

    async def record(
        self, changes: Sequence[Change], payload: bytes, *, expected: int, token: str, incarnation: Incarnation
    ) -> bool:
        """Record `changes`, and their `payload` as the event `expected` + 1, if `expected` is the last event.

        Return True also when this was done before under `token`, which is unique to the change. Return False when other
        nodes recorded first: the caller reads their events and decides again. Raises `Evicted` when that incarnation is
        over.
        """
        ...

    async def events(self, after: int, limit: int) -> EventPage:
        """Return the events that follow `after`, ascending and without a gap, at most `limit` of them."""
        ...

    async def load(self) -> tuple[Topology, int]:
        """Return all recorded topology, durable or not, and the id of the last event that is in it."""
        ...

    async def note_cursor(self, incarnation: Incarnation, event_id: int, topology_hash: str) -> None:
        """Record up to which event this node has applied, and the hash of its topology then."""
        ...

    async def cursors(self) -> Sequence[Cursor]:
        """Return the cursors of all nodes whose incarnation is not over."""
        ...

    async def prune(self, keep: int) -> int:
        """Delete all but the last `keep` events; return how many were deleted."""
        ...


class MemberStore(Protocol):
    """How a clustered node starts to write messages, in place of `NodeStore.register` and `resign`."""

    async def join(self, incarnation: Incarnation) -> Registration:
        """Start writing messages in `incarnation`, which must be UP; raises `Evicted` when it is not.

        When no other node is UP, this deletes what must not survive: queues and exchanges that are not durable,
        subscriptions, transient messages. From here on every batch names the incarnation and fails when it is over, as
        `ClusterStore.evict`, `leave` and `register_node` make it.
        """
        ...

    async def note_contact(self, member: Incarnation, is_reached: bool, node_id: str) -> None:
        """Write into the timeline that the node `node_id` reaches a member, or does not."""
        ...

    async def coordinator_address(self) -> tuple[str, int, Fence] | None:
        """Return the address of the lease's holder, with its epoch and term; None when the lease has no holder."""
        ...


class SlotService(Protocol):
    """What nodes ask of the coordinator, and of each other.

    Every call may raise `NotCoordinator`, `Unauthorized` and `Unavailable`, and `PeerUnreachable` when the service is
    on another node. Every call may be repeated.
    """

    async def get_slot(self, queue: QueueName, caller: Caller) -> Grant | None:
        """Assign the oldest slot of the queue to the caller, or return None if there is none."""
        ...

    async def submit_slot(self, queue: QueueName, slot: Slot, caller: Caller) -> None:
        """Take over a closed window: its messages are in the store."""
        ...

    async def await_slots(self, demands: Sequence[Demand], wait_ms: int, caller: Caller) -> Supply:
        """Return when there are slots for the caller or other nodes demand its messages, or after `wait_ms`."""
        ...

    async def push_events(self, last_event_id: int, caller: Caller, events: Sequence[EventRow] = ()) -> int:
        """Apply topology events up to this id; return the id of the last one applied.

        `events` are some of them in their order, or none. Those that are missing are read from the store.
        """
        ...

    async def hint_resigned(self, resigned: Fence, caller: Caller) -> None:
        """Learn that this coordinator has resigned, so that no node waits for its lease to run out."""
        ...

    async def contact(self, is_served: bool, caller: Caller, last_event_id: int = 0) -> None:
        """Learn that the caller reaches this node, whether the coordinator answers it, and which event it has applied
        last.
        """
        ...

    async def release(self, queue: QueueName, messages: int, caller: Caller) -> int:
        """Turn up to about `messages` ready messages into free slots: those that no consumer of this node takes now.

        Return how many messages these are, 0 when there are none.
        """
        ...

    async def purge_queue(self, queue: QueueName, caller: Caller, last_event_id: int | None = None) -> int:
        """Delete every ready message of the queue on this node; return how many there were.

        `last_event_id` is the event that the caller had applied last. Raises `Unavailable` when a purge has come by a
        later event: this call may have been on its way for long, and its caller has been answered.
        """
        ...

    async def deliver_replies(self, call: int, replies: Sequence[ReplyPart], caller: Caller) -> Sequence[bool]:
        """Deliver replies, or pieces of them, to channels of this node; return for each whether a channel has got it.

        `call` counts the caller's calls to this node: a late copy of one changes nothing.
        """
        ...

    async def awaits_reply(self, vhost: str, address: str, caller: Caller) -> bool:
        """Does a channel of this node consume replies at `address`?"""
        ...

    async def exchange_counts(self, counts: Sequence[QueueCount], caller: Caller) -> Sequence[QueueCount]:
        """Note the caller's ready messages and consumers; return the sums over all other nodes and free slots."""
        ...

    async def change_delayed(self, vhost: str, ids: Sequence[int], due: int, caller: Caller) -> Sequence[int]:
        """Cancel those of these delayed messages that this node has, or move them to the time `due` if that is not 0.

        Return for each 0 if it is not here, -1 if it is cancelled, -2 if it has gone on, or its new id. A call that is
        repeated finds nothing.
        """
        ...

    async def operate(self, operation: str, given: bytes, caller: Caller) -> bytes:
        """Do what an operator of the caller wants with what this node has; arguments and answer are values of JSON.

        Raises `CoordinationError` if this node does not know the operation.
        """
        ...

    async def read_figures(self, kind: str, start: int, caller: Caller) -> FiguresPage:
        """Return what operators see of this node: figures of one kind, from place `start` of their list on."""
        ...
