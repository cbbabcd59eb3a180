"""Encodes changes of topology as the payload of an event, and decodes them: JSON, with octets in hexadecimal.

An event can also carry a call to every other node: so it reaches nodes that can only read the store (ADR 32).
A payload of another version that this one does not know is refused; the reader then loads the whole topology.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin

from broker.errors import StoreError
from broker.ports.kinds import KINDS, Kinds, added_later, told
from broker.ports.records import Change, Drop, Put, Record

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Purge:
    """Every node drops the ready messages of this queue that it has."""

    queue_id: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Every node hands off about so many ready messages of this queue, if no consumer of its own takes them."""

    queue_id: int
    messages: int


Call: TypeAlias = Purge | Wanted

_CALLS: Final[Mapping[str, type[Call]]] = {"queue.purged": Purge, "queue.wanted": Wanted}
_NAMES: Final = {call: name for name, call in _CALLS.items()}


def encode_call(call: Call) -> bytes:
    """Return the payload of the event that carries a call."""
    described = [_NAMES[type(call)], asdict(call)]
    return json.dumps({"version": VERSION, "changes": [described]}, separators=(",", ":")).encode()


def _call(name: str, described: Any) -> Call:
    if not all(type(value) is int for value in described.values()):
        raise ValueError(f"{name} has {described!r}")
    return _CALLS[name](**described)


def encode(changes: Sequence[Change], kinds: Kinds = KINDS) -> bytes:
    """Return the payload of the event that records `changes`."""
    described = [_describe(change, kinds) for change in changes]
    return json.dumps({"version": VERSION, "changes": described}, separators=(",", ":")).encode()


def decode(payload: bytes, kinds: Kinds = KINDS) -> list[Change | Call]:
    """Return the changes, or the call, that `payload` describes, or raise `StoreError`."""
    try:
        event = json.loads(payload)
        if event["version"] != VERSION:
            raise ValueError(f"version {event['version']!r} is not {VERSION}")
        return [
            _call(name, described) if name in _CALLS else _change(name, described, kinds)
            for name, described in event["changes"]
        ]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise StoreError(f"an event of topology that makes no sense: {error!r}") from error


def takes_messages(payload: bytes) -> bool:
    """Return whether the event purges a queue, or drops something, which may be a queue with what is in it."""
    try:
        return any(isinstance(each, Purge | Drop) for each in decode(payload))
    except StoreError:
        return False


def _describe(change: Change, kinds: Kinds) -> list[Any]:
    kind = kinds.of(change)
    form, value = (kind.put, change.record) if isinstance(change, Put) else (kind.drop, change.key)
    described = {name: _to_json(each) for name, each in told(value).items()}
    return [form.name, {form.within: described} if form.within else described]


def _to_json(value: str | int | bytes) -> str | int:
    return value.hex() if isinstance(value, bytes) else value


def _change(name: str, described: Any, kinds: Kinds) -> Change:
    kind = kinds.by_event[name]
    is_put = name == kind.put.name
    form = kind.put if is_put else kind.drop
    if form.within:
        (described,) = _exactly((form.within,), described, name).values()
    return Put(_record(kind.record, described, kinds)) if is_put else Drop(_record(kind.key, described, kinds))


def _record(record_class: type[Any], described: Any, kinds: Kinds) -> Record:
    hints = kinds.types_of(record_class)
    known = _exactly(tuple(hints), {**added_later(record_class), **described}, record_class.__name__)
    record: Record = record_class(**{name: _value(name, hints[name], known[name]) for name in hints})
    return record


def _exactly(names: Sequence[str], described: Any, what: str) -> Mapping[str, Any]:
    if described.keys() != set(names):
        raise ValueError(f"{what} has the fields {', '.join(described)}")
    return described  # type: ignore[no-any-return]


def _value(name: str, hint: Any, value: Any) -> Any:
    if hint is bytes:
        return bytes.fromhex(value)
    if not (value in get_args(hint) if get_origin(hint) is Literal else type(value) is hint):
        raise ValueError(f"{name} is {value!r}")
    return value
