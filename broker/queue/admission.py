"""Which queues have room for messages that come together (contract F8)."""

from __future__ import annotations

from broker.queue.queue import Queue


class QueueAdmission:
    """Counts what is on its way to queues that may refuse it: it is not among their ready messages yet."""

    __slots__ = ("_coming",)

    def __init__(self) -> None:
        self._coming: dict[Queue, tuple[int, int]] = {}

    def refuses(self, queue: Queue, octets: int, *, is_late: bool) -> bool:
        """Has `queue` no room for a message with a body of so many octets? One that `is_late` is ready only later: it
        takes its room from those that are asked for after it.
        """
        queue = queue.whole
        if not queue.refuses_publishers:
            return False
        messages, others = self._coming.get(queue, (0, 0))
        if queue.refuses(others + octets, messages + 1):
            return True
        if is_late:
            self._coming[queue] = messages + 1, others + octets
        return False
