"""What one channel has published, counted in runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from broker.queue.queue import Queue
from broker.topology.counts import MessageSizes
from broker.topology.exchange import Exchange
from broker.topology.routing import Route

_NOWHERE: Final = Route(b"\0\0\0\0\0", "", "", False, 0)


class PublishCounts:
    """The publishes of one channel.

    What goes to all queues of its route is counted by runs; exchange and queues are told when publishes with another
    route follow, or when somebody asks.
    """

    __slots__ = ("_added_up", "_exchanges", "_measured", "_sizes", "dropped", "published", "returned", "routed", "run")

    def __init__(self, exchanges: Mapping[str, Exchange], sizes: MessageSizes) -> None:
        self._exchanges = exchanges
        self._sizes = sizes
        self._measured = 0
        self._added_up = 0
        self.run = _NOWHERE
        """The route of the publishes that exchange and queues do not know of yet."""
        self.published = 0
        """All messages, but for those that `Publisher.count_run` will find."""
        self.routed = 0
        """The same, counted in each of their queues, but for those of the run."""
        self.returned = 0
        """Messages that had no queue and were sent back."""
        self.dropped = 0
        """Messages that had no queue."""

    def measure(self, last: bytes) -> None:
        """Note the sizes of the messages since the last call: `last`, the header of the last one, stands for all
        (`Message.header`).
        """
        count = self.published - self._measured
        if count and last:
            self._measured = self.published
            self._sizes.note(int.from_bytes(last[8:16], "big"), count)

    def begin_run(self, route: Route) -> None:
        """What is published from now on goes to the queues of this route, unless `note` says otherwise."""
        self.add_up()
        self.run = route

    def add_up(self) -> None:
        """Tell exchange and queues of the publishes of the run."""
        count = self.published - self._added_up
        if count:
            self._added_up = self.published
            self._tell(self.run, self.run.queues, count)

    def note(self, route: Route, queues: Sequence[Queue]) -> None:
        """A message is published with this route and goes to these queues."""
        self.published += 1
        self._added_up += 1
        self._tell(route, queues, 1)

    def _tell(self, route: Route, queues: Sequence[Queue], count: int) -> None:
        self.routed += count * len(queues)
        exchange = self._exchanges.get(route.exchange)
        if exchange is not None:
            exchange.published_in += count
            exchange.published_out += count * len(queues)
        for queue in queues:
            queue.counts.published += count
