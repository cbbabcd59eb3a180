"""The arguments of queue.declare: which there are, what they may hold, and for which types of queue (contract Q16).

`ARGUMENTS` is the one table of them; an argument that is not in it is stored, echoed and means nothing. What an
argument does is in `queue/settings.py`. The texts are RabbitMQ's where it has the argument: Erlang terms, as its logs
and clients show them. Of this broker's own arguments, and those of plugins, they are plain words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from broker.codec.field_table import FieldTable
from broker.errors import PreconditionFailed
from broker.ports.levels import MAX_PRIORITY
from broker.queue.deduplication import EXCHANGE_TYPE, PROPERTIES, Deduplication, count
from broker.queue.settings import LEAST_RATE, MAX_NAME, MAX_TIME, MOST_RATE, Overflow, QueueSettings, QueueType
from broker.queue.values import age_in_ms
from broker.queue.wanted_values import BOOLEAN, COUNT, HEADER, PERSISTENCE, PROPERTY, RATE, TIME, not_wanted

Check: TypeAlias = Callable[[str, Any, Mapping[str, Any]], str | None]
"""Gets RabbitMQ's name of the value's type, the value, and all arguments; returns what is wrong."""

SUBSCRIPTION: Final = "x-durable-subscription"
"""This broker's own: the queue is a durable subscription of JMS (`topology/dialect.py`)."""
DEAD_LETTER_EXCHANGE: Final = "x-dead-letter-exchange"
DEAD_LETTER_ROUTING_KEY: Final = "x-dead-letter-routing-key"
INTEGERS: Final = frozenset(("byte", "short", "signedint", "long", "unsignedbyte", "unsignedshort", "unsignedint"))


# Checks


def _integer(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    return None if kind in INTEGERS else f'"expected integer, got {kind}"'


def _not_negative(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    return _integer(kind, value, values) or (f"{{value_negative,{value}}}" if value < 0 else None)


def _positive(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    return _not_negative(kind, value, values) or ("{value_zero,0}" if value == 0 else None)


def wrong_time(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    return _not_negative(kind, value, values) or (f"{{value_too_large,{value}}}" if value > MAX_TIME else None)


def _lease(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    return _positive(kind, value, values) or wrong_time(kind, value, values)


def _priority(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    too_high = f"{{max_value_exceeded,{value}}}"
    return _not_negative(kind, value, values) or (too_high if value > MAX_PRIORITY else None)


def _version(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    unknown = f"\"unsupported queue version '{value}'\""
    return _not_negative(kind, value, values) or (None if value in (1, 2) else unknown)


def _boolean(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    return None if kind == "bool" else _unacceptable(kind)


def _text(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    if kind != "longstr":
        return _unacceptable(kind)
    return None if isinstance(value, str) else _unacceptable("binary")  # texts are UTF-8 here


def _name(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    wrong = _text(kind, value, values)
    if wrong is None and (octets := len(value.encode())) > MAX_NAME:
        return f"{{value_too_long,{octets}}}"
    return wrong


def _unacceptable(kind: str) -> str:
    return f"{{unacceptable_type,{kind}}}"


def _dead_letter_key(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    has_exchange = DEAD_LETTER_EXCHANGE in values
    return _name(kind, value, values) or (None if has_exchange else "routing_key_but_no_dlx_defined")


def _one_of(*choices: str, otherwise: str) -> Check:
    """Return a check for one of `choices`; `otherwise` is the term for another text, `{}` in it stands for that."""

    def check(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
        return _text(kind, value, values) or (None if value in choices else otherwise.format(value))

    return check


def _longest_delay(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    least = values.get("x-delayed-retry-min")
    is_less = isinstance(least, int) and kind in INTEGERS and value < least
    return _lease(kind, value, values) or (f"{{less_than_delayed_retry_min,{value}}}" if is_less else None)


def _retries(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    wrong = _one_of("all", "failed", "returned", "disabled", otherwise="invalid_delayed_retry_type")
    needs_delay = value != "disabled" and "x-delayed-retry-min" not in values
    return wrong(kind, value, values) or ("delayed_retry_type_but_no_min_defined" if needs_delay else None)


def _type(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    known = (each.value for each in QueueType)
    return _one_of(*NO_TYPE, *known, otherwise="\"unsupported queue type '{}'\"")(kind, value, values)


def _header(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    return _name(kind, value, values) or (None if value else "it is empty")


def _count(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    is_text = kind == "longstr" and isinstance(value, str) and value.isascii() and value.isdecimal()
    return None if is_text and int(value[:18]) else _positive(kind, value, values)


def _window(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    is_too_long = count(value) is not None and count(value, MAX_TIME) is None
    return "it is too long" if is_too_long else _count(kind, value, values)


def _age(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    if kind != "longstr":
        return _unacceptable(kind)
    return "invalid_max_age" if age_in_ms(value) is None else None


def _groups(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    has_priorities = value and values.get("x-max-priority", 0) != 0
    has_both = "a queue has message groups or priorities (x-max-priority), not both"
    return in_plain_words(_boolean, BOOLEAN)(kind, value, values) or (has_both if has_priorities else None)


def _rate(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    is_number = kind in INTEGERS or kind in ("float", "double", "decimal")
    return None if is_number and LEAST_RATE <= value < MOST_RATE else "it is no rate"


def in_plain_words(check: Check, wanted: str) -> Check:
    """Return a check that says what is wanted when `check` finds something wrong."""

    def plain(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
        return None if check(kind, value, values) is None else not_wanted(wanted, kind, value)

    return plain


def _anything(kind: str, value: Any, values: Mapping[str, Any]) -> str | None:
    return None


# The table


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of queue.declare."""

    check: Check
    types: tuple[QueueType, ...]
    """The types of queue that may have it, in RabbitMQ 3.13 too as far as it knows it."""
    is_served_everywhere: bool = False
    """May queues of all types have it here, though not in RabbitMQ 3.13?"""

    def is_allowed(self, queue_type: QueueType, *, as_rabbitmq: bool) -> bool:
        """May a queue of this type have the argument? `as_rabbitmq`: only where RabbitMQ 3.13 allows it, too."""
        return queue_type in self.types or (self.is_served_everywhere and not as_rabbitmq)


_BOTH: Final = (QueueType.CLASSIC, QueueType.QUORUM)
_STREAM: Final = (QueueType.STREAM,)
_ALL: Final = tuple(QueueType)
_CLASSIC: Final = (QueueType.CLASSIC,)
_QUORUM: Final = (QueueType.QUORUM,)
NO_TYPE: Final = ("", "undefined")
"""Values of x-queue-type that ask for the default type, as no argument does."""

ARGUMENTS: Final[Mapping[str, Argument]] = {
    "x-expires": Argument(_lease, _BOTH),
    "x-message-ttl": Argument(wrong_time, _BOTH),
    DEAD_LETTER_EXCHANGE: Argument(_name, _BOTH),
    DEAD_LETTER_ROUTING_KEY: Argument(_dead_letter_key, _BOTH),
    "x-dead-letter-strategy": Argument(
        _one_of("at-most-once", "at-least-once", otherwise="invalid_dlx_strategy"), _QUORUM, is_served_everywhere=True
    ),
    "x-max-length": Argument(_not_negative, _BOTH),
    "x-max-length-bytes": Argument(_not_negative, _ALL),
    "x-max-in-memory-length": Argument(_not_negative, _QUORUM),
    "x-max-in-memory-bytes": Argument(_not_negative, _QUORUM),
    "x-max-priority": Argument(_priority, _CLASSIC),
    "x-overflow": Argument(_one_of(*(each.value for each in Overflow), otherwise="invalid_overflow"), _BOTH),
    "x-queue-mode": Argument(_one_of("default", "lazy", otherwise="\"unsupported queue mode '{}'\""), _CLASSIC),
    "x-queue-version": Argument(_version, _CLASSIC),
    "x-single-active-consumer": Argument(_boolean, _BOTH),
    "x-consumer-timeout": Argument(_not_negative, _BOTH),
    SUBSCRIPTION: Argument(in_plain_words(_boolean, BOOLEAN), _BOTH),
    "x-consumer-disconnected-timeout": Argument(_not_negative, _BOTH),
    "x-queue-type": Argument(_type, _ALL),
    "x-queue-master-locator": Argument(_anything, _CLASSIC),
    "x-queue-leader-locator": Argument(
        _one_of("client-local", "balanced", "random", "least-leaders", otherwise="invalid_queue_locator_arg"),
        (QueueType.QUORUM, QueueType.STREAM),
        is_served_everywhere=True,
    ),
    "x-quorum-initial-group-size": Argument(_positive, _QUORUM),
    "x-delivery-limit": Argument(_integer, _QUORUM, is_served_everywhere=True),
    "x-delayed-retry-type": Argument(_retries, _BOTH),
    "x-delayed-retry-min": Argument(_lease, _BOTH),
    "x-delayed-retry-max": Argument(_longest_delay, _BOTH),
    EXCHANGE_TYPE: Argument(in_plain_words(_boolean, BOOLEAN), _BOTH),
    "x-dedup-window": Argument(in_plain_words(_lease, TIME), _BOTH),
    "x-cache-size": Argument(in_plain_words(_count, COUNT), _BOTH),
    "x-cache-ttl": Argument(in_plain_words(_window, TIME), _BOTH),
    "x-cache-persistence": Argument(in_plain_words(_one_of("disk", "memory", otherwise=""), PERSISTENCE), _BOTH),
    "x-deduplication-header": Argument(in_plain_words(_header, HEADER), _BOTH),
    "x-deduplication-property": Argument(in_plain_words(_one_of(*PROPERTIES, otherwise=""), PROPERTY), _BOTH),
    "x-message-groups": Argument(_groups, _BOTH),
    "x-group-concurrency": Argument(in_plain_words(_positive, COUNT), _BOTH),
    "x-max-unacked": Argument(in_plain_words(_positive, COUNT), _BOTH),
    "x-max-rate": Argument(in_plain_words(_rate, RATE), _BOTH),
    "x-deliver-at-header": Argument(in_plain_words(_header, HEADER), _BOTH),
    "x-max-age": Argument(_age, _STREAM),
    "x-stream-max-segment-size-bytes": Argument(_not_negative, _STREAM),
    "x-stream-filter-size-bytes": Argument(_not_negative, _STREAM),
    "x-initial-cluster-size": Argument(_positive, _STREAM),
}
"""The arguments that mean something, in the order in which RabbitMQ checks them."""


def compared(queue_type: QueueType) -> Iterator[str]:
    """Return the names of the arguments in which two declarations of a queue of this type must agree (contract Q4)."""
    return (name for name, argument in ARGUMENTS.items() if argument.is_allowed(queue_type, as_rabbitmq=False))


def with_type(arguments: FieldTable, queue_type: QueueType) -> FieldTable:
    """Return `arguments`, which name no type, with the one that is the default; the classic one needs no name."""
    rest = arguments.without("x-queue-type") if "x-queue-type" in arguments.values else arguments
    if queue_type is QueueType.CLASSIC:
        return rest
    return FieldTable(rest.raw + FieldTable.of({"x-queue-type": queue_type.value}).raw)


def with_subscription(arguments: FieldTable) -> FieldTable:
    """Return `arguments` of a queue that is a durable subscription."""
    rest = arguments.without(SUBSCRIPTION) if SUBSCRIPTION in arguments.values else arguments
    return FieldTable(rest.raw + FieldTable.of({SUBSCRIPTION: True}).raw)


def require_properties(queue_type: QueueType, what: str, *, durable: bool, exclusive: bool, auto_delete: bool) -> None:
    """Raise `PreconditionFailed` if a queue of this type cannot be as it is declared (contract F12)."""
    if not fits(queue_type, durable=durable, exclusive=exclusive, auto_delete=auto_delete):
        wrong = "auto-delete" if auto_delete else "exclusive-owner" if exclusive else "non-durable"
        raise PreconditionFailed(f"invalid property '{wrong}' for {what}")


MAX_SEGMENT_SIZE: Final = 3_000_000_000


def require_sizes(arguments: FieldTable, queue_type: QueueType) -> None:
    """Raise `PreconditionFailed` for sizes that a stream may not have, in RabbitMQ's words. They have no effect here:
    segments are rows of the database, and filters are exact.
    """
    if queue_type is not QueueType.STREAM:
        return
    if arguments.values.get("x-stream-max-segment-size-bytes", 0) > MAX_SEGMENT_SIZE:
        raise PreconditionFailed("Exceeded max value for x-stream-max-segment-size-bytes")
    if not 16 <= arguments.values.get("x-stream-filter-size-bytes", 16) <= 255:
        raise PreconditionFailed("Invalid value for  x-stream-filter-size-bytes")


def require_kept(arguments: FieldTable, what: str, *, is_stored: bool) -> None:
    """Raise `PreconditionFailed` if a queue is to leave out duplicates, or keep groups apart, whose messages are not in
    the database, where the keys and the index of groups are.
    """
    if not is_stored and QueueSettings.of(arguments).has_groups:
        raise PreconditionFailed(
            f"invalid arg 'x-message-groups' for {what}: groups are kept in the database with their messages, so the"
            " queue must be durable and not exclusive"
        )
    if not is_stored and Deduplication.of(arguments.values) is not None:
        name = EXCHANGE_TYPE if EXCHANGE_TYPE in arguments.values else "x-dedup-window"
        raise PreconditionFailed(
            f"invalid arg '{name}' for {what}: keys are kept in the database with their messages, so the queue must be"
            " durable and not exclusive"
        )


def fits(queue_type: QueueType, *, durable: bool, exclusive: bool, auto_delete: bool) -> bool:
    """May a queue of this type have these properties?"""
    return queue_type is QueueType.CLASSIC or (durable and not exclusive and not auto_delete)


def check(arguments: FieldTable, queue_type: QueueType, what: str, *, as_rabbitmq: bool = False) -> None:
    """Raise `PreconditionFailed` for the first argument of the queue `what` (a resource phrase) that is wrong, or not
    one of its type; `as_rabbitmq`: for one, too, that RabbitMQ refuses for this type and this broker serves.
    """
    exchange = arguments.types.get(DEAD_LETTER_EXCHANGE, "longstr")
    if exchange != "longstr":
        raise PreconditionFailed(f"invalid type '{exchange}' for arg '{DEAD_LETTER_EXCHANGE}' in {what}")
    for name, wrong in _wrong(arguments, queue_type, as_rabbitmq):
        raise PreconditionFailed(f"invalid arg '{name}' for {what}{wrong}")


def without_effect(arguments: FieldTable, queue_type: QueueType) -> list[str]:
    """Return a phrase for each recorded argument that `check` would refuse."""
    return [f"'{name}'{wrong}" for name, wrong in _wrong(arguments, queue_type, False)]


def _wrong(arguments: FieldTable, queue_type: QueueType, as_rabbitmq: bool) -> Iterator[tuple[str, str]]:
    if not arguments:
        return
    values, types = arguments.values, arguments.types
    known = [name for name in ARGUMENTS if name in values]
    known.sort(key="x-queue-type".__ne__)  # the type comes first: what else is allowed depends on it
    others = []
    for name in known:
        argument = ARGUMENTS[name]
        if not argument.is_allowed(queue_type, as_rabbitmq=as_rabbitmq):
            others.append(name)
        elif (term := argument.check(types[name], values[name], values)) is not None:
            yield name, f": {term}"
    for name in sorted(others, key=list(values).index):
        yield name, f" of queue type rabbit_{queue_type.value}_queue"
