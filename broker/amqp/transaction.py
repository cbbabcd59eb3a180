"""What a transactional channel has buffered until tx.commit (contract T1 to T3).

`commit` carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from broker.errors import ResourceFault
from broker.message import Message, weight_of
from broker.queue.queue import Queue
from broker.topology.routing import Route

_QUEUE_OCTETS: Final = 8
"""What each queue costs a publication whose route is its own."""


@dataclass(frozen=True, slots=True)
class Publication:
    """One message with its route: header and body are frame tails, shared by the copy in each queue."""

    route: Route
    queues: tuple[Queue, ...]
    header: bytes
    body: bytes
    chunks: list[bytes] | None
    is_persistent: bool

    @property
    def weight(self) -> int:
        """Octets of memory that it occupies."""
        content = weight_of(self.route.routing, self.header, self.body, self.chunks)
        return content if self.queues is self.route.queues else content + _QUEUE_OCTETS * len(self.queues)


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

    def add(self, publication: Publication) -> None:
        """Buffer a publish; raises `ResourceFault` when the transaction has grown too large."""
        self.octets += publication.weight
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
