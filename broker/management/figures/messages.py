"""What has become of messages, with RabbitMQ's keys."""

from __future__ import annotations

from typing import Any, Final

from broker.management.figures.history import History, SampleSpan, with_details
from broker.queue.counts import CountsInQueue
from broker.topology.counts import MessageCounts

OF_CHANNELS: Final = (
    "ack",
    "confirm",
    "deliver",
    "deliver_get",
    "deliver_no_ack",
    "drop_unroutable",
    "get",
    "get_empty",
    "get_no_ack",
    "publish",
    "redeliver",
    "return_unroutable",
)
"""What `message_stats` of channels, virtual hosts and the overview tell."""
OF_QUEUES: Final = (
    "ack",
    "deliver",
    "deliver_get",
    "deliver_no_ack",
    "get",
    "get_empty",
    "get_no_ack",
    "publish",
    "redeliver",
)
OF_EXCHANGES: Final = ("publish_in", "publish_out")


def counted(counts: MessageCounts) -> dict[str, int]:
    """Return what channels have counted, by the names of `OF_CHANNELS`."""
    return {
        "ack": counts.ack,
        "confirm": counts.confirm,
        "deliver": counts.deliver,
        "deliver_get": counts.deliver + counts.deliver_no_ack + counts.get + counts.get_no_ack,
        "deliver_no_ack": counts.deliver_no_ack,
        "drop_unroutable": counts.drop_unroutable,
        "get": counts.get,
        "get_empty": counts.get_empty,
        "get_no_ack": counts.get_no_ack,
        "publish": counts.publish,
        "redeliver": counts.redeliver,
        "return_unroutable": counts.return_unroutable,
    }


def counted_in_queue(counts: CountsInQueue) -> dict[str, int]:
    """Return what a queue has counted, by the names of `OF_QUEUES`."""
    return {
        "ack": counts.acked,
        "deliver": counts.delivered,
        "deliver_get": counts.taken + counts.got + counts.got_no_ack,
        "deliver_no_ack": counts.delivered_no_ack,
        "get": counts.got,
        "get_empty": counts.got_nothing,
        "get_no_ack": counts.got_no_ack,
        "publish": counts.published,
        "redeliver": counts.redelivered,
    }


def message_stats(
    counts: MessageCounts, history: History, owner: object, span: SampleSpan | None = None
) -> dict[str, Any]:
    """Return what channels have counted, with rates."""
    return with_details(counted(counts), history, owner, span)
