"""Letters: messages on their way from one queue to others in one transaction of the store (ADR 41)."""

from __future__ import annotations

from dataclasses import dataclass, field

from broker.message import Message
from broker.queue.outcome import Outcome
from broker.queue.queue import Queue


@dataclass(slots=True)
class Letter:
    """A message that leaves its queue for others, and what it becomes there."""

    queue: Queue
    message: Message
    outcome: Outcome
    routing: bytes = b""
    header: bytes = b""
    is_persistent: bool = False
    targets: list[Queue] = field(default_factory=list)
    is_over: bool = False
    """Is it to be dropped, because it would go round for ever, or its row is not there any more?"""
    octets: int = 0
    """What counts for it in memory."""
    is_shed: bool = False
    """Are its octets only in the store?"""
    places: list[tuple[Queue, int]] | None = None
    """The queues into which it was put, or levels of them, with its ids there, if anybody wants to know."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where letters of one `case` go, and what their headers say from the properties' flags on."""

    case: tuple[object, ...]
    properties: bytes
    routing: bytes
    is_persistent: bool
    targets: tuple[Queue, ...]
    is_over: bool
    """Would each of them go round for ever?"""
