"""Every seam between the layers: what the core asks of a store and of the node around it.

Knows the values that pass through the seams; knows no implementation. Every port has one contract suite in
`tests/contract/`, which every implementation passes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from broker.cluster import Beat, Claim, Lease, Leave, MembershipChange, NodeRow, Register, Renew, Resign
from broker.message import Message, StorageQueue
from broker.slot import Slot
from broker.topology import Change, Topology


@dataclass(frozen=True, slots=True)
class Registration:
    """What the store tells a node that registers.

    `last_message_id` is an upper bound of every id of the lane that was ever stored. `first_queue_id` to
    `last_queue_id` (both included) are queue ids nobody else will get. `clean` says that the node resigned the last
    time: then `redelivered` flags in the store are exact, otherwise any stored message may have been delivered.
    """

    lane: int
    last_message_id: int
    first_queue_id: int
    last_queue_id: int
    clean: bool


@dataclass(slots=True)
class Batch:
    """What one store transaction does to messages: first `inserts`, then `deletes`, then `purges`.

    `inserts` and `deletes` are in no particular order and disjoint, except that a transaction may delete what an
    earlier member of the same batch inserts. A purge deletes every stored message of a slot's range and queue,
    transient ones too. `high_water` is an upper bound of the lane's ids used so far, recorded with the batch.
    """

    inserts: list[Message] = field(default_factory=list)
    deletes: list[Message] = field(default_factory=list)
    purges: list[Slot] = field(default_factory=list)
    high_water: int = 0

    def __bool__(self) -> bool:
        return bool(self.inserts or self.deletes or self.purges)


class MessageStore(Protocol):
    """Messages of the node's queues."""

    async def write(self, batch: Batch) -> None:
        """Do all of `batch` in one transaction, or nothing of it; return when it is on disk.

        A message in state TRANSIENT is stored under `-queue_id`: such rows are gone after a restart. Its `content_id`,
        when not 0, names content that other rows may share; content is deleted with the last row that names it.
        Writing content that is there already, or deleting a row that is not, is no error.

        Raises `StoreUnavailable` when the batch may be tried again, `StoreError` when it never will succeed.
        """
        ...

    async def read(self, queue: StorageQueue, slot: Slot, limit: int, limit_bytes: int) -> list[Message]:
        """Return the first messages of `slot`, ascending by id: at most `limit`, and not many more than `limit_bytes`
        octets of body, but at least one if there is one. They are in state STORED, or TRANSIENT when stored under the
        negative id (the caller then owns the row: it is deleted like any other); `redelivered` is as stored or, if
        the slot says `maybe_delivered`, set. Only what was committed before the call is certain to be seen.
        A message whose content cannot be found is logged and left out; its row stays.
        """
        ...

    async def backlog(self) -> list[Slot]:
        """Return one slot per queue and lane that has stored messages: all of them, with exact counts.

        Called once, after `register`.
        """
        ...

    async def mark_redelivered(self, messages: Sequence[Message]) -> None:
        """Record that these stored messages were delivered before."""
        ...


class TopologyStore(Protocol):
    """Durable exchanges, queues and bindings."""

    async def load(self) -> Topology:
        """Return all that is recorded."""
        ...

    async def record(self, changes: Sequence[Change]) -> None:
        """Record `changes` in their order and in one transaction; return when it is on disk.

        Recording what is recorded already, or deleting what is not there, changes nothing and is no error.
        """
        ...

    async def reserve_queue_ids(self, count: int) -> tuple[int, int]:
        """Return the first and last of `count` queue ids that nobody else has or will get."""
        ...


class NodeStore(Protocol):
    """The node's own rows."""

    async def register(self, node_id: str) -> Registration:
        """Announce `node_id` as running and return its lane. Rows under negative queue ids are deleted here."""
        ...

    async def resign(self) -> None:
        """Record that the node stopped in order: what is stored about redelivery is exact."""
        ...


class Store(MessageStore, TopologyStore, NodeStore, Protocol):
    """A whole store, as a node opens it."""

    async def open(self) -> None:
        """Lock, connect, create or check the schema.

        Raises `ConfigError` for what only a human can mend, `StoreUnavailable` for what time can, `StoreLocked` or
        another `StoreError`.
        """
        ...

    async def close(self) -> None:
        """Finish what was begun and let go of the lock."""
        ...

    async def probe(self) -> float:
        """Do one tiny durable write and return how many seconds it took."""
        ...

    async def check_safety(self) -> Sequence[str]:
        """Return one line for each setting of the database under which a committed message can be lost.

        There is none when a commit means what it must (reliability.md §2.8). Call it after `open`.
        """
        ...

    def describe(self) -> str:
        """Name the store in one line for the banner: engine, place, and nothing secret."""
        ...


class Journal(Protocol):
    """What the core tells of messages that must survive: kept in order, written in groups.

    A message in state PENDING is handed over by `append`; from then on its `state` says how far it is.
    """

    def append(self, message: Message) -> None:
        """Take a message that must be stored before its publisher is told that it is safe."""
        ...

    def settle(self, message: Message) -> None:
        """The message is final: it is not written if it was not yet, or its row is deleted."""
        ...

    def spill(self, message: Message) -> None:
        """Store a transient message because it leaves memory."""
        ...

    def forget(self, message: Message) -> None:
        """Delete the row of a transient message that is back in memory."""
        ...

    def transact(self, inserts: Sequence[Message], deletes: Sequence[Message]) -> Awaitable[None]:
        """Write both in one store transaction, all or nothing; done when it is committed."""
        ...

    def purge(self, slots: Sequence[Slot]) -> Awaitable[None]:
        """Delete the rows of these slots after everything that was taken before is written."""
        ...

    def flushed(self) -> Awaitable[None]:
        """Done when everything taken so far is committed."""
        ...

    def check_full(self) -> bool:
        """Should publishers wait until the store has caught up?"""
        ...


class SlotCoordinator(Protocol):
    """Who serves which slot of a queue. On one node a local object, in a cluster the coordinator."""

    def submit(self, slot: Slot) -> None:
        """A window was closed: its messages can be read from the store once the journal is flushed."""
        ...

    def get(self, queue_id: int) -> Slot | None:
        """Assign the oldest slot of the queue to this node."""
        ...

    def count(self, queue_id: int) -> int:
        """Ready messages in slots that nobody is assigned to."""
        ...

    def forget(self, queue_id: int) -> list[Slot]:
        """Delete every slot of the queue that nobody is assigned to, and return them."""
        ...


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
        """Begin the life `register.incarnation` of `node_id`, which others reach at this address."""
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
