"""Declarations of exchanges and queues: what must equal the existing one (contract X2, Q4), and what is recorded.

Whether a client may declare at all is decided by the virtual host.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Final

from broker.codec.equality import declared
from broker.codec.field_table import FieldTable
from broker.errors import PreconditionFailed
from broker.ports.cluster_rows import Incarnation
from broker.ports.records import ExchangeRecord, QueueRecord
from broker.queue.queue import Queue
from broker.topology.exchange import Exchange

QUEUE_ARGUMENTS: Final = (
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
    "x-single-active-consumer",
    "x-queue-type",
    "x-delivery-limit",
)
"""Arguments that make two queues different; all others are stored, echoed and not compared."""

_DEFAULTS: Final[Mapping[str, Hashable]] = {"x-queue-type": ("longstr", "classic")}


@dataclass(frozen=True, slots=True)
class RemoteOwner:
    """The owner of an exclusive queue when it is not a connection of this node in this incarnation."""

    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class QueueDeclaration:
    """What a client asks for in queue.declare. `owner` is its connection when the queue is exclusive."""

    name: str
    durable: bool
    auto_delete: bool
    arguments: FieldTable
    owner: object | None = None

    def require_same(self, what: str, current: Queue) -> None:
        """Raise `PreconditionFailed` unless this declaration equals `current`, named `what` (contract Q4)."""
        require_equal(what, "durable", self.durable, current.durable)
        require_equal(what, "auto_delete", self.auto_delete, current.auto_delete)
        require_equal_arguments(what, QUEUE_ARGUMENTS, self.arguments, current.arguments)

    def record(self, vhost: str, queue_id: int, incarnation: Incarnation | None = None) -> QueueRecord:
        """Return the record of the queue; `incarnation` is this node's in a cluster, which records exclusive queues
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
    arguments: FieldTable

    def require_same(self, what: str, current: Exchange) -> None:
        """Raise `PreconditionFailed` unless this declaration equals `current`, named `what` (contract X2)."""
        require_equal(what, "type", self.type, current.type)
        require_equal(what, "durable", self.durable, current.durable)
        require_equal(what, "auto_delete", self.auto_delete, current.auto_delete)
        require_equal(what, "internal", self.internal, current.internal)
        require_equal_arguments(what, ("alternate-exchange",), self.arguments, current.arguments)

    def check(self) -> None:
        """Raise the error that refuses this type or these arguments (contract X4, X15), before anything is recorded."""
        Exchange(self.name, self.type, self.arguments)

    def record(self, vhost: str) -> ExchangeRecord:
        """Return the record of the exchange."""
        return ExchangeRecord(
            vhost, self.name, self.type, self.auto_delete, self.internal, self.arguments.raw, self.durable
        )


# Comparison


def require_equal(what: str, name: str, received: bool | str, current: bool | str) -> None:
    """Raise `PreconditionFailed` unless the property `name` of `what` (a resource phrase) is declared as it is now."""
    if received != current:
        raise PreconditionFailed(
            f"inequivalent arg '{name}' for {what}: received '{_word(received)}' but current is '{_word(current)}'"
        )


def _word(value: bool | str) -> str:
    return str(value).lower() if isinstance(value, bool) else value


def require_equal_arguments(what: str, names: tuple[str, ...], received: FieldTable, current: FieldTable) -> None:
    """Raise `PreconditionFailed` when one of the arguments `names` differs; integers of any width are equal."""
    for name in names:
        default = _DEFAULTS.get(name)
        if (declared(received, name) or default) != (declared(current, name) or default):
            raise PreconditionFailed(
                f"inequivalent arg '{name}' for {what}: received {_phrase(received, name)}"
                f" but current is {_phrase(current, name)}"
            )


def _phrase(arguments: FieldTable, name: str) -> str:
    if name not in arguments.values:
        return "none"
    return f"the value '{arguments.values[name]}' of type '{arguments.types[name]}'"
