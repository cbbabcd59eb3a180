"""What the log says of queues that were altered, and of declarations that were taken although they differ."""

from __future__ import annotations

from typing import Final

import structlog

from broker.codec.field_table import FieldTable
from broker.queue.queue import Queue
from broker.topology.argument_changes import told_changes, warnings_of
from broker.topology.namespace import Namespace

_log = structlog.get_logger(__name__)

_REMEMBERED: Final = 1000


def tell_altered(vhost: Namespace, queue: Queue, before: FieldTable, *, is_redeclared: bool) -> None:
    """Log what has changed of a queue's arguments, and by what of that messages may be lost."""
    changes = told_changes(before, queue.arguments)
    if changes:
        what = "a declaration has altered a queue" if is_redeclared else "a queue is altered"
        _log.info(what, vhost=vhost.name, queue=queue.name, changes=changes)
    for warning in warnings_of(vhost, queue):
        _log.warning("dead letters are lost", vhost=vhost.name, queue=queue.name, reason=warning)


class AdoptedDeclarations:
    """Declarations that were answered although the queue has other arguments: each is told once, as clients repeat
    theirs with each connection.
    """

    def __init__(self) -> None:
        self._told: dict[tuple[int, int], None] = {}
        """Ids of queues, with hashes of what was declared."""

    def tell(self, vhost: str, queue: Queue, declared: FieldTable) -> None:
        """Log in what a declaration differs from the queue, which stays as it is."""
        case = (queue.queue_id, hash((queue.arguments.raw, declared.raw)))
        if case in self._told:
            return
        if len(self._told) >= _REMEMBERED:
            del self._told[next(iter(self._told))]
        self._told[case] = None
        changes = told_changes(queue.arguments, declared)
        _log.info("a queue stays as it is, though declared otherwise", vhost=vhost, queue=queue.name, declared=changes)
