"""The storage ids of a queue that keeps messages of different priorities apart (ADR 47).

Towards store and slots each level of priority is a queue by itself. Level 0 has the id of the queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

MAX_PRIORITY: Final = 255
"""The highest priority that a queue may tell apart (contract F9)."""
_SHIFT: Final = 40
_QUEUE: Final = (1 << _SHIFT) - 1


def storage_id(queue_id: int, level: int) -> int:
    """Return the storage id of one level of a queue."""
    return level << _SHIFT | queue_id


def queue_id_of(storage_id: int) -> int:
    """Return the id of the queue that has this storage id on one of its levels."""
    return storage_id & _QUEUE


def level_of(storage_id: int) -> int:
    """Return the level that has this storage id."""
    return storage_id >> _SHIFT


def highest_level(arguments: Mapping[str, Any]) -> int:
    """Return the highest level that the arguments of a classic queue ask for; 0 if all messages are equal."""
    highest = arguments.get("x-max-priority")
    if not isinstance(highest, int) or isinstance(highest, bool) or not 0 <= highest <= MAX_PRIORITY:
        return 0
    return highest


def storage_ids(queue_id: int, highest: int) -> Iterable[int]:
    """Return the storage ids of all levels of a queue."""
    return [storage_id(queue_id, level) for level in range(highest + 1)]
