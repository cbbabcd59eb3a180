"""What is recorded: virtual hosts, exchanges, queues, bindings and subscriptions; and how it changes.

Plain values: what the core decides, the store writes and every node applies. What the kinds of records have in common,
and where they differ, is in `kinds`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar

DestinationKind: TypeAlias = Literal["queue", "exchange"]


class Record(Protocol):
    """A frozen dataclass, hashable, with fields of `str`, `int`, `bool`, `bytes` or a `Literal` of strings."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


R = TypeVar("R", bound=Record)


# Records, and what a drop of one names


@dataclass(frozen=True, slots=True)
class VirtualHostRecord:
    """A virtual host. When it is dropped, all that it holds is gone."""

    name: str


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
class ExchangeKey:
    """When an exchange is dropped, every binding from or to it is gone."""

    vhost: str
    name: str


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
class QueueKey:
    """When a queue is dropped, every binding to it, every subscription to it and every message in it are gone.

    The id decides: a queue that has taken the name since is another one. Also dropped is a queue that is not recorded
    because it is not durable, but has messages in the store: then only those exist.
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
    """In this incarnation of that node a queue has consumers; `exclusive` when its only one shall be the only one
    anywhere.

    Recorded in a cluster only, and not for exclusive queues.
    """

    queue_id: int
    node_id: str
    incarnation: str
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class SubscriptionKey:
    """A subscription is dropped when the last consumer of a queue on that node is gone."""

    queue_id: int
    node_id: str
    incarnation: str


# Changes


@dataclass(frozen=True, slots=True)
class Put:
    """The record is there from now on."""

    record: Record


@dataclass(frozen=True, slots=True)
class Drop:
    """The record with this key is gone, with all that refers to it."""

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
