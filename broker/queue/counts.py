"""What has happened in one queue on this node, as integers that only grow.

Who counts adds a batch at once, and counts nothing that follows from the others.
"""

from __future__ import annotations

from collections.abc import Sequence

from broker.queue.outcome import ACKED, AUTO_ACKED, OUTCOMES


class CountsInQueue:
    """Counts of one queue or level, or of several together."""

    __slots__ = (
        "buried",
        "got",
        "got_no_ack",
        "got_nothing",
        "published",
        "redelivered",
        "refused",
        "settled",
        "taken",
    )

    def __init__(self) -> None:
        self.published = 0
        """Messages that publishers have sent here. Those of the channels' last runs may be missing
        (`PublishCounts.add_up`). Dead letters, and what comes from other nodes, are none.
        """
        self.refused = 0
        """Those for which there was no room."""
        self.taken = 0
        """Messages that went out to consumers."""
        self.got = 0
        """Those that went out to basic.get, to be acknowledged."""
        self.got_no_ack = 0
        self.got_nothing = 0
        """Answers of get-empty."""
        self.redelivered = 0
        """Messages that went out and had gone out before."""
        self.settled = [0] * len(OUTCOMES)
        """Messages that have left for good, by `Outcome.number`."""
        self.buried: list[int] | None = None
        """Those of them that were handed to a dead-letter exchange; None while there are none."""

    def bury(self, outcome: int, count: int) -> None:
        """So many messages go on to a dead-letter exchange."""
        if self.buried is None:
            self.buried = [0] * len(OUTCOMES)
        self.buried[outcome] += count

    @property
    def delivered_no_ack(self) -> int:
        """Messages that went out to consumers who acknowledge nothing."""
        return self.settled[AUTO_ACKED.number] - self.got_no_ack

    @property
    def delivered(self) -> int:
        """Messages that went out to consumers who are to acknowledge them."""
        return self.taken - self.delivered_no_ack

    @property
    def acked(self) -> int:
        return self.settled[ACKED.number]

    def add(self, other: CountsInQueue) -> None:
        """Add what another queue has counted, or another level."""
        self.published += other.published
        self.refused += other.refused
        self.taken += other.taken
        self.got += other.got
        self.got_no_ack += other.got_no_ack
        self.got_nothing += other.got_nothing
        self.redelivered += other.redelivered
        self.add_settled([other])

    def add_settled(self, others: Sequence[CountsInQueue]) -> None:
        """Add only what has left other queues for good."""
        self.settled[:] = map(sum, zip(self.settled, *[other.settled for other in others], strict=True))
        for other in others:
            for number, count in enumerate(other.buried or ()):
                if count:
                    self.bury(number, count)
