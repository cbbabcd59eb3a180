"""Looks at the messages of a queue page by page, in the order of their ids, and takes none of them.

What lies in this node's memory is seen, and what is in the store for all nodes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from broker.message import Message
from broker.ports.slot import ALL_LANES, Slot
from broker.queue.queue import Queue

ReadSlot: TypeAlias = Callable[[Queue, Slot, int, int], Awaitable[Sequence[Message]]]
"""Reads stored messages as `MessageStore.read` does, after all that the journal has taken before."""


async def page_of(
    level: Queue, after: int, last: int, read: ReadSlot, *, at_once: int, octets: int
) -> tuple[list[Message], int | None]:
    """Return the next messages with ids above `after` and up to `last`, `at_once` at most, and up to which id they are
    all; None at the end. About so many `octets` of them are read from the store.
    """
    slot = Slot(level.queue_id, ALL_LANES, after + 1, last, 0, transient=True)
    stored = await read(level, slot, at_once, octets)
    end = stored[-1].id if stored else last
    found = {each.id: each for each in stored}
    found |= {each.id: each for each in level.in_memory if after < each.id <= end}
    page = [found[each] for each in sorted(found)]
    if len(page) > at_once:
        return page[:at_once], page[at_once - 1].id
    return page, end if stored else None
