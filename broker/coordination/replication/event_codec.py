"""Changes of topology as the payload of an event, and back: JSON, with octets in hexadecimal.

Knows the shape of every change and nothing of what it means. A payload that another version of the broker wrote and
that this one does not know is refused: the reader loads the whole topology instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from broker.errors import StoreError
from broker.ports.records import (
    BindingAdded,
    BindingRecord,
    BindingRemoved,
    Change,
    ExchangeDeclared,
    ExchangeDeleted,
    ExchangeRecord,
    QueueDeclared,
    QueueDeleted,
    QueueRecord,
    SubscriptionAdded,
    SubscriptionRecord,
    SubscriptionRemoved,
    VirtualHostCreated,
    VirtualHostDeleted,
)

VERSION: Final = 1

_CHANGES: Final[Mapping[str, type[Change]]] = {
    kind.__name__: kind
    for kind in (
        ExchangeDeclared,
        ExchangeDeleted,
        QueueDeclared,
        QueueDeleted,
        BindingAdded,
        BindingRemoved,
        VirtualHostCreated,
        VirtualHostDeleted,
        SubscriptionAdded,
        SubscriptionRemoved,
    )
}
_RECORDS: Final[Mapping[str, type[Any]]] = {
    kind.__name__: kind for kind in (ExchangeRecord, QueueRecord, BindingRecord, SubscriptionRecord)
}


def encode(changes: Sequence[Change]) -> bytes:
    """Return the payload of the event that `changes` are."""
    described = [[type(change).__name__, _describe(change)] for change in changes]
    return json.dumps({"version": VERSION, "changes": described}, separators=(",", ":")).encode()


def decode(payload: bytes) -> list[Change]:
    """Return the changes that `payload` describes, or raise `StoreError`."""
    try:
        event = json.loads(payload)
        if event["version"] != VERSION:
            raise ValueError(f"version {event['version']!r} is not {VERSION}")
        return [_build(_CHANGES[kind], described) for kind, described in event["changes"]]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise StoreError(f"an event of topology that makes no sense: {error!r}") from error


def _describe(value: Any) -> dict[str, Any]:
    return {field.name: _to_json(getattr(value, field.name)) for field in fields(value)}


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, (str, int)) else _describe(value)


def _build(kind: type[Any], described: Any) -> Any:
    known = {field.name: field.type for field in fields(kind)}
    if described.keys() != known.keys():
        raise ValueError(f"{kind.__name__} has the fields {', '.join(described)}")
    return kind(**{name: _value(f"{kind.__name__}.{name}", known[name], described[name]) for name in known})


def _value(name: str, annotation: Any, value: Any) -> Any:
    record = _RECORDS.get(annotation)
    if record is not None:
        return _build(record, value)
    if annotation == "bytes":
        return bytes.fromhex(value)
    if not _IS[annotation](value):
        raise ValueError(f"{name} is {value!r}")
    return value


_IS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "str": lambda value: type(value) is str,
    "int": lambda value: type(value) is int,
    "bool": lambda value: type(value) is bool,
    "DestinationKind": lambda value: value in ("queue", "exchange"),
}
