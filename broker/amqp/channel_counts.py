"""What one channel has done with messages: put together when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping

from broker.amqp.consumer import Consumer
from broker.amqp.deliveries import Deliveries
from broker.amqp.publishing import Publisher
from broker.queue.queue import Queue
from broker.topology.counts import MessageCounts


class ChannelCounts:
    """All counts of one channel."""

    __slots__ = ("_consumers", "_deliver", "_deliver_no_ack", "_deliveries", "_publisher", "_redeliver", "get",
                 "get_empty", "get_no_ack")  # fmt: skip

    def __init__(self, publisher: Publisher, deliveries: Deliveries, consumers: Mapping[str, Consumer]) -> None:
        self._publisher = publisher
        self._deliveries = deliveries
        self._consumers = consumers
        self._deliver = self._deliver_no_ack = self._redeliver = 0
        self.get = 0
        """Messages that went out to basic.get, to be acknowledged."""
        self.get_no_ack = 0
        self.get_empty = 0

    def note_get(self, queue: Queue, redelivered: int, *, no_ack: bool) -> None:
        """A basic.get has got a message, which went out so many times before."""
        if no_ack:
            self.get_no_ack += 1
            queue.counts.got_no_ack += 1
        else:
            self.get += 1
            queue.counts.got += 1
        if redelivered:
            self._redeliver += 1
            queue.counts.redelivered += 1

    def note_get_empty(self, queue: Queue) -> None:
        """A basic.get has got nothing."""
        self.get_empty += 1
        queue.counts.got_nothing += 1

    def end_consumer(self, consumer: Consumer) -> None:
        """A consumer is not among the channel's any more."""
        if consumer.no_ack:
            self._deliver_no_ack += consumer.delivered
        else:
            self._deliver += consumer.delivered
        self._redeliver += consumer.redelivered

    def read(self) -> MessageCounts:
        """Add up what has been counted, and let exchanges and queues know of it, too."""
        publishes, confirms = self._publisher.counts, self._publisher.confirms
        self._publisher.count_all()
        deliver, deliver_no_ack, redeliver = self._deliver, self._deliver_no_ack, self._redeliver
        for consumer in self._consumers.values():
            redeliver += consumer.redelivered
            if consumer.no_ack:
                deliver_no_ack += consumer.delivered
            else:
                deliver += consumer.delivered
        return MessageCounts(
            publishes.published,
            0 if confirms is None else confirms.confirmed - confirms.refusals,
            deliver,
            deliver_no_ack,
            self.get,
            self.get_no_ack,
            self.get_empty,
            self._deliveries.acked,
            redeliver,
            publishes.returned,
            publishes.dropped,
            0 if confirms is None else confirms.published,
            publishes.routed,
        )
