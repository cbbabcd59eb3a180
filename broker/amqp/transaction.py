"""What a transactional channel has buffered until tx.commit (contract T1 to T3).

`commit` carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias

from broker.errors import ResourceFault
from broker.message import Message
from broker.queue.queue import Queue
from broker.topology.routing import Route


@dataclass(frozen=True, slots=True)
class Publication:
    """One message with its route: header and body are frame tails, shared by the copy in each queue."""

    route: Route
    queues: tuple[Queue, ...]
    header: bytes
    body: bytes
    chunks: list[bytes] | None
    is_persistent: bool


Settlement: TypeAlias = tuple[int, Message]


@dataclass(slots=True)
class Transaction:
    """Publishes, acks and rejects since the last commit or rollback."""

    max_bytes: int
    publications: list[Publication] = field(default_factory=list)
    acked: list[Settlement] = field(default_factory=list)
    rejected: list[Settlement] = field(default_factory=list)
    requeued: list[Settlement] = field(default_factory=list)
    octets: int = 0

    def add(self, publication: Publication, octets: int) -> None:
        """Buffer a publish; raises `ResourceFault` when the transaction has grown too large."""
        self.octets += octets
        if self.octets > self.max_bytes:
            raise ResourceFault(f"transaction larger than {self.max_bytes} octets")
        self.publications.append(publication)

    @property
    def settlement_count(self) -> int:
        return len(self.acked) + len(self.rejected) + len(self.requeued)

    @property
    def settlements(self) -> list[Settlement]:
        """All deliveries that the commit is to settle or give back."""
        return [*self.acked, *self.rejected, *self.requeued]

    def take(self) -> Transaction:
        """Empty the transaction and return what was in it."""
        taken = replace(self)
        self.publications, self.acked, self.rejected, self.requeued, self.octets = [], [], [], [], 0
        return taken
