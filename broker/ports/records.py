"""Exchanges, queues and bindings as they are recorded, and the changes that are recorded of them.

Plain values: what the core decides, the store writes and every node applies. Knows no behaviour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

DestinationKind: TypeAlias = Literal["queue", "exchange"]


@dataclass(frozen=True, slots=True)
class ExchangeRecord:
    """An exchange. `arguments` is the field table as it came, without its length.

    One that is not `durable` is recorded in a cluster only, and gone when the last of its nodes is.
    """

    vhost: str
    name: str
    type: str
    auto_delete: bool = False
    internal: bool = False
    arguments: bytes = b""
    durable: bool = True


@dataclass(frozen=True, slots=True)
class QueueRecord:
    """A queue. `queue_id` is its storage id: positive, never used again for another queue.

    One that is `exclusive` or not `durable` is recorded in a cluster only. `node_id` and `incarnation` say in which
    incarnation of which node the connection is that an exclusive queue belongs to.
    """

    vhost: str
    name: str
    queue_id: int
    exclusive: bool = False
    auto_delete: bool = False
    arguments: bytes = b""
    durable: bool = True
    node_id: str = ""
    incarnation: str = ""


@dataclass(frozen=True, slots=True)
class BindingRecord:
    """A binding; identified by all its fields."""

    vhost: str
    source: str
    destination_kind: DestinationKind
    destination: str
    routing_key: str = ""
    arguments: bytes = b""


@dataclass(frozen=True, slots=True)
class ExchangeDeclared:
    exchange: ExchangeRecord


@dataclass(frozen=True, slots=True)
class ExchangeDeleted:
    """The exchange and every binding from or to it are gone."""

    vhost: str
    name: str


@dataclass(frozen=True, slots=True)
class QueueDeclared:
    queue: QueueRecord


@dataclass(frozen=True, slots=True)
class QueueDeleted:
    """The queue, every binding to it and every message in it are gone. Also recorded for a queue that is not durable
    but has stored messages: then only the messages exist."""

    vhost: str
    name: str
    queue_id: int


@dataclass(frozen=True, slots=True)
class BindingAdded:
    binding: BindingRecord


@dataclass(frozen=True, slots=True)
class BindingRemoved:
    binding: BindingRecord


@dataclass(frozen=True, slots=True)
class VirtualHostCreated:
    name: str


@dataclass(frozen=True, slots=True)
class VirtualHostDeleted:
    """The virtual host and all that it holds are gone."""

    name: str


@dataclass(frozen=True, slots=True)
class SubscriptionRecord:
    """In this incarnation of that node a queue has consumers; `exclusive` when its only one shall be the only one
    anywhere.

    Recorded in a cluster only, and not for exclusive queues.
    """

    queue_id: int
    node_id: str
    incarnation: str
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class SubscriptionAdded:
    subscription: SubscriptionRecord


@dataclass(frozen=True, slots=True)
class SubscriptionRemoved:
    """The last consumer of a queue on that node is gone."""

    queue_id: int
    node_id: str
    incarnation: str


Change: TypeAlias = (
    ExchangeDeclared
    | ExchangeDeleted
    | QueueDeclared
    | QueueDeleted
    | BindingAdded
    | BindingRemoved
    | VirtualHostCreated
    | VirtualHostDeleted
    | SubscriptionAdded
    | SubscriptionRemoved
)


@dataclass(frozen=True, slots=True)
class Topology:
    """Everything recorded, in an order in which it can be applied; subscriptions in the order in which they came."""

    vhosts: Sequence[str] = field(default_factory=tuple)
    exchanges: Sequence[ExchangeRecord] = field(default_factory=tuple)
    queues: Sequence[QueueRecord] = field(default_factory=tuple)
    bindings: Sequence[BindingRecord] = field(default_factory=tuple)
    subscriptions: Sequence[SubscriptionRecord] = field(default_factory=tuple)
