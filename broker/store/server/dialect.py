"""What a kind of database server must offer to the store: its driver, and its hot statements.

Knows the values that pass; knows no statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.peer_calls import Fence
from broker.ports.slot import Slot
from broker.store.server.batch import Rows
from broker.store.server.engine import Driver


@dataclass(frozen=True, slots=True)
class Marker:
    """The node's row and the number of the batch under way."""

    lane: int
    incarnation: str
    number: int
    node_id: str


SMALL_BODY: Final = 4096
"""Octets of body that come with the first statement of a read: with as many rows as a page has that is not much."""


class IndexRow(NamedTuple):
    """What the first statement of a read tells of a message; `body` is None when it is large or shared."""

    message_id: int
    is_transient: bool
    content_id: int
    redelivered: bool
    metadata: bytes
    body: bytes | None

    @property
    def size(self) -> int:
        """Octets of the body, as the content header says (0-9-1 §4.2.6.1)."""
        start = self.metadata[0] + 1
        start += self.metadata[start] + 1 + 4
        return int.from_bytes(self.metadata[start : start + 8], "big")


class Dialect(Driver, Protocol):
    """The hot statements of one kind of server, over a connection of its driver."""

    async def describe(self, raw: Any) -> str:
        """Return name and version of the server."""
        ...

    async def check_safety(self, raw: Any) -> list[str]:
        """Return what the port says (reliability.md §2.8)."""
        ...

    async def lock(self, raw: Any, name: str, *, wait: float, silence: float) -> bool:
        """Take a lock that lasts as long as the connection; return whether nobody else had it for `wait` seconds.

        The server ends the connection when this machine has vanished, at the latest after `silence` seconds in which
        nothing was asked: otherwise whoever comes after a power failure would be refused for hours.
        """
        ...

    async def begin(self, raw: Any, marker: Marker, rows: Rows) -> bool:
        """Do everything but the commit; False when the node's row has another incarnation or batch number."""
        ...

    async def commit(self, raw: Any) -> None:
        """Commit; returning means that it is done."""
        ...

    async def last_batch(self, raw: Any, marker: Marker) -> int | None:
        """Return the node's batch number when no transaction can change it any more; None for another incarnation.

        Writes something and commits it, so that what was committed before is as safe as any commit.
        """
        ...

    async def assign(self, raw: Any, rows: Sequence[SlotRow], incarnation: Incarnation, fence: Fence) -> bool:
        """Make `incarnation` the owner of all of these free slots, under the fence, and commit.

        False, and nothing done, when that cannot be told to be right at a glance.
        """
        ...

    async def probe(self, raw: Any, node_id: str) -> None:
        """Change one small row."""
        ...

    async def begin_read(self, raw: Any, slot: Slot, limit: int) -> list[IndexRow]:
        """Begin a transaction that sees one state of the store, and return the first rows of `slot`, by id."""
        ...

    async def read_bodies(self, raw: Any, message_ids: Sequence[int]) -> dict[int, bytes]:
        """Return the bodies that lie in the messages' own rows."""
        ...

    async def read_contents(self, raw: Any, content_ids: Sequence[int]) -> dict[int, bytes]:
        """Return shared bodies, by content id."""
        ...

    async def end_read(self, raw: Any) -> None:
        """End the transaction."""
        ...
