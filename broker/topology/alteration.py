"""What of a queue can be changed while it is there: its arguments, but for those that say how its messages are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from broker.codec.field_table import FieldTable
from broker.errors import PreconditionFailed
from broker.queue.queue import Queue
from broker.queue.settings import QueueSettings, QueueType
from broker.queue.time_to_live import KEPT, KeptTimeToLive
from broker.topology import queue_arguments

STRICT: Final = ""
ADOPT: Final = "adopt"
UPGRADE: Final = "upgrade"
REDECLARATIONS: Final = (STRICT, ADOPT, UPGRADE)
"""What a virtual host does with a declaration of a queue that is there with other arguments: refuse it, let the queue
be as it is, or alter it.
"""

_KEPT: Final[Mapping[str, Callable[[QueueSettings], Any]]] = {
    "x-message-groups": lambda settings: settings.has_groups,
    "x-durable-subscription": lambda settings: settings.is_subscription,
    "x-queue-type": lambda settings: settings.type is QueueType.STREAM,
}
"""The arguments that say how messages are kept, and what of the settings tells that."""
TTL: Final = "x-message-ttl"
_PRIORITIES: Final = "x-max-priority"


def require_alterable(queue: Queue, arguments: FieldTable, what: str) -> None:
    """Raise `PreconditionFailed` if the queue `what` (a resource phrase) cannot have these arguments from now on."""
    queue_type = QueueType.of(arguments)
    queue_arguments.check(arguments, queue_type, what)
    queue_arguments.require_kept(arguments, what, is_stored=queue.is_stored)
    queue_arguments.require_properties(
        queue_type, what, durable=queue.durable, exclusive=queue.is_exclusive, auto_delete=queue.auto_delete
    )
    queue_arguments.require_sizes(arguments, queue_type)
    before, after = QueueSettings.of(queue.arguments), QueueSettings.of(arguments)
    if before.max_priority and after.max_priority < before.max_priority:
        raise PreconditionFailed(
            f"cannot alter arg '{_PRIORITIES}' of {what}: it can be raised above {before.max_priority}, not lowered,"
            " because messages of these priorities may be there; declare another queue, and redrive"
        )
    if after.max_priority and not before.max_priority:
        raise PreconditionFailed(
            f"cannot alter arg '{_PRIORITIES}' of {what}: a queue without priorities keeps its messages in another way;"
            " declare another queue, and redrive"
        )
    if after.single_active_consumer and not before.single_active_consumer and queue.turns.selection is not None:
        raise PreconditionFailed(
            f"cannot alter arg 'x-single-active-consumer' of {what}: consumers select messages; let them end first"
        )
    for name, value_in in _KEPT.items():
        if value_in(before) != value_in(after):
            raise PreconditionFailed(
                f"cannot alter arg '{name}' of {what}: it says how messages are kept; declare another queue,"
                " and redrive"
            )


def with_kept_ttl(queue: Queue, changes: Mapping[str, Any], now_ms: int, *, is_kept: bool) -> Mapping[str, Any]:
    """Return the changes with what becomes of the times to live of the messages that are there: they get the new one,
    or with `is_kept` keep theirs. Raises `PreconditionFailed` if that cannot be told apart.
    """
    if TTL not in changes:
        if is_kept:
            raise PreconditionFailed(f"times to live are kept when '{TTL}' changes: name it")
        return changes
    settings = queue.settings
    if not is_kept:
        return {**changes, KEPT: None}
    before = settings.kept_ttl
    if before is not None and not before.is_over(now_ms):
        raise PreconditionFailed(
            f"cannot keep the times to live of queue '{queue.name}': messages keep one from an earlier change still;"
            " wait until they are gone, or let all be recomputed"
        )
    return {**changes, KEPT: KeptTimeToLive(settings.message_ttl, now_ms).text}


def altered(arguments: FieldTable, changes: Mapping[str, Any]) -> FieldTable:
    """Return `arguments` with `changes`, of which None takes an argument away. All others keep their octets."""
    for name in changes:
        if name in arguments.values:
            arguments = arguments.without(name)
    new = FieldTable.of({name: value for name, value in changes.items() if value is not None})
    return FieldTable(arguments.raw + new.raw).validate()
