"""What clients ask for when they declare an exchange or a queue: what must be equal, and what the store keeps of it.

Knows the fields of a declaration; whether a client may declare is the virtual host's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from broker.ports.cluster_rows import Incarnation
from broker.ports.records import ExchangeRecord, QueueRecord
from broker.queue.queue import Queue
from broker.topology.equivalence import QUEUE_ARGUMENTS, require_equal, require_equal_arguments
from broker.topology.exchange import Exchange


@dataclass(frozen=True, slots=True)
class QueueDeclaration:
    """What a client asks for in queue.declare. `owner` is its connection when the queue is exclusive."""

    name: str
    durable: bool
    auto_delete: bool
    arguments: Any
    owner: object | None = None

    def require_same(self, what: str, current: Queue) -> None:
        """Raise `PreconditionFailed` unless `current`, called `what`, is as declared here (contract Q4)."""
        require_equal(what, "durable", self.durable, current.durable)
        require_equal(what, "auto_delete", self.auto_delete, current.auto_delete)
        require_equal_arguments(what, QUEUE_ARGUMENTS, self.arguments, current.arguments)

    def record(self, vhost: str, queue_id: int, incarnation: Incarnation | None = None) -> QueueRecord:
        """Return what is recorded of the queue; `incarnation` is this node's in a cluster, where exclusive queues are
        too.
        """
        owner = incarnation if self.owner is not None else None
        return QueueRecord(
            vhost,
            self.name,
            queue_id,
            self.owner is not None,
            self.auto_delete,
            self.arguments.raw,
            self.durable,
            owner.node_id if owner else "",
            owner.id if owner else "",
        )


@dataclass(frozen=True, slots=True)
class ExchangeDeclaration:
    """What a client asks for in exchange.declare."""

    name: str
    type: str
    durable: bool
    auto_delete: bool
    internal: bool
    arguments: Any

    def require_same(self, what: str, current: Exchange) -> None:
        """Raise `PreconditionFailed` unless `current`, called `what`, is as declared here (contract X2)."""
        require_equal(what, "type", self.type, current.type)
        require_equal(what, "durable", self.durable, current.durable)
        require_equal(what, "auto_delete", self.auto_delete, current.auto_delete)
        require_equal(what, "internal", self.internal, current.internal)
        require_equal_arguments(what, ("alternate-exchange",), self.arguments, current.arguments)

    def exchange(self) -> Exchange:
        """Return a new exchange as declared, or raise what refuses its type or arguments (contract X4, X15)."""
        return Exchange(
            self.name,
            self.type,
            durable=self.durable,
            auto_delete=self.auto_delete,
            internal=self.internal,
            arguments=self.arguments,
        )

    def record(self, vhost: str) -> ExchangeRecord:
        """Return what is recorded of the exchange."""
        return ExchangeRecord(
            vhost, self.name, self.type, self.auto_delete, self.internal, self.arguments.raw, self.durable
        )
