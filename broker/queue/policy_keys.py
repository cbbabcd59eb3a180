"""The keys of policies: what each may hold, which queues it is for, and whose value holds (contract A1 to A4).

`KEYS` is the one table of them. A queue's setting has the name of its argument, mostly without `x-`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeAlias

from broker.queue.deduplication import PROPERTIES, argument_of
from broker.queue.settings import LEAST_RATE, MAX_NAME, MAX_TIME, MOST_RATE, Overflow, QueueType
from broker.queue.values import age_in_ms
from broker.queue.wanted_values import BOOLEAN, COUNT, HEADER, PERSISTENCE, PROPERTY, RATE, TIME

Check: TypeAlias = Callable[[Any], bool]
Choice: TypeAlias = Callable[[Any, Any], Any]
"""Gets two values of one key, and returns the one that holds."""

_UNKNOWN: Final[Mapping[str, str]] = {
    "federation-upstream": "federation",
    "federation-upstream-set": "federation",
}
"""Keys that mean something elsewhere, or will here, and what they belong to."""


# Checks


def _from(least: int, most: int | None = None) -> Check:
    def check(value: Any) -> bool:
        return _is_number(value) and value >= least and (most is None or value <= most)

    return check


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_rate(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and LEAST_RATE <= value < MOST_RATE


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value.encode("utf-8", "surrogateescape")) <= MAX_NAME


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _is_header(value: Any) -> bool:
    return _is_name(value) and bool(value)


def _one_of(*choices: str) -> Check:
    return lambda value: value in choices


def _anything(value: Any) -> bool:
    return True


# Whose value holds. The first one is the policy's, or the operator policy's.


def _first(first: Any, second: Any) -> Any:
    return first


def _second(first: Any, second: Any) -> Any:
    return second


def _smaller(first: Any, second: Any) -> Any:
    return min(first, second) if _is_number(second) or isinstance(second, float | Decimal) else first


def _smaller_limit(first: Any, second: Any) -> Any:
    """Return the smaller limit, or the larger number if one is negative: it means that there is no limit."""
    if not _is_number(second):
        return first
    return max(first, second) if first < 0 or second < 0 else min(first, second)


# The table


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a policy."""

    noun: str
    """What its value is called where it is refused."""
    check: Check
    or_argument: Choice | None = None
    """Chooses between the policy's value and the argument's; None if the key has no effect here."""
    or_operator: Choice | None = None
    """Chooses between an operator policy's value and a policy's; None if an operator policy may not hold the key."""
    types: tuple[QueueType, ...] = (QueueType.CLASSIC, QueueType.QUORUM)
    """The types of queue that it is for; a policy with a key that is not for a queue leaves that queue alone."""
    wanted: str = ""
    """What it may hold, in which unit: said of keys that RabbitMQ does not have."""


_CLASSIC: Final = (QueueType.CLASSIC,)
_QUORUM: Final = (QueueType.QUORUM,)
_STREAM: Final = (QueueType.STREAM,)

KEYS: Final[Mapping[str, Key]] = {
    "alternate-exchange": Key("alternate exchange name", _is_name, _second),
    "message-ttl": Key("message TTL", _from(0, MAX_TIME), _smaller, _smaller),
    "expires": Key("queue expiry", _from(1, MAX_TIME), _smaller, _smaller),
    "max-length": Key("maximum length", _from(0), _smaller, _smaller),
    "max-length-bytes": Key("maximum length in bytes", _from(0), _smaller, _smaller, tuple(QueueType)),
    "overflow": Key("overflow value", _one_of(*(each.value for each in Overflow)), _second, _first),
    "dead-letter-exchange": Key("dead letter exchange name", _is_name, _second),
    "dead-letter-routing-key": Key("dead letter routing key", _is_name, _second),
    "dead-letter-strategy": Key(
        "dead letter strategy", _one_of("at-most-once", "at-least-once"), _second, types=_QUORUM
    ),
    "delivery-limit": Key("delivery limit", _from(-1), _smaller_limit, _smaller_limit, _QUORUM),
    "delayed-retry-type": Key(
        "delayed retry type", _one_of("all", "failed", "returned", "disabled"), _first, types=_QUORUM
    ),
    "delayed-retry-min": Key("least retry delay", _from(1, MAX_TIME), _smaller, types=_QUORUM),
    "delayed-retry-max": Key("longest retry delay", _from(1, MAX_TIME), _smaller, types=_QUORUM),
    "consumer-timeout": Key("consumer timeout", _from(0, MAX_TIME), _smaller, _smaller),
    "max-unacked": Key("maximum of unacknowledged messages", _from(1), _smaller, _smaller, wanted=COUNT),
    "max-rate": Key("maximum rate of deliveries", _is_rate, _smaller, _smaller, wanted=RATE),
    "group-concurrency": Key("concurrency of a group", _from(1), _smaller, _smaller, wanted=COUNT),
    "message-deduplication": Key("message deduplication", _is_boolean, _first, wanted=BOOLEAN),
    "dedup-window": Key("deduplication window", _from(1, MAX_TIME), _first, wanted=TIME),
    "cache-size": Key("number of keys", _from(1), _first, wanted=COUNT),
    "cache-ttl": Key("deduplication window", _from(1, MAX_TIME), _first, wanted=TIME),
    "deduplication-header": Key("deduplication header", _is_header, _first, wanted=HEADER),
    "deduplication-property": Key("deduplication property", _one_of(*PROPERTIES), _first, wanted=PROPERTY),
    "deliver-at-header": Key("header of delivery times", _is_header, _first, wanted=HEADER),
    # The names that RabbitMQ's community plugin gives them.
    "x-message-deduplication": Key("message deduplication", _is_boolean, _first, wanted=BOOLEAN),
    "x-cache-size": Key("number of keys", _from(1), _first, wanted=COUNT),
    "x-cache-ttl": Key("deduplication window", _from(1, MAX_TIME), _first, wanted=TIME),
    "x-cache-persistence": Key("cache persistence", _one_of("disk", "memory"), wanted=PERSISTENCE),
    # What says where RabbitMQ keeps a queue has no effect: all queues are in the database.
    "queue-mode": Key("queue-mode value", _one_of("default", "lazy"), types=_CLASSIC),
    "queue-version": Key("queue version", _one_of(1, 2), or_operator=_first, types=_CLASSIC),  # type: ignore[arg-type]
    "queue-master-locator": Key("queue master locator value", _anything, types=_CLASSIC),
    "queue-leader-locator": Key(
        "queue leader locator value",
        _one_of("client-local", "balanced", "random", "least-leaders"),
        types=tuple(QueueType),
    ),
    "ha-mode": Key("ha-mode value", _one_of("all", "exactly", "nodes"), types=_CLASSIC),
    "ha-params": Key("ha-params value", _anything, types=_CLASSIC),
    "ha-sync-mode": Key("ha-sync-mode value", _one_of("automatic", "manual"), or_operator=_first, types=_CLASSIC),
    "ha-sync-batch-size": Key("ha-sync-batch-size value", _from(0), types=_CLASSIC),
    "ha-promote-on-shutdown": Key("ha-promote-on-shutdown value", _one_of("always", "when-synced"), types=_CLASSIC),
    "ha-promote-on-failure": Key("ha-promote-on-failure value", _one_of("always", "when-synced"), types=_CLASSIC),
    "max-in-memory-length": Key("maximum memory in messages", _from(0), or_operator=_smaller, types=_QUORUM),
    "max-in-memory-bytes": Key("maximum memory in bytes", _from(0), or_operator=_smaller, types=_QUORUM),
    "target-group-size": Key("target group size", _from(0), or_operator=_first, types=_QUORUM),
    # Of streams. Sizes of segments and filters have no effect: a segment is a row of the database, a filter is exact.
    "max-age": Key("max age", lambda value: age_in_ms(value) is not None, _first, types=_STREAM),
    "max-segment-size": Key("segment size", _from(0), types=_STREAM),
    "stream-max-segment-size-bytes": Key("segment size", _from(0), types=_STREAM),
    "stream-filter-size-bytes": Key("filter size", _from(16, 255), types=_STREAM),
    "initial-cluster-size": Key("cluster size", _from(0), types=_STREAM),
}


def wrong_in(definition: Mapping[str, Any], *, of_operator: bool) -> Iterator[str]:
    """Yield what is wrong with what a policy says, in RabbitMQ's words where it has some."""
    if not definition:
        yield "no policy provided"
    for name, value in definition.items():
        key = KEYS.get(name)
        if key is None or (of_operator and key.or_operator is None):
            kind = "operator policy" if of_operator else "policy"
            because = f": there is no {_UNKNOWN[name]} here yet" if name in _UNKNOWN else ""
            yield f"'{name}' is not a recognised {kind} setting{because}"
        elif not key.check(value):
            yield f"{value!r} is not a valid {key.noun}" + (f": {key.wanted} is needed" if key.wanted else "")


def merged(definition: Mapping[str, Any], operator: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a policy and an operator policy say together (contract A2)."""
    found = dict(definition)
    for name, value in operator.items():
        choose = KEYS[name].or_operator if name in KEYS else None
        if choose is not None:
            found[name] = choose(value, found[name]) if name in found else value
    return found


def with_policy(
    arguments: Mapping[str, Any], definition: Mapping[str, Any], queue_type: QueueType
) -> Mapping[str, Any]:
    """Return arguments of a queue as if they said what policies say, too (contract A3)."""
    if not definition:
        return arguments
    found = dict(arguments)
    for name, value in definition.items():
        key, argument = KEYS.get(name), argument_of(name)
        if key is None or key.or_argument is None:
            continue
        choose = key.or_argument
        if queue_type is QueueType.STREAM or (name == "overflow" and queue_type is QueueType.QUORUM):
            choose = _first
        given = found.get(argument)
        found[argument] = value if given is None else choose(value, given)
    return found
