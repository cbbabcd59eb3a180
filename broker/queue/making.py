"""Makes queues: which class a queue has is told by its settings."""

from __future__ import annotations

from typing import Any

from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.queue.grouped_queue import GroupedQueue
from broker.queue.priority_queue import PriorityQueue
from broker.queue.queue import Queue
from broker.queue.settings import QueueSettings, QueueType
from broker.queue.stream_queue import StreamQueue, StreamStorage


def make_queue(
    *identity: Any,
    storage: StreamStorage,
    arguments: FieldTable = EMPTY_TABLE,
    settings: QueueSettings | None = None,
    **parts: Any,
) -> Queue:
    """Make a queue: a stream, or one with levels, or with groups if it is stored, if its arguments ask for that.
    `storage` is that of streams, all else is as for `Queue`.
    """
    settings = settings or QueueSettings.of(arguments)
    if settings.type is QueueType.STREAM:
        parts.pop("observer", None)  # nothing of a stream is handed to other nodes: they read it, too
        return StreamQueue(*identity, storage=storage, arguments=arguments, settings=settings, **parts)
    is_stored = parts.get("durable") and parts.get("owner") is None
    new_queue: type[Queue] = Queue
    if settings.max_priority > 0:
        new_queue = PriorityQueue
    elif settings.has_groups and is_stored:
        new_queue = GroupedQueue
    return new_queue(*identity, arguments=arguments, settings=settings, **parts)
