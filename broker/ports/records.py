"""The records of topology (virtual hosts, exchanges, queues, bindings, subscriptions) and their changes.

The core decides on them, the store writes them, and every node applies them. `kinds` says what the kinds of records
have in common and how they differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, Protocol, TypeAlias, TypeVar

DestinationKind: TypeAlias = Literal["queue", "exchange"]


class Record(Protocol):
    """A frozen dataclass, hashable, with fields of `str`, `int`, `bool`, `bytes` or a `Literal` of strings."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


R = TypeVar("R", bound=Record)

ADDED_LATER: Final = {"added later": True}
"""Metadata of a field with a default that earlier versions do not know: nodes are told it only where it says more."""


# Records, and the keys that name them in a drop


@dataclass(frozen=True, slots=True)
class VirtualHostRecord:
    """A virtual host. Dropping it drops all that it holds."""

    name: str


@dataclass(frozen=True, slots=True)
class ExchangeRecord:
    """An exchange. `arguments` is the encoded field table without its length.

    One that is not `durable` is recorded in a cluster only, and disappears with the last node.
    """

    vhost: str
    name: str
    type: str
    auto_delete: bool = False
    internal: bool = False
    arguments: bytes = b""
    durable: bool = True


@dataclass(frozen=True, slots=True)
class ExchangeKey:
    """Names an exchange to drop; every binding from or to it is dropped too."""

    vhost: str
    name: str


@dataclass(frozen=True, slots=True)
class QueueRecord:
    """A queue. `queue_id` is its storage id: positive, and never used again for another queue.

    One that is `exclusive` or not `durable` is recorded in a cluster only. `node_id` and `incarnation` name the
    incarnation whose connection owns an exclusive queue.
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
class QueueKey:
    """Names a queue to drop; its bindings, subscriptions and messages are dropped too.

    The id decides: a queue that has taken the name since is another one. A queue that is not recorded, because it is
    not durable, is dropped for its messages in the store.
    """

    vhost: str
    name: str
    queue_id: int


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
class SubscriptionRecord:
    """A node has consumers of a queue in this incarnation; `exclusive` when its one consumer excludes all others on all
    nodes.

    Recorded in a cluster only, and not for exclusive queues. `priority` is the highest of the node's consumers, if the
    queue has a single active consumer; else 0. It has 64 bits.
    """

    queue_id: int
    node_id: str
    incarnation: str
    exclusive: bool = False
    priority: int = field(default=0, metadata=ADDED_LATER)


@dataclass(frozen=True, slots=True)
class SubscriptionKey:
    """Names a subscription to drop, when the last consumer of a queue on that node has left."""

    queue_id: int
    node_id: str
    incarnation: str


# Who may do what


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user. `password_hash` is a text of `auth/password_hash`; without one, the configuration has the password, if
    any. `tags` are words with commas between them, in order. One that is `loopback_only` may come from the node's own
    machine only. Of a limit, -1 means that there is none.
    """

    name: str
    password_hash: str = ""
    tags: str = ""
    loopback_only: bool = False
    max_connections: int = -1
    max_channels: int = -1


@dataclass(frozen=True, slots=True)
class UserKey:
    """Names a user to drop, with all that the user may do."""

    name: str


@dataclass(frozen=True, slots=True)
class PermissionRecord:
    """What a user may do in a virtual host: a regular expression for the names of resources (contract A8), for each
    kind of permission. Without a record the user may not open it.
    """

    user: str
    vhost: str
    configure: str = ""
    write: str = ""
    read: str = ""


@dataclass(frozen=True, slots=True)
class PermissionKey:
    """Names what a user may do in a virtual host, to drop it."""

    user: str
    vhost: str


@dataclass(frozen=True, slots=True)
class TopicPermissionRecord:
    """What routing keys a user may publish with, and bind by, at a topic exchange (contract A9). Without a record these
    are all.
    """

    user: str
    vhost: str
    exchange: str
    write: str = ""
    read: str = ""


@dataclass(frozen=True, slots=True)
class TopicPermissionKey:
    """Names the permissions at one topic exchange, to drop them."""

    user: str
    vhost: str
    exchange: str


@dataclass(frozen=True, slots=True)
class VirtualHostSettingsRecord:
    """What is set of a virtual host. `tags` are as of `UserRecord`; an empty `default_queue_type` is that of the
    configuration; of a limit, -1 means that there is none of its own. `redeclaration` is one of
    `topology/alteration.REDECLARATIONS`. A virtual host that is `protected_from_deletion` is not deleted until that is
    lifted.
    """

    vhost: str
    description: str = ""
    tags: str = ""
    default_queue_type: str = ""
    max_connections: int = -1
    max_queues: int = -1
    redeclaration: str = field(default="", metadata=ADDED_LATER)
    protected_from_deletion: bool = field(default=False, metadata=ADDED_LATER)


@dataclass(frozen=True, slots=True)
class VirtualHostSettingsKey:
    """Names the settings of a virtual host, to drop them."""

    vhost: str


# Policies and parameters


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """A policy of a virtual host, or with `is_operator` an operator policy (contract A1, A2).

    `apply_to` is one of `topology/policies.APPLY_TO`; `definition` is a JSON object.
    """

    vhost: str
    name: str
    is_operator: bool = False
    pattern: str = ""
    apply_to: str = "all"
    priority: int = 0
    definition: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class PolicyKey:
    """Names a policy to drop."""

    vhost: str
    name: str
    is_operator: bool = False


@dataclass(frozen=True, slots=True)
class GlobalParameterRecord:
    """A parameter of the whole cluster, which means nothing to this broker: `value` is JSON."""

    name: str
    value: bytes = b"null"


@dataclass(frozen=True, slots=True)
class GlobalParameterKey:
    """Names a parameter of the whole cluster, to drop it."""

    name: str


# Changes


@dataclass(frozen=True, slots=True)
class Put:
    """The record exists from now on."""

    record: Record


@dataclass(frozen=True, slots=True)
class Drop:
    """The record with this key is dropped, with all that refers to it."""

    key: Record


Change: TypeAlias = Put | Drop


class Topology:
    """Records of all kinds; those of one kind keep the order in which they were handed in."""

    __slots__ = ("_records",)

    def __init__(self, records: Iterable[Record] = ()) -> None:
        by_class: dict[type[Any], list[Any]] = {}
        for record in records:
            by_class.setdefault(type(record), []).append(record)
        self._records = {record_class: tuple(found) for record_class, found in by_class.items()}

    def of(self, record_class: type[R]) -> tuple[R, ...]:
        """Return the records of one kind."""
        return self._records.get(record_class, ())

    def __iter__(self) -> Iterator[Record]:
        for records in self._records.values():
            yield from records

    def __eq__(self, other: object) -> bool:
        return self._records == other._records if isinstance(other, Topology) else NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self._records.items()))

    def __repr__(self) -> str:
        return f"Topology({list(self)!r})"
