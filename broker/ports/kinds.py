"""The kinds of records: what identifies a record, what is dropped with it, and its name in events.

One entry in `KINDS` is all that events, the hash, the diff and the memory store need to know of a kind. Its SQL table
is in `store/sql/topology`, and its effect on a node's memory in `topology/apply`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Final, TypeAlias, get_type_hints

from broker.ports.records import (
    ADDED_LATER,
    BindingRecord,
    Change,
    ExchangeKey,
    ExchangeRecord,
    GlobalParameterKey,
    GlobalParameterRecord,
    PermissionKey,
    PermissionRecord,
    PolicyKey,
    PolicyRecord,
    Put,
    QueueKey,
    QueueRecord,
    Record,
    SubscriptionKey,
    SubscriptionRecord,
    TopicPermissionKey,
    TopicPermissionRecord,
    UserKey,
    UserRecord,
    VirtualHostRecord,
    VirtualHostSettingsKey,
    VirtualHostSettingsRecord,
)

Condition: TypeAlias = Mapping[str, str | int | bool]
"""Fields, and the value that each of them must have."""


@dataclass(frozen=True, slots=True)
class Reference:
    """How records of one kind refer to records of the kind `to`, with which they are dropped.

    `fields` maps fields of `to`'s key to fields of the referring record; `when` says which records have this reference.
    """

    to: type[Any]
    fields: Mapping[str, str]
    when: Condition = field(default_factory=dict)

    def is_to(self, key: Record, record: Record) -> bool:
        """Does `record` refer to the record that has this key?"""
        return self.value_of(record) == tuple(getattr(key, name) for name in self.fields)

    def value_of(self, record: Record) -> tuple[Any, ...] | None:
        """Return what `record` refers to: the values of `fields`; None when it has no such reference."""
        return tuple(getattr(record, name) for name in self.fields.values()) if holds(self.when, record) else None


@dataclass(frozen=True, slots=True)
class EventForm:
    """How an event describes a change: the event's name, and the member that holds the fields (empty: they stand
    alone).
    """

    name: str
    within: str = ""


class Kind:
    """One kind of record."""

    __slots__ = (
        "drop",
        "is_replaced",
        "key",
        "key_of",
        "mortal",
        "name",
        "ordered_by",
        "put",
        "record",
        "references",
        "unique",
        "unique_of",
    )

    def __init__(
        self,
        name: str,
        record: type[Any],
        key: type[Any],
        *,
        put: EventForm,
        drop: EventForm,
        unique: tuple[str, ...] = (),
        references: tuple[Reference, ...] = (),
        mortal: tuple[Condition, ...] = (),
        ordered_by: str = "",
        is_replaced: bool = False,
    ) -> None:
        """`key` has the fields of `record` that identify it; it is `record` itself when all of them do.

        At most one record has the same values in the fields `unique` (by default all of the key): the first that was
        put, or of those with one key the last if `is_replaced`. A record that meets one of the conditions `mortal`
        disappears with the last node that knows it. Records with equal values in the field `ordered_by` have an order
        that matters.
        """
        self.name = name
        self.record = record
        self.key = key
        self.put = put
        self.drop = drop
        self.unique = unique or field_names(key)
        self.references = references
        self.mortal = mortal
        self.ordered_by = ordered_by
        self.is_replaced = is_replaced
        self.unique_of: Callable[[Any], tuple[Any, ...]] = values_of(self.unique)
        key_values = values_of(field_names(key))
        self.key_of: Callable[[Any], Any] = lambda value: value if type(value) is key else key(*key_values(value))

    def is_mortal(self, record: Record) -> bool:
        """Does `record` disappear with the last node that knows it?"""
        return any(holds(condition, record) for condition in self.mortal)


class Kinds:
    """A table of kinds, in an order in which their records can be put: no kind refers to a later one."""

    __slots__ = ("_by_class", "_kinds", "_referring", "_types", "by_event")

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._kinds = tuple(kinds)
        self._by_class = {record_class: kind for kind in self._kinds for record_class in (kind.record, kind.key)}
        self._types = {record_class: get_type_hints(record_class) for record_class in self._by_class}
        self.by_event: Mapping[str, Kind] = {form.name: kind for kind in self._kinds for form in (kind.put, kind.drop)}
        self._referring: dict[type[Any], list[tuple[Kind, Reference]]] = {kind.record: [] for kind in self._kinds}
        for kind in self._kinds:
            for reference in kind.references:
                self._referring[reference.to].append((kind, reference))

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._kinds)

    def of(self, change: Change) -> Kind:
        """Return the kind of record that `change` is about."""
        return self._by_class[type(change.record if isinstance(change, Put) else change.key)]

    def types_of(self, record_class: type[Any]) -> Mapping[str, Any]:
        """Return the types of the fields of a record or key in their order."""
        return self._types[record_class]

    def referring_to(self, kind: Kind) -> Sequence[tuple[Kind, Reference]]:
        """Return the kinds whose records are dropped with a record of `kind`, each with the reference."""
        return self._referring[kind.record]


def field_names(record_class: type[Any]) -> tuple[str, ...]:
    """Return the names of a record's fields in their order."""
    return tuple(each.name for each in fields(record_class))


def told(value: Record) -> dict[str, Any]:
    """Return the fields of a record or key that other nodes are told. Those of earlier versions understand it as long
    as what was added later says nothing.
    """
    added = added_later(type(value))
    found = ((name, getattr(value, name)) for name in field_names(type(value)))
    return {name: each for name, each in found if name not in added or each != added[name]}


def added_later(record_class: type[Any]) -> dict[str, Any]:
    """Return the fields of a record or key that were added later, with their defaults."""
    return {each.name: each.default for each in fields(record_class) if each.metadata == ADDED_LATER}


def values_of(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function from a value to the tuple of these attributes."""
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda value: (get(value),)


def holds(condition: Condition, record: Record) -> bool:
    """Does `record` meet the condition?"""
    return all(getattr(record, name) == value for name, value in condition.items())


_OF_VHOST: Final = Reference(VirtualHostRecord, {"name": "vhost"})
_OF_USER: Final = Reference(UserRecord, {"name": "user"})

# The names of events and the order of kinds are part of what nodes of different versions tell each other.
KINDS: Final = Kinds(
    [
        Kind(
            "vhost",
            VirtualHostRecord,
            VirtualHostRecord,
            put=EventForm("VirtualHostCreated"),
            drop=EventForm("VirtualHostDeleted"),
        ),
        # Before what they apply to, so that nothing is ever there without what they say.
        Kind(
            "policy",
            PolicyRecord,
            PolicyKey,
            put=EventForm("PolicyPut", within="policy"),
            drop=EventForm("PolicyDropped"),
            references=(_OF_VHOST,),
            is_replaced=True,
        ),
        Kind(
            "exchange",
            ExchangeRecord,
            ExchangeKey,
            put=EventForm("ExchangeDeclared", within="exchange"),
            drop=EventForm("ExchangeDeleted"),
            references=(_OF_VHOST,),
            mortal=({"durable": False},),
        ),
        Kind(
            "queue",
            QueueRecord,
            QueueKey,
            put=EventForm("QueueDeclared", within="queue"),
            drop=EventForm("QueueDeleted"),
            unique=("vhost", "name"),
            references=(_OF_VHOST,),
            mortal=({"durable": False}, {"exclusive": True}),
            is_replaced=True,
        ),
        Kind(
            "binding",
            BindingRecord,
            BindingRecord,
            put=EventForm("BindingAdded", within="binding"),
            drop=EventForm("BindingRemoved", within="binding"),
            references=(
                _OF_VHOST,
                Reference(ExchangeRecord, {"vhost": "vhost", "name": "source"}),
                Reference(
                    ExchangeRecord, {"vhost": "vhost", "name": "destination"}, when={"destination_kind": "exchange"}
                ),
                Reference(QueueRecord, {"vhost": "vhost", "name": "destination"}, when={"destination_kind": "queue"}),
            ),
        ),
        Kind(
            "subscription",
            SubscriptionRecord,
            SubscriptionKey,
            put=EventForm("SubscriptionAdded", within="subscription"),
            drop=EventForm("SubscriptionRemoved"),
            references=(Reference(QueueRecord, {"queue_id": "queue_id"}),),
            mortal=({},),
            ordered_by="queue_id",
        ),
        Kind(
            "user",
            UserRecord,
            UserKey,
            put=EventForm("UserPut", within="user"),
            drop=EventForm("UserDropped"),
            is_replaced=True,
        ),
        Kind(
            "permission",
            PermissionRecord,
            PermissionKey,
            put=EventForm("PermissionPut", within="permission"),
            drop=EventForm("PermissionDropped"),
            references=(_OF_VHOST, _OF_USER),
            is_replaced=True,
        ),
        Kind(
            "topic permission",
            TopicPermissionRecord,
            TopicPermissionKey,
            put=EventForm("TopicPermissionPut", within="permission"),
            drop=EventForm("TopicPermissionDropped"),
            references=(_OF_VHOST, _OF_USER),
            is_replaced=True,
        ),
        Kind(
            "vhost settings",
            VirtualHostSettingsRecord,
            VirtualHostSettingsKey,
            put=EventForm("VirtualHostSettingsPut", within="settings"),
            drop=EventForm("VirtualHostSettingsDropped"),
            references=(_OF_VHOST,),
            is_replaced=True,
        ),
        Kind(
            "global parameter",
            GlobalParameterRecord,
            GlobalParameterKey,
            put=EventForm("GlobalParameterPut", within="parameter"),
            drop=EventForm("GlobalParameterDropped"),
            is_replaced=True,
        ),
    ]
)
