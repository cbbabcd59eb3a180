"""Which queues may have messages in free slots that expire by a time of their own: only the store knows (ADR 46).

Pure: does no I/O and reads no clock. `term` asks the store, for each queue once, and again when the next time has come
or other slots of it are free.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator


class FreeExpiry:
    """When to ask about which queue."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[
            int, tuple[Hashable, int | None]
        ] = {}  # by queue id, which slots were free, and the next time

    def to_ask(self, free: Iterable[tuple[int, Hashable]], now_ms: int, limit: int) -> Iterator[tuple[int, Hashable]]:
        """Return whom of the queues with `free` slots to ask about, `limit` at most; what tells these slots from others
        comes with each.
        """
        there = dict(free)
        self._known = {queue_id: known for queue_id, known in self._known.items() if queue_id in there}
        for queue_id, slots in there.items():
            seen, due = self._known.get(queue_id, (None, None))
            if limit > 0 and (seen != slots or (due is not None and due <= now_ms)):
                limit -= 1
                yield queue_id, slots

    def on_answer(self, queue_id: int, slots: Hashable, due: int | None) -> None:
        """The next message of the queue expires at `due`, in milliseconds since 1970; None for never."""
        self._known[queue_id] = slots, due
