"""Declarations of exchanges and queues: what must equal the existing one (contract X2, Q4), and what is recorded.

Whether a client may declare at all is decided by the virtual host.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from broker.codec.equality import declared
from broker.codec.field_table import FieldTable
from broker.errors import PreconditionFailed
from broker.ports.cluster_rows import Incarnation
from broker.ports.records import ExchangeRecord, QueueRecord
from broker.queue.queue import Queue
from broker.queue.settings import QueueSettings, QueueType
from broker.topology import exchange_arguments, queue_arguments
from broker.topology.exchange import Exchange, ExchangeTypes

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
    has_default_type: bool = False
    """Was the type that `arguments` name not named by the client?"""
    as_rabbitmq: bool = False
    """Are arguments refused, too, that RabbitMQ does not have for the type of the queue?"""

    @property
    def type(self) -> QueueType:
        """The type of the queue."""
        return QueueType.of(self.arguments)

    @property
    def is_exclusive(self) -> bool:
        """Does the client say that the queue is exclusive, as it does of durable subscriptions?"""
        return self.owner is not None or QueueSettings.of(self.arguments).is_subscription

    @property
    def level_count(self) -> int:
        """How many levels the queue has (`Queue.levels`)."""
        return QueueSettings.of(self.arguments).max_priority + 1

    def of_type(self, default: QueueType) -> QueueDeclaration:
        """Return the declaration with the type of a virtual host, if it names none and that type allows its properties;
        otherwise it is a classic queue (contract F12).
        """
        if self.arguments.values.get("x-queue-type", "") not in queue_arguments.NO_TYPE:
            return self
        exclusive = self.owner is not None
        is_possible = queue_arguments.fits(
            default, durable=self.durable, exclusive=exclusive, auto_delete=self.auto_delete
        )
        arguments = queue_arguments.with_type(self.arguments, default if is_possible else QueueType.CLASSIC)
        return replace(self, arguments=arguments, has_default_type=True)

    def as_subscription(self) -> QueueDeclaration:
        """Return the declaration of a queue that any connection may use, but with one consumer at a time."""
        return replace(self, owner=None, arguments=queue_arguments.with_subscription(self.arguments))

    def check(self, what: str) -> None:
        """Raise `PreconditionFailed` if there can be no such queue, named `what` (contract Q16, F12)."""
        queue_arguments.check(self.arguments, self.type, what, as_rabbitmq=self.as_rabbitmq)
        exclusive = self.owner is not None
        queue_arguments.require_kept(self.arguments, what, is_stored=self.durable and not exclusive)
        queue_arguments.require_properties(
            self.type, what, durable=self.durable, exclusive=exclusive, auto_delete=self.auto_delete
        )
        queue_arguments.require_sizes(self.arguments, self.type)

    def require_same(self, what: str, current: Queue) -> None:
        """Raise `PreconditionFailed` unless this declaration equals `current`, named `what` (contract Q4).

        A classic queue is the same as one of the default type, too: it may be older than that default.
        """
        self.require_same_properties(what, current)
        require_equal_arguments(what, self._compared(current), self.arguments, current.arguments)

    def is_like(self, current: Queue) -> bool:
        """Are the arguments those of `current`?"""
        try:
            require_equal_arguments("", self._compared(current), self.arguments, current.arguments)
        except PreconditionFailed:
            return False
        return True

    def require_same_properties(self, what: str, current: Queue) -> None:
        """Raise `PreconditionFailed` unless this declaration equals `current`, named `what`, but for arguments."""
        if self.owner is None:  # an exclusive queue is as good as transient, however it is declared
            require_equal(what, "durable", self.durable, current.durable)
        require_equal(what, "auto_delete", self.auto_delete, current.auto_delete)

    def _compared(self, current: Queue) -> list[str]:
        queue_type = current.settings.type
        names = list(queue_arguments.compared(queue_type))
        if self.has_default_type and queue_type is QueueType.CLASSIC:
            names.remove("x-queue-type")
        return names

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

    def check(self, what: str, types: ExchangeTypes) -> None:
        """Raise the error that refuses this type or these arguments (contract X4, X15), before anything is recorded.
        `what` is the exchange's resource phrase.
        """
        if not isinstance(self.arguments.values.get("alternate-exchange", ""), str):
            kind = self.arguments.types["alternate-exchange"]
            raise PreconditionFailed(f"invalid type '{kind}' for arg 'alternate-exchange' in {what}")
        exchange_arguments.check(self.type, self.arguments)
        Exchange(self.name, self.type, self.arguments, types)

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


def require_equal_arguments(what: str, names: Iterable[str], received: FieldTable, current: FieldTable) -> None:
    """Raise `PreconditionFailed` when one of the arguments `names` differs; integers of any width are equal."""
    if received == current:
        return
    for name in names:
        default = _DEFAULTS.get(name)
        if (declared(received, name) or default) != (declared(current, name) or default):
            is_in_both = name in received.values and name in current.values
            phrase = _value if is_in_both else _phrase
            raise PreconditionFailed(
                f"inequivalent arg '{name}' for {what}: received {phrase(received, name)}"
                f" but current is {phrase(current, name)}"
            )


def _phrase(arguments: FieldTable, name: str) -> str:
    if name not in arguments.values:
        return "none"
    return f"the value {_value(arguments, name)} of type '{arguments.types[name]}'"


def _value(arguments: FieldTable, name: str) -> str:
    value = arguments.values[name]
    return f"'{_word(value) if isinstance(value, (bool, str)) else value}'"
