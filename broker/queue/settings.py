"""What a queue is set to do, and how much of it may lie in memory."""

from __future__ import annotations

from dataclasses import dataclass

from broker.codec.field_table import FieldTable


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What a queue is set to do: computed once from its arguments, and read nowhere else argument by argument."""

    single_active_consumer: bool = False
    """Only the consumer that came first takes part, on all nodes together."""

    @classmethod
    def of(cls, arguments: FieldTable) -> QueueSettings:
        """Return what the arguments of queue.declare ask for."""
        return cls(single_active_consumer=arguments.values.get("x-single-active-consumer") is True)


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How much of a queue may lie in memory on one node."""

    memory: int = 16 * 1024 * 1024
    """Octets of stored messages kept in memory; the rest lies in slots."""
    transient_memory: int = 256 * 1024 * 1024
    """Octets of messages kept in memory that have no row yet: paging them out costs an insert."""
    window_size: int = 1000
    """Messages of a slot (`performanceTuning/slots/windowSize`)."""
    read_ahead: int = 2000
    """Messages read from the store at once."""
    read_ahead_bytes: int = 8 * 1024 * 1024
