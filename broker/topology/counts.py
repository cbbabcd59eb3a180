"""What has happened on a node, a virtual host or a channel, as integers that only grow."""

from __future__ import annotations

from bisect import bisect_left
from operator import add
from typing import Final, NamedTuple

from broker.queue.counts import CountsInQueue

SIZE_BOUNDS: Final = (100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 50_000_000, 100_000_000)
"""Octets of bodies by which messages are told apart."""


class MessageCounts(NamedTuple):
    """What has become of messages; the names are those of RabbitMQ's `message_stats`."""

    publish: int = 0
    """Messages that clients have published, whatever became of them; those of a transaction when it is committed."""
    confirm: int = 0
    deliver: int = 0
    """Messages that went out to consumers who are to acknowledge them."""
    deliver_no_ack: int = 0
    get: int = 0
    get_no_ack: int = 0
    get_empty: int = 0
    ack: int = 0
    redeliver: int = 0
    return_unroutable: int = 0
    drop_unroutable: int = 0
    publish_in_confirm_mode: int = 0
    """Those of `publish` that are to be confirmed, or refused."""
    routed: int = 0
    """Those of `publish`, counted in each queue that they came to."""

    def plus(self, other: MessageCounts) -> MessageCounts:
        """Return the counts of both together."""
        return MessageCounts(*map(add, self, other))


class Churn:
    """What has come and gone on a node."""

    __slots__ = (
        "auth_failures",
        "auth_successes",
        "channel_closed",
        "channel_created",
        "connection_closed",
        "connection_created",
        "ended_queues",
        "queue_created",
        "queue_declared",
        "queue_deleted",
    )

    def __init__(self) -> None:
        self.connection_created = 0
        """Connections that have opened a virtual host."""
        self.connection_closed = 0
        self.channel_created = 0
        self.channel_closed = 0
        self.queue_declared = 0
        """Declarations that clients of this node have made, of queues that were there, too."""
        self.queue_created = 0
        self.queue_deleted = 0
        self.ended_queues = CountsInQueue()
        """What the queues of virtual hosts have counted that are gone."""
        self.auth_successes = 0
        """Logins."""
        self.auth_failures = 0


class MessageSizes:
    """How large messages are that clients publish."""

    __slots__ = ("counts", "octets")

    def __init__(self) -> None:
        self.counts = [0] * (len(SIZE_BOUNDS) + 1)
        """Messages, by the first of `SIZE_BOUNDS` that their bodies do not exceed."""
        self.octets = 0

    def note(self, size: int, count: int) -> None:
        """So many messages with bodies of about this size were published."""
        self.counts[bisect_left(SIZE_BOUNDS, size)] += count
        self.octets += size * count
