"""What lies in a queue at one moment, for those who watch it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Final

from broker.message import TRANSIENT, Message
from broker.queue.window import Window

_SAMPLE: Final = 64
"""Messages whose octets are added up. If there are more in memory, the others are taken to be like them."""


@dataclass(frozen=True, slots=True)
class Stock:
    """Messages of one queue on one node, and the octets of their bodies.

    Octets, and how many messages are persistent, are exact for up to 64 messages in memory, and otherwise concluded
    from 64 of them, unless the queue counts its octets anyway (`x-max-length-bytes`).
    """

    ready: int = 0
    unacked: int = 0
    in_memory: int = 0
    """Those of `ready` that are in memory."""
    octets_ready: int = 0
    octets_in_memory: int = 0
    """Those of the ready messages that are in memory."""
    persistent: int = 0
    """Those of `ready` that are."""
    octets_persistent: int = 0
    head: Message | None = None
    """The message that consumers get next, if it is in memory."""

    @property
    def paged_out(self) -> int:
        """Ready messages that only the store has."""
        return self.ready - self.in_memory

    def plus(self, other: Stock) -> Stock:
        """Return both together; consumers get first what is in `other`."""
        return Stock(
            self.ready + other.ready,
            self.unacked + other.unacked,
            self.in_memory + other.in_memory,
            self.octets_ready + other.octets_ready,
            self.octets_in_memory + other.octets_in_memory,
            self.persistent + other.persistent,
            self.octets_persistent + other.octets_persistent,
            other.head or self.head,
        )


def stock_of(window: Window, unacked: int, *, is_stored: bool) -> Stock:
    """Return what is in `window`, and that clients hold so many messages beside it."""
    ready = window.ready_count
    if not ready:
        return Stock(unacked=unacked) if unacked else _EMPTY
    in_memory = min(ready, len(window.ready) + len(window.late) + _in_tail(window))
    sample = list(islice(window.ready or window.tail, _SAMPLE))
    octets = sum([message.size for message in sample])
    count = len(sample) or 1
    octets_ready = window.ready_octets if window.counts_octets else octets * ready // count
    persistent = [message.size for message in sample if message.state != TRANSIENT] if is_stored else []
    return Stock(
        ready,
        unacked,
        in_memory,
        octets_ready,
        octets_ready * in_memory // ready,
        len(persistent) * ready // count if sample else (ready if is_stored else 0),
        octets_ready * sum(persistent) // octets if octets else 0,
        sample[0] if sample else None,
    )


def _in_tail(window: Window) -> int:
    return len(window.tail) + len(window.late_tail) if window.is_paged else 0


_EMPTY: Final = Stock()
