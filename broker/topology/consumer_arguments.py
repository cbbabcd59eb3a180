"""The arguments of basic.consume: what they may hold (contract B17, B30). All others are ignored."""

from __future__ import annotations

from broker.codec.field_table import FieldTable
from broker.errors import PreconditionFailed
from broker.topology.queue_arguments import INTEGERS, wrong_time

_PRIORITY = "x-priority"
_TIMEOUT = "x-consumer-timeout"
_MIRRORED = "x-cancel-on-ha-failover"


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
