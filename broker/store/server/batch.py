"""The rows that a batch becomes in a database server, and bodies put together from their rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from xxhash import xxh3_64_intdigest

from broker.message import TRANSIENT, KeyedMessage, Message
from broker.ports.branches import BranchKey, PreparedBranch
from broker.ports.groups import GroupRow
from broker.ports.slot import Slot
from broker.ports.store import Batch
from broker.ports.streams import StreamAppend
from broker.store.rows import (
    CHECKSUM_MASK,
    MAX_CONTENT_CHUNK_SIZE,
    checksum_of,
    hash_of_body,
    ids_by_deliveries,
    metadata_of,
    name_large_content,
)

InlineRow: TypeAlias = tuple[int, int, int, int, bytes, bytes]
"""MESSAGE_ID, QUEUE_ID, REDELIVERED, CHECKSUM, MESSAGE_METADATA, MESSAGE_CONTENT."""
SharedRow: TypeAlias = tuple[int, int, int, int, int, bytes]
"""MESSAGE_ID, QUEUE_ID, CONTENT_ID, REDELIVERED, CHECKSUM, MESSAGE_METADATA."""
ContentRow: TypeAlias = tuple[int, int, bytes]
"""MESSAGE_ID, CONTENT_OFFSET, MESSAGE_CONTENT."""
ExpirationRow: TypeAlias = tuple[int, int, int]
"""MESSAGE_ID, QUEUE_ID, EXPIRATION_TIME."""
SlotPlace: TypeAlias = tuple[int, int, int, int, int, bool, bool]
"""START_MESSAGE_ID, END_MESSAGE_ID, QUEUE_ID, LANE, MESSAGE_COUNT, MAYBE_DELIVERED, HAS_TRANSIENT."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What one transaction writes: rows, then deletes of rows, then purges.

    `expirations` are those of inserted messages, and `expired` the ids of deleted ones that have one. `released` are
    content ids that may have lost their last message. `high_water` is 0 when the recorded one needs no
    change. Ids are sorted, so that two transactions lock rows in the same order.
    """

    inline: Sequence[InlineRow]
    contents: Sequence[ContentRow]
    shared: Sequence[SharedRow]
    deletes: Sequence[int]
    purges: Sequence[Slot]
    released: Sequence[int]
    high_water: int
    slots: Sequence[SlotPlace] = ()
    expirations: Sequence[ExpirationRow] = ()
    expired: Sequence[int] = ()
    recounts: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """Message ids by the number of deliveries that they get."""
    prepared: Sequence[PreparedBranch] = ()
    resolved: Sequence[BranchKey] = ()
    keyed: Sequence[KeyedMessage] = ()
    appends: Sequence[StreamAppend] = ()
    grouped: Sequence[GroupRow] = ()
    ungrouped: Sequence[int] = ()
    duplicates: set[int] = field(default_factory=set)
    """The batch's own: which messages do not get their keys (`Batch`)."""

    def without_duplicates(self) -> Rows:
        """Return what is to be written when it is known which messages do not get their keys."""
        gone = self.duplicates
        if not gone:
            return self
        shared = [row for row in self.shared if row[0] not in gone]
        unused = {row[2] for row in self.shared if row[0] in gone} - {row[2] for row in shared}
        return replace(
            self,
            inline=[row for row in self.inline if row[0] not in gone],
            shared=shared,
            contents=[row for row in self.contents if row[0] not in unused],
            expirations=[row for row in self.expirations if row[0] not in gone],
            grouped=[row for row in self.grouped if row.message_id not in gone],
        )

    @property
    def count(self) -> int:
        """How many rows are touched; of a purge it counts the messages that its slot is thought to hold."""
        return (
            len(self.inline)
            + len(self.contents)
            + len(self.shared)
            + len(self.deletes)
            + len(self.expirations)
            + len(self.expired)
            + len(self.slots)
            + sum(map(len, self.recounts.values()))
            + sum(slot.count for slot in self.purges)
            + len(self.prepared)
            + len(self.resolved)
            + len(self.keyed)
            + sum([len(append.segments()) for append in self.appends])
            + len(self.grouped)
            + len(self.ungrouped)
        )

    @property
    def octets(self) -> int:
        """How many octets of bodies, of branches and of streams are written."""
        bodies = sum([len(row[-1]) for row in self.inline]) + sum([len(row[-1]) for row in self.contents])
        others = sum([len(branch.content) for branch in self.prepared]) + sum([each.octets for each in self.appends])
        return bodies + others


def rows_of(batch: Batch, high_water: int) -> Rows:
    """Return the rows of `batch`. Call it before the first await: messages change their state during one."""
    shared = name_large_content(batch.inserts)
    inline = [message for message in batch.inserts if not message.content_id] if shared else batch.inserts
    contents = {message.content_id: message for message in shared}
    hashes = {content_id: hash_of_body(message) for content_id, message in contents.items()}
    return Rows(
        [_inline_row(message) for message in inline],
        [row for content_id, message in contents.items() for row in _content_rows(content_id, message)],
        [
            (
                message.id,
                -message.queue.queue_id if message.state == TRANSIENT else message.queue.queue_id,
                message.content_id,
                message.redelivered,
                checksum_of(metadata := metadata_of(message), hashes[message.content_id]),
                metadata,
            )
            for message in shared
        ],
        sorted([message.id for message in batch.deletes]),
        batch.purges,
        sorted({message.content_id for message in batch.deletes if message.content_id}),
        high_water,
        [
            (slot.start, slot.end, slot.queue_id, slot.lane, slot.count, slot.maybe_delivered, slot.transient)
            for slot in batch.slots
        ],
        [
            (message.id, -message.queue.queue_id if message.state == TRANSIENT else message.queue.queue_id, message.due)
            for message in batch.inserts
            if message.due
        ],
        sorted([message.id for message in batch.deletes if message.due]),
        ids_by_deliveries(batch.recounts) if batch.recounts else {},
        tuple(batch.prepared),
        tuple(batch.resolved),
        tuple(batch.keyed),
        tuple(batch.appends),
        sorted(batch.grouped),
        sorted(batch.ungrouped),
        batch.duplicates,
    )


def _inline_row(message: Message) -> InlineRow:
    queue_id = message.queue.queue_id
    metadata = message.routing + message.header[4:-1]
    payload = message.body[4:-1] if message.chunks is None else message.payload
    return (
        message.id,
        -queue_id if message.state == TRANSIENT else queue_id,
        message.redelivered,
        xxh3_64_intdigest(metadata, xxh3_64_intdigest(payload)) & CHECKSUM_MASK,
        metadata,
        payload,
    )


def joined_contents(pieces: Iterable[tuple[int, bytes]]) -> dict[int, bytes]:
    """Return bodies by content id, joined from `pieces`, which come in the order of their offsets."""
    contents: dict[int, list[bytes]] = {}
    for content_id, piece in pieces:
        contents.setdefault(content_id, []).append(piece)
    return {content_id: b"".join(its_pieces) for content_id, its_pieces in contents.items()}


def _content_rows(content_id: int, message: Message) -> Iterator[ContentRow]:
    payload = message.payload
    if not payload:
        yield content_id, 0, b""
    for offset in range(0, len(payload), MAX_CONTENT_CHUNK_SIZE):
        yield content_id, offset, payload[offset : offset + MAX_CONTENT_CHUNK_SIZE]
