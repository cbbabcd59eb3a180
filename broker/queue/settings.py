"""The settings of a queue, and the limits of its memory."""

from __future__ import annotations

from dataclasses import dataclass

from broker.codec.field_table import FieldTable


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """The settings of a queue, computed once from its arguments so that no other code reads single arguments."""

    single_active_consumer: bool = False
    """Of all consumers on all nodes, only the one that came first gets messages."""

    @classmethod
    def of(cls, arguments: FieldTable) -> QueueSettings:
        """Return what the arguments of queue.declare ask for."""
        return cls(single_active_consumer=arguments.values.get("x-single-active-consumer") is True)


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How much of a queue may be in memory on one node."""

    memory: int = 16 * 1024 * 1024
    """Octets of stored messages kept in memory; the rest lies in slots."""
    transient_memory: int = 256 * 1024 * 1024
    """Octets of messages kept in memory that have no row yet: paging them out costs an insert."""
    window_size: int = 1000
    """Messages of a slot (`performanceTuning/slots/windowSize`)."""
    read_ahead: int = 2000
    """Messages read from the store at once."""
    read_ahead_bytes: int = 8 * 1024 * 1024
