"""Changes of a queue's arguments: whether they name what there is, how they are told, and what is lost by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final

from broker.codec.field_table import FieldTable
from broker.errors import PreconditionFailed
from broker.queue.queue import Queue
from broker.queue.settings import QueueSettings
from broker.topology.namespace import Namespace
from broker.topology.queue_arguments import ARGUMENTS

ELSEWHERE: Final = frozenset(("x-ha-policy", "x-ha-policy-params", "x-ha-nodes", "x-quorum-target-group-size"))
"""Arguments that mean nothing here, and something in other versions of RabbitMQ than 3.13."""
_PROPERTIES: Final = ("durable", "auto_delete", "auto-delete", "exclusive")
_LIKENESS: Final = 0.7
_MOST_TOLD: Final = 20
_LONGEST_TOLD: Final = 100


def require_meant(queue: Queue, changes: Mapping[str, Any]) -> None:
    """Raise `PreconditionFailed` if changes (None takes an argument away) give one that means nothing, or take one away
    that the queue does not have.
    """
    there = queue.arguments.values
    for name, value in changes.items():
        if value is None and name not in there:
            raise PreconditionFailed(f"queue '{queue.name}' has no argument '{name}' to take away{_like(name, there)}")
        if value is not None and name not in ARGUMENTS and name not in ELSEWHERE:
            if name in _PROPERTIES:
                raise PreconditionFailed(f"'{name}' is a property of a queue, not an argument: it cannot be altered")
            raise PreconditionFailed(f"queues have no argument '{name}'{_like(name, ARGUMENTS)}")


def _like(name: str, known: Mapping[str, Any]) -> str:
    found = get_close_matches(name.lower().replace("_", "-"), known, n=1, cutoff=_LIKENESS)
    return f"; did you mean '{found[0]}'?" if found else ""


def told_changes(before: FieldTable, after: FieldTable) -> list[str]:
    """Return a phrase for each argument that differs, for the log; at most 20, with long values cut off."""
    if before == after:
        return []
    names = [name for name in dict.fromkeys((*before.values, *after.values)) if _of(before, name) != _of(after, name)]
    return [f"{name}: {_told(before, name)} -> {_told(after, name)}" for name in names[:_MOST_TOLD]]


def _of(arguments: FieldTable, name: str) -> tuple[str | None, Any]:
    return arguments.types.get(name), arguments.values.get(name)


def _told(arguments: FieldTable, name: str) -> str:
    return repr(arguments.values[name])[:_LONGEST_TOLD] if name in arguments.values else "none"


def warnings_of(vhost: Namespace, queue: Queue, settings: QueueSettings | None = None) -> list[str]:
    """Return a phrase for what the queue is set to do, or would be by other `settings`, by which messages are lost,
    though nobody may mean that.
    """
    return list(_warnings_of(vhost, queue, settings or queue.settings))


def _warnings_of(vhost: Namespace, queue: Queue, settings: QueueSettings) -> Iterator[str]:
    exchange, key = settings.dead_letter_exchange, settings.dead_letter_routing_key
    if exchange is None or settings.has_channel:
        return
    if exchange not in vhost.exchanges:
        hint = ""
        if exchange in vhost.queues:
            hint = (
                f"; to send them to the queue of this name, set x-dead-letter-exchange to the empty name, and"
                f" x-dead-letter-routing-key to '{exchange}'"
            )
        yield f"there is no dead-letter exchange '{exchange}': dead letters of queue '{queue.name}' are lost{hint}"
    elif not exchange and key is not None and key not in vhost.queues:
        yield f"there is no queue '{key}' for dead letters of queue '{queue.name}': they are lost"
