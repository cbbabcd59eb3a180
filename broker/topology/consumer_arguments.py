"""The arguments of basic.consume: what they may hold (contract B17, B30, S4, S5). All others are ignored."""

from __future__ import annotations

from typing import Any, Final

from broker.codec.field_table import FieldTable, Timestamp
from broker.errors import PreconditionFailed
from broker.queue.settings import QueueType
from broker.queue.stream_cursor import Since, Start, StreamWish
from broker.queue.values import age_in_ms
from broker.queue.wanted_values import BOOLEAN, not_wanted
from broker.topology.queue_arguments import INTEGERS, wrong_time

_PRIORITY = "x-priority"
_TIMEOUT = "x-consumer-timeout"
_MIRRORED = "x-cancel-on-ha-failover"
_OFFSET: Final = "x-stream-offset"
_FILTER: Final = "x-stream-filter"
_UNFILTERED: Final = "x-stream-match-unfiltered"
KEPT: Final = "x-stream-automatic-offset-tracking"
"""This broker's and LavinMQ's: the place of the consumer is kept under its tag."""
_OF_STREAMS: Final = (_OFFSET, _FILTER, _UNFILTERED)


def priority_of(arguments: FieldTable, what: str) -> int:
    """Return the priority of a consumer, 0 if it names none; raise `PreconditionFailed` for an argument of the wrong
    type. `what` is the resource phrase of its queue.
    """
    types = arguments.types
    kind = types.get(_PRIORITY, "long")
    if kind not in INTEGERS:
        raise PreconditionFailed(f"invalid arg '{_PRIORITY}' for {what}: \"expected integer, got {kind}\"")
    kind = types.get(_MIRRORED, "bool")
    if kind != "bool":
        raise PreconditionFailed(f"invalid arg '{_MIRRORED}' for {what}: {{unacceptable_type,{kind}}}")
    return int(arguments.values.get(_PRIORITY, 0))


def timeout_of(arguments: FieldTable, what: str) -> int:
    """Return how many milliseconds deliveries have to be answered, 0 if the consumer does not say so; raise
    `PreconditionFailed` for what is no such time (contract B30).
    """
    kind = arguments.types.get(_TIMEOUT)
    if kind is None:
        return 0
    value = arguments.values[_TIMEOUT]
    if wrong := wrong_time(kind, value, arguments.values):
        raise PreconditionFailed(f"invalid arg '{_TIMEOUT}' for {what}: {wrong}")
    return int(value)


def refuse_consumer_arguments(arguments: FieldTable, queue_type: QueueType, what: str) -> None:
    """Raise `PreconditionFailed` for an argument that only consumers of streams have, or none of theirs."""
    # What is taken back from a consumer of a stream would not come again.
    refused = (_TIMEOUT,) if queue_type is QueueType.STREAM else _OF_STREAMS
    for name in refused:
        if name in arguments.values:
            raise PreconditionFailed(f"invalid arg '{name}' for {what} of queue type rabbit_{queue_type.value}_queue")


def stream_wish(arguments: FieldTable, what: str, now_ms: int, *, has_tag: bool) -> StreamWish:
    """Return what a consumer of a stream asks for; raise `PreconditionFailed` for what is none. `has_tag`: has the
    client named its consumer?
    """
    if not arguments:
        return StreamWish()
    values = arguments.values
    filters = _filters(arguments, what)
    if not isinstance(values.get(_UNFILTERED, False), bool):
        raise _unacceptable(_UNFILTERED, what, arguments.types[_UNFILTERED])
    is_kept = values.get(KEPT, False)
    if not isinstance(is_kept, bool):
        wrong = not_wanted(BOOLEAN, arguments.types[KEPT], values[KEPT])
        raise PreconditionFailed(f"invalid arg '{KEPT}' for {what}: {wrong}")
    if is_kept and not has_tag:
        raise PreconditionFailed(f"invalid arg '{KEPT}' for {what}: the consumer needs a tag, under which it is kept")
    start: Start | Since | int = Start.NEXT
    if _OFFSET in values:
        start = _start_of(values[_OFFSET], arguments.types[_OFFSET], what, now_ms)
    return StreamWish(start, filters, values.get(_UNFILTERED) is True, is_kept)


def _start_of(value: Any, kind: str, what: str, now_ms: int) -> Start | Since | int:
    if isinstance(value, Timestamp):
        return Since(value.seconds * 1000)
    if kind in INTEGERS:
        return max(int(value), 0)
    if isinstance(value, str):
        named = next((each for each in Start if each.value == value), None)
        age = age_in_ms(value)
        if named is not None:
            return named
        if age is not None:
            return Since(max(now_ms - age, 0))
    shown = f'<<"{value}">>' if isinstance(value, str) else str(value)
    raise PreconditionFailed(f"invalid arg '{_OFFSET}' for {what}: {{invalid_stream_offset_arg,{{{kind},{shown}}}}}")


def _filters(arguments: FieldTable, what: str) -> frozenset[str]:
    """Return the values that a consumer wants: one text, or an array of them. RabbitMQ lets all messages through when
    it is something else; nobody who asks for a filter means that.
    """
    value = arguments.values.get(_FILTER, ())
    if isinstance(value, str):
        return frozenset([value])
    if not isinstance(value, list | tuple):
        kind = "binary" if isinstance(value, bytes) else arguments.types[_FILTER]
        raise _unacceptable(_FILTER, what, kind)
    if not all(isinstance(each, str) for each in value):
        raise PreconditionFailed(f"invalid arg '{_FILTER}' for {what}: each value of the array must be a text")
    return frozenset(value)


def _unacceptable(name: str, what: str, kind: str) -> PreconditionFailed:
    return PreconditionFailed(f"invalid arg '{name}' for {what}: {{unacceptable_type,{kind}}}")
