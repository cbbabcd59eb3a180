"""The events that a node has recorded last, kept to be pushed to its peers (ADR 78)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from broker.ports.cluster_rows import EventRow

MOST_EVENTS: Final = 256
MOST_OCTETS: Final = 256 * 1024
"""Of all payloads together: a message between nodes has 1 MiB at most."""


class PushedEvents:
    """The newest of this node's events, bounded by number and octets."""

    __slots__ = ("_events", "_octets")

    def __init__(self) -> None:
        self._events: deque[EventRow] = deque()
        self._octets = 0

    def add(self, event: EventRow) -> None:
        """Keep an event; older ones go when they are too many. One that is too large by itself is not kept."""
        self._events.append(event)
        self._octets += len(event.payload)
        while self._octets > MOST_OCTETS or len(self._events) > MOST_EVENTS:
            self._octets -= len(self._events.popleft().payload)

    def after(self, event_id: int) -> Sequence[EventRow]:
        """Return the events behind `event_id`, in their order."""
        return [event for event in self._events if event.event_id > event_id]
