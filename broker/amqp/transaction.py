"""What a transactional channel has buffered until tx.commit (contract T1 to T3).

`commit` carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from broker.errors import ResourceFault
from broker.message import weight_of
from broker.queue.outcome import Outcome
from broker.queue.queue import Queue
from broker.topology.keys import NO_KEYS, KeyRules
from broker.topology.routed_message import RoutedMessage
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
    rules: KeyRules = field(default_factory=lambda: NO_KEYS)
    """The keys that it asks for."""

    @property
    def weight(self) -> int:
        """Octets of memory that it occupies."""
        content = weight_of(self.route.routing, self.header, self.body, self.chunks)
        return content if self.queues is self.route.queues else content + _QUEUE_OCTETS * len(self.queues)


Settled: TypeAlias = tuple[int, bool, Outcome | None]
"""A delivery tag, whether all before it are meant, too, and what is to become of them; None for given back."""

MAX_STORED: Final = 100_000
"""Messages of one transaction, counted in each of their queues, if any of them is to be stored: the store writes all
of them at once."""


@dataclass(slots=True)
class Transaction:
    """Publishes, acks and rejects since the last commit or rollback."""

    max_bytes: int
    publications: list[Publication] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    settled_tags: set[int] = field(default_factory=set)
    """Delivery tags that were settled by themselves."""
    settled_up_to: int = 0
    """All smaller delivery tags, and this one, are settled."""
    octets: int = 0
    is_stored: bool = False
    """Is any of the publishes to be stored, or does it ask for a key?"""
    has_keys: bool = False
    """Does any of the publishes ask for a key?"""
    copies: int = 0
    """Messages of the publishes, counted in each of their queues."""
    kept: list[tuple[bytes, RoutedMessage]] = field(default_factory=list)
    """The routing octets of publishes of which exchanges keep copies, and the messages."""
    routes: set[int] = field(default_factory=set)
    """The routes' tuples of queues that are counted already, by identity: the publications keep them."""

    def add(self, publication: Publication) -> None:
        """Buffer a publish; raises `ResourceFault` when the transaction has grown too large."""
        queues = publication.queues
        self.octets += publication.weight
        if queues is publication.route.queues and id(queues) not in self.routes:
            self.routes.add(id(queues))
            self.octets += _QUEUE_OCTETS * len(queues)
        if self.octets > self.max_bytes:
            raise ResourceFault(f"transaction larger than {self.max_bytes} octets")
        self.copies += len(queues)
        if publication.rules:
            self.is_stored = self.has_keys = True
        elif not self.is_stored:
            is_persistent = publication.is_persistent
            self.is_stored = any(queue.is_stored and (is_persistent or queue.is_stream) for queue in queues)
        if self.is_stored and self.copies > MAX_STORED:
            raise ResourceFault(f"transaction of more than {MAX_STORED} messages to store, counted in each queue")
        self.publications.append(publication)

    def settle(self, tag: int, multiple: bool, outcome: Outcome | None) -> None:
        """Note what is to become of an outstanding delivery, or with `multiple` of all up to it; None: given back."""
        self.settled.append((tag, multiple, outcome))
        if multiple:
            self.settled_up_to = max(self.settled_up_to, tag)
        else:
            self.settled_tags.add(tag)

    def has_settled(self, tag: int) -> bool:
        """Is anything noted for this outstanding delivery?"""
        return tag <= self.settled_up_to or tag in self.settled_tags

    def take(self) -> Transaction:
        """Empty the transaction and return what was in it."""
        taken = replace(self)
        self.publications, self.kept, self.settled, self.settled_tags = [], [], [], set()
        self.settled_up_to = self.octets = self.copies = 0
        self.is_stored, self.has_keys, self.routes = False, False, set()
        return taken
