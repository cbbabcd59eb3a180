"""The ports of a store: what the core and the node ask of it, and the journal through which messages reach it.

Every port has one contract suite in `tests/contract/`, which every implementation passes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from broker.message import KeyedMessage, Message, StorageQueue
from broker.ports.branches import BranchKey, PreparedBranch, Xid
from broker.ports.finding import FoundPage
from broker.ports.groups import GroupPage, GroupRow
from broker.ports.records import Change, Topology
from broker.ports.slot import Slot
from broker.ports.streams import StreamAppend, StreamStore

DueKey: TypeAlias = tuple[int, int]
"""When a message expires, in milliseconds since 1970, and its id: the place of the message among those that expire."""


KeyPlace: TypeAlias = tuple[int, str]
"""Scope and digest of a key."""
FIRST_KEY: Final[KeyPlace] = (-1 << 63, "")
"""Before the places of all keys."""


@dataclass(frozen=True, slots=True)
class KeySweep:
    """What was done about a page of keys: how many there were, how many are forgotten, and the last place; None when
    there are no keys behind it.
    """

    seen: int
    forgotten: int
    last: KeyPlace | None


@dataclass(frozen=True, slots=True)
class Registration:
    """What the store tells a node that registers.

    `last_message_id` is an upper bound of every id of the lane that was ever stored. `first_queue_id` to
    `last_queue_id` (both included) are queue ids that no other node gets. `clean` says that the node resigned the last
    time: then `redelivered` is exact in the store, otherwise any stored message may have been delivered once more.
    """

    lane: int
    last_message_id: int
    first_queue_id: int
    last_queue_id: int
    clean: bool


@dataclass(slots=True)
class Batch:
    """What one store transaction does to messages: first `inserts`, then `recounts`, `deletes` and `purges`.

    `inserts` and `deletes` are in no particular order and disjoint, except that a transaction may delete what an
    earlier member of the same batch inserts. Of `recounts` the number of deliveries is stored, if they have a row. A
    purge deletes every stored message of a slot's range and queue, transient ones too. `high_water` is an upper bound
    of the lane's ids used so far, recorded with the batch. `slots` are ranges of the node's own lane that leave it with
    this batch: they become free ones of the cluster.

    `prepared` are branches of distributed transactions to be kept, `resolved` the keys of those to be forgotten. If one
    of the first is there already, or one of the others is not, the store raises `BranchConflict` and does nothing of
    the batch.
    """

    inserts: list[Message] = field(default_factory=list)
    deletes: list[Message] = field(default_factory=list)
    purges: list[Slot] = field(default_factory=list)
    high_water: int = 0
    slots: list[Slot] = field(default_factory=list)
    recounts: list[Message] = field(default_factory=list)
    prepared: list[PreparedBranch] = field(default_factory=list)
    resolved: list[BranchKey] = field(default_factory=list)
    keyed: list[KeyedMessage] = field(default_factory=list)
    duplicates: set[int] = field(default_factory=set)
    appends: list[StreamAppend] = field(default_factory=list)
    """What goes to streams, each named once."""
    grouped: list[GroupRow] = field(default_factory=list)
    ungrouped: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        if self.inserts or self.deletes or self.purges or self.slots or self.recounts:
            return True
        return bool(self.prepared or self.resolved or self.keyed or self.appends)


class MessageStore(Protocol):
    """Messages of the node's queues."""

    async def write(self, batch: Batch) -> None:
        """Do all of `batch` in one transaction, or nothing of it; return when it is on disk.

        A message in state TRANSIENT is stored under `-queue_id`: such rows are gone after a restart. Its `content_id`,
        when not 0, names content that other rows may share; content is deleted with the last row that names it.
        Writing content that is there already, or deleting a row that is not, is no error. When a message with a `due`
        is inserted its time is stored, too, and goes with the message, whatever deletes that. A message to delete needs
        its id, `content_id` and `due`, nothing else.

        Raises `StoreUnavailable` when the batch may be tried again, `StoreError` when it never will succeed.
        """
        ...

    async def read(self, queue: StorageQueue, slot: Slot, limit: int, limit_bytes: int) -> list[Message]:
        """Return the first messages of `slot`, ascending by id: at most `limit`, and not many more than `limit_bytes`
        octets of header and body, but at least one if there is one. They are in state STORED, or TRANSIENT when stored
        under the negative id (the caller then owns the row: it is deleted like any other); `redelivered` is as stored,
        or as the slot says (`Slot.deliveries`). Only what was committed before the call is certain to be seen. The lane
        of the slot may be `ALL_LANES`.

        A damaged message (its octets do not fit its checksum, or its content cannot be found) is logged, left out, and
        set aside: it belongs to no slot and counts nowhere until the node starts again.
        """
        ...

    async def backlog(self) -> list[Slot]:
        """Return one slot per queue and lane that has stored messages: all of them, with exact counts.

        Called once, after `register`.
        """
        ...

    async def mark_redelivered(self, messages: Sequence[Message]) -> None:
        """Record how often these stored messages were delivered: once at least."""
        ...

    async def earliest_due(self) -> Mapping[int, int]:
        """Return, for each queue that has stored messages with a `due`, the earliest of them.

        Called once, after `register`. Here and below a time may be that of a message that is there no more.
        """
        ...

    async def read_due(
        self, queue: StorageQueue, until_ms: int, after: DueKey, limit: int, limit_bytes: int
    ) -> list[Message]:
        """Return the first stored messages of `queue`, of all lanes, whose `due` is at most `until_ms` and whose place
        is behind `after`, in the order of their places. States, bounds and damaged messages are as in `read`;
        `redelivered` is as stored. No messages: there are none up to `until_ms`.
        """
        ...

    async def next_due(self, queue: StorageQueue, after: DueKey) -> int | None:
        """Return the `due` of the first stored message of `queue` behind `after`; None when there is none."""
        ...


class GroupStore(Protocol):
    """The index of message groups, of all nodes. A `Batch` adds to it and takes from it; an entry too many is
    harmless.
    """

    async def read_groups(self, queue_id: int, after: int, limit: int, depth: int) -> GroupPage:
        """Return the next groups of a queue behind the number `after`, each with its oldest stored messages: about
        `limit` messages together, `depth` of a group at most. Entries whose messages are gone are forgotten.
        """
        ...

    async def read_listed(self, queue: StorageQueue, message_ids: Sequence[int], limit_bytes: int) -> list[Message]:
        """Return the first of these messages, which are ascending, as far as they are stored in `queue`. States, bounds
        and damaged messages are as in `read`; `redelivered` is as stored.
        """
        ...


class SearchStore(Protocol):
    """Messages of all queues and nodes, for somebody who looks for one."""

    async def find_messages(self, wanted: bytes, before: int, limit: int) -> FoundPage:
        """Look at the `limit` newest messages with ids below `before`, and return those whose exchange, routing key,
        properties or headers have the octets `wanted`, `MOST_FOUND` at most: then the page ends with the last of them.

        Damaged messages are found, too. Nothing is locked, and nothing changes.
        """
        ...


class DeduplicationStore(Protocol):
    """Keys of de-duplication, of all nodes. A `Batch` adds them."""

    async def sweep_keys(self, after: KeyPlace, now_ms: int, limit: int) -> KeySweep:
        """Look at the next `limit` keys behind the place `after`, and forget those that are remembered no longer."""
        ...

    async def trim_keys(self, scope: int, keep: int, limit: int) -> int:
        """Forget the oldest keys of a scope that has more than `keep`, `limit` at most; return how many."""
        ...


class BranchStore(Protocol):
    """Prepared branches of distributed transactions, of all nodes. A `Batch` adds and removes them."""

    async def prepared_xids(self, vhost: str, limit: int) -> list[Xid]:
        """Return the names of the first `limit` prepared branches of a virtual host, always in the same order."""
        ...

    async def read_branch(self, key: BranchKey) -> PreparedBranch | None:
        """Return a prepared branch; None when there is none of this name."""
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
        """Return the first and last of `count` queue ids that no other node has or will get."""
        ...


class NodeStore(Protocol):
    """The node's own rows."""

    async def register(self, node_id: str) -> Registration:
        """Announce `node_id` as running and return its lane. Rows under negative queue ids are deleted here."""
        ...

    async def resign(self) -> None:
        """Record that the node stopped in order: what is stored about redelivery is exact."""
        ...


@dataclass(frozen=True, slots=True)
class StoreLook:
    """What a start would find in a store."""

    is_new: bool
    """Is nothing of this broker there yet?"""
    remarks: Sequence[str]
    """In words what is there, and who has it."""
    unsafe: Sequence[str] = ()
    """The settings under which a committed message can be lost, as `Store.check_safety` tells them."""


class Store(
    MessageStore,
    StreamStore,
    GroupStore,
    SearchStore,
    DeduplicationStore,
    BranchStore,
    TopologyStore,
    NodeStore,
    Protocol,
):
    """A whole store, as a node opens it."""

    @property
    def connects(self) -> int:
        """How often it has connected to a database; 0 when that is in this process."""
        ...

    async def open(self) -> None:
        """Lock, connect, create or check the schema.

        Raises `ConfigError` for what only an operator can correct, `StoreUnavailable` for what may pass by itself,
        `StoreLocked` or another `StoreError`.
        """
        ...

    async def look(self) -> StoreLook:
        """Look at the store, which is not open, as `open` would find it, and change nothing.

        Raises what `open` would raise, but `StoreLocked`: that another broker has it is a remark.
        """
        ...

    async def close(self) -> None:
        """Finish pending work and release the lock."""
        ...

    async def probe(self) -> float:
        """Do one tiny durable write and return how many seconds it took."""
        ...

    async def time_ms(self) -> int:
        """Return the time of the store, which is one for all nodes, in milliseconds since 1970.

        It is that of the database's server, or of this machine when the store is here.
        """
        ...

    async def check_safety(self) -> Sequence[str]:
        """Return one line for each setting of the database under which a committed message can be lost.

        No line means that a commit is durable (invariant I91). Call it after `open`.
        """
        ...

    async def distrust(self) -> None:
        """A setting is such that a commit can be lost: if that is not to be, commit nothing before it was looked at
        again.
        """
        ...

    def describe(self) -> str:
        """Name the store in one line for the banner: engine, place, and nothing secret."""
        ...


class Journal(Protocol):
    """Takes the core's messages that must be stored, keeps their order, and writes them in groups.

    `append` takes a message in state PENDING; from then on its `state` says how far it is.
    """

    def append(self, message: Message) -> None:
        """Take a message that must be stored before its publisher gets a confirm."""
        ...

    def append_keyed(self, messages: Sequence[KeyedMessage]) -> None:
        """Take all messages of one publish that ask for keys: they are written together. Those that need no row are
        TRANSIENT. When the store has decided, `on_decided` is called with them.
        """
        ...

    def append_to_stream(self, message: Message) -> None:
        """Take a message for a stream, in state PENDING: it has an offset when it is STORED."""
        ...

    def settle(self, message: Message) -> None:
        """The message is settled: leave it unwritten if it was not written yet, or delete its row."""
        ...

    def spill(self, message: Message) -> None:
        """Store a transient message because it leaves memory."""
        ...

    def forget(self, message: Message) -> None:
        """Delete the row of a transient message that is back in memory."""
        ...

    def hold(self, octets: int) -> None:
        """So many octets more, or with a minus less, wait elsewhere to be handed over: they count for `check_full`."""
        ...

    def recount(self, message: Message) -> None:
        """Record how often a message was delivered that is stored or being written."""
        ...

    def transact(
        self,
        inserts: Sequence[Message],
        deletes: Sequence[Message],
        *,
        prepared: Sequence[PreparedBranch] = (),
        resolved: Sequence[BranchKey] = (),
        keyed: Sequence[KeyedMessage] = (),
    ) -> Awaitable[None]:
        """Write all of it in one store transaction, all or nothing; return when it is committed.

        `keyed` are those of `inserts`, and of messages without a row, that ask for keys: who gets none is SETTLED then.

        Raises `BranchConflict`, having written nothing, when a branch is not in the state that this needs.
        """
        ...

    def purge(self, slots: Sequence[Slot]) -> Awaitable[None]:
        """Delete the rows of these slots after everything that was taken before is written."""
        ...

    def give(self, slots: Sequence[Slot]) -> Awaitable[None]:
        """Turn ranges of this node's lane into free slots, after everything that was taken before is written."""
        ...

    def flushed(self) -> Awaitable[None]:
        """Return when everything taken so far is committed."""
        ...

    def readable(self, slot: Slot) -> Awaitable[None]:
        """Return when the store has what the core has written to, and deleted from, this slot."""
        ...

    @property
    def grouped_queues(self) -> set[int]:
        """The ids of the queues whose messages have entries in the index of groups. Their queues see to it."""
        ...

    def check_full(self) -> bool:
        """Should publishers wait until the store has caught up?"""
        ...
