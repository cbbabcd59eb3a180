"""Direct reply-to over two nodes: the requester is a client of one, the replier of the other (contract N19)."""

from __future__ import annotations

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker, UnroutableError

from tests.cluster.clients import process_until
from tests.cluster.conftest import ChannelOf
from tests.support.cluster import ClusterOfProcesses

REPLY_TO = "amq.rabbitmq.reply-to"


def test_replies_reach_a_client_of_the_other_node_and_come_back_when_it_is_gone(
    pair: ClusterOfProcesses, channel_of: ChannelOf, name: str
) -> None:
    first, second = pair.nodes
    asking, replying = channel_of(first), channel_of(second)
    replies: list[bytes] = []
    asking.basic_consume(REPLY_TO, lambda *reply: replies.append(reply[3]), auto_ack=True)
    asking.queue_declare(name, auto_delete=True)
    asked: list[str] = []
    replying.basic_consume(name, lambda *request: asked.append(str(request[2].reply_to)), auto_ack=True)
    asking.basic_publish("", name, b"?", pika.BasicProperties(reply_to=REPLY_TO))
    process_until(replying, lambda: bool(asked))
    [address] = asked

    bodies = [b"one", b"x" * 3_000_000, b"", b"two"]
    for body in bodies:
        replying.basic_publish("", address, body)
    process_until(asking, lambda: len(replies) >= len(bodies))
    assert replies == bodies

    replying.confirm_delivery()
    replying.basic_publish("", address, b"three", mandatory=True)
    process_until(asking, lambda: replies[-1] == b"three")
    assert replying.queue_declare(address, passive=True).method.consumer_count == 1

    asking.close()
    with pytest.raises(UnroutableError):
        replying.basic_publish("", address, b"four", mandatory=True)
    with pytest.raises(ChannelClosedByBroker, match="404"):
        replying.queue_declare(address, passive=True)
