"""Subscriptions of topics whose consumers do not want what their own connection publishes: noLocal (docs/jms.md).

A connection publishes and consumes on one node, so no other node has to know of it, and nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.topology.binding import Destination


class OwnMessages:
    """Which subscription gets nothing from which connection, for as long as its one consumer is there."""

    __slots__ = ("_on_change", "unwanted")

    def __init__(self, on_change: Callable[[], None]) -> None:
        """`on_change` is called when messages are routed otherwise from now on."""
        self._on_change = on_change
        self.unwanted: dict[Destination, object] = {}
        """The connection that a subscription gets nothing from."""

    def begin(self, queue: str, connection: object) -> None:
        """The one consumer of a subscription wants nothing of this connection, which is its own."""
        self.unwanted["queue", queue] = connection
        self._on_change()

    def end(self, queue: str) -> None:
        """A consumer of a queue is gone, whether or not it asked for that."""
        if self.unwanted.pop(("queue", queue), None) is not None:
            self._on_change()
