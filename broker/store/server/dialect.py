"""The port that a kind of database server implements for the store: its driver and its hot statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.peer_calls import Fence
from broker.ports.slot import Slot
from broker.ports.store import DueKey
from broker.store.server.batch import Rows
from broker.store.server.engine import Driver

_KEPT_BATCHES: Final = 1000


@dataclass(frozen=True, slots=True)
class Marker:
    """The node's row in MB_NODE and the number of the batch that is being written."""

    lane: int
    incarnation: str
    number: int
    node_id: str

    @property
    def forgotten(self) -> range:
        """The numbers of earlier batches whose rows go with this one: none, or exactly those that are there.

        Looking for more would walk what was deleted before, for as long as another transaction holds a snapshot.
        """
        if self.number % _KEPT_BATCHES:
            return range(0)
        return range(max(self.number - _KEPT_BATCHES - 1, 1), self.number - 1)


SMALL_BODY: Final = 4096
"""Bodies of at most so many octets are read with the index rows of a page, larger ones by a second statement."""

SMALL_METADATA: Final = 4096
"""So many octets of exchange, key and header are read with the index rows: enough for the size of the body. Longer ones
are read by a second statement, when it is known how many there is room for.
"""


class IndexRow(NamedTuple):
    """A message as the first statement of a read returns it; `body` is None when it is large or shared.

    `metadata` is no more than the first `SMALL_METADATA` octets of `metadata_size`.

    `checksum` is `NO_CHECKSUM` in rows of an older program.
    """

    message_id: int
    is_transient: bool
    content_id: int
    redelivered: int
    checksum: int
    metadata_size: int
    metadata: bytes
    body: bytes | None


class Dialect(Driver, Protocol):
    """The hot statements of one kind of server, over a connection of its driver."""

    async def describe(self, raw: Any) -> str:
        """Return name and version of the server."""
        ...

    async def check_safety(self, raw: Any) -> list[str]:
        """Return one line for each setting of the server that can lose a commit."""
        ...

    async def refuse_shared_sessions(self, raw: Any, other: Any) -> None:
        """Raise `ConfigError` when two connections have one session, because a pooler lends it for a transaction."""
        ...

    async def lock(self, raw: Any, name: str, *, wait: float, silence: float) -> bool:
        """Take the lock `name` for the life of the connection; False when it is not free within `wait` seconds.

        The server must end the connection after `silence` seconds without a statement. Otherwise the lock of a machine
        that lost its power would stay taken for hours.
        """
        ...

    async def begin(self, raw: Any, marker: Marker, rows: Rows) -> bool:
        """Begin a transaction and write `rows` in it; False when the incarnation is over or the last batch missing."""
        ...

    async def commit(self, raw: Any) -> None:
        """Commit. Raises unless the server confirms it."""
        ...

    async def roll_back(self, raw: Any) -> None:
        """End the transaction and undo it."""
        ...

    async def incarnations(self, raw: Any) -> list[str]:
        """Return the incarnations that may write, of all nodes."""
        ...

    async def last_batch(self, raw: Any, marker: Marker) -> int | None:
        """Return the node's batch number once no other transaction can change it; None for another incarnation.

        It commits a write of its own, so that an earlier commit without an answer is on disk, too, when this returns.
        """
        ...

    async def assign(self, raw: Any, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> bool:
        """Make `incarnation` the owner of all of these free slots, under the fence, and commit.

        Returns False and changes nothing if any condition fails; the caller finds out which.
        """
        ...

    async def free_room(self, raw: Any) -> None:
        """Make the room of deleted rows ready for new ones, if the server does not do that by itself soon."""
        ...

    async def probe(self, raw: Any, node_id: str) -> None:
        """Write one small row, to prove that the server takes writes."""
        ...

    async def time_ms(self, raw: Any) -> int:
        """Return the server's time in milliseconds since 1970."""
        ...

    async def begin_read(self, raw: Any) -> None:
        """Begin a transaction over one snapshot."""
        ...

    async def read_slot(self, raw: Any, slot: Slot, limit: int) -> list[IndexRow]:
        """Return the first rows of `slot`, by id."""
        ...

    async def read_due_keys(self, raw: Any, queue_id: int, until_ms: int, after: DueKey, limit: int) -> list[DueKey]:
        """Return the places of the first messages of a queue that expire up to `until_ms`, behind `after`."""
        ...

    async def read_rows(self, raw: Any, queue_id: int, message_ids: Sequence[int]) -> list[IndexRow]:
        """Return the rows of those of these messages that are in the queue, in no order."""
        ...

    async def read_bodies(self, raw: Any, message_ids: Sequence[int]) -> dict[int, bytes]:
        """Return the bodies stored in the messages' own rows, by message id."""
        ...

    async def read_metadata(self, raw: Any, message_ids: Sequence[int]) -> dict[int, bytes]:
        """Return the whole metadata of messages, by message id."""
        ...

    async def read_contents(self, raw: Any, content_ids: Sequence[int]) -> dict[int, bytes]:
        """Return shared bodies, by content id."""
        ...

    async def end_read(self, raw: Any) -> None:
        """End the transaction."""
        ...
