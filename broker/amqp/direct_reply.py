"""Direct reply-to: replies that go to the channel of whoever asked, without a queue (contract N19, ADR 44).

A channel that consumes from `amq.rabbitmq.reply-to` gets an address, which the broker writes into the property reply_to
of its requests. What is published to the default exchange with the address as its routing key goes into that channel's
output at once: it is never stored and waits nowhere, and it is lost when the channel is gone.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final

from broker.amqp.deliveries import Deliveries
from broker.amqp.output import Output
from broker.codec.constants import FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_METHOD
from broker.codec.methods import BasicDeliver
from broker.ports.cluster import Cluster
from broker.ports.peer_calls import Reply
from broker.queue.queue import Queue

REPLY_TO: Final = "amq.rabbitmq.reply-to"
"""What a client consumes from, and names in its requests."""
ADDRESSES: Final = REPLY_TO + "."
"""How the addresses begin that stand in requests instead."""
REPLY_TO_OCTETS: Final = bytes((len(REPLY_TO),)) + REPLY_TO.encode()
"""The same as the octets of a property."""
MOST_UNREAD: Final = 16 * 1024 * 1024
"""Octets of replies for a client that does not read: from then on they are lost."""
_SMALL_BODY: Final = 16_384
_BASIC_DELIVER: Final = BasicDeliver.index.to_bytes(4, "big")


class ReplyConsumer:
    """The one consumer of replies on a channel. Neither prefetch nor channel.flow holds replies back, as with RabbitMQ:
    a request that is answered may be part of what the channel has not acknowledged.
    """

    __slots__ = (
        "_body_start",
        "_channel_id",
        "_deliveries",
        "_head",
        "_middle",
        "_output",
        "_routing",
        "_small",
        "address",
        "consumer_tag",
        "vhost",
    )

    def __init__(
        self, channel_id: int, output: Output, deliveries: Deliveries, *, vhost: str, consumer_tag: str, address: str
    ) -> None:
        self._channel_id = channel_id
        self._output = output
        self._deliveries = deliveries
        self.vhost = vhost
        self.consumer_tag = consumer_tag
        self.address = address
        # The octets of basic.deliver before the delivery tag and after it, up to the content header.
        self._routing = routing = b"\0" + self.octets
        tag = bytes((len(consumer_tag.encode()),)) + consumer_tag.encode()
        size = len(_BASIC_DELIVER) + len(tag) + 8 + 1 + len(routing)
        self._head = struct.pack(">BHI", FRAME_METHOD, channel_id, size) + _BASIC_DELIVER + tag
        self._middle = b"\0" + routing + FRAME_END + struct.pack(">BH", FRAME_HEADER, channel_id)
        self._body_start = struct.pack(">BH", FRAME_BODY, channel_id)
        self._small = min(_SMALL_BODY, output.frame_max - 3)

    @property
    def octets(self) -> bytes:
        """The address as the octets of a property."""
        return bytes((len(self.address),)) + self.address.encode()

    def take(self, reply: Reply) -> bool:
        """Deliver a reply; return False when it is lost because the client leaves too much unread. Hot."""
        output = self._output
        if output.is_blocked:
            if output.unread_replies > MOST_UNREAD:
                return False
            output.unread_replies += reply.weight
        deliveries = self._deliveries
        deliveries.last_tag += 1
        body = reply.body
        if reply.chunks is not None or len(body) > self._small or reply.routing != self._routing:
            self._take_other(reply)
            return True
        octets = (self._head, deliveries.last_tag.to_bytes(8, "big"), self._middle, reply.header)
        output.send(b"".join((*octets, self._body_start, body) if body else octets))
        return True

    def _take_other(self, reply: Reply) -> None:
        """Deliver what has come by the headers CC or BCC, and what is large."""
        exchange_size = reply.routing[0]
        method = BasicDeliver(
            self.consumer_tag,
            self._deliveries.last_tag,
            False,
            reply.routing[1 : exchange_size + 1].decode(),
            reply.routing[exchange_size + 2 :].decode(),
        )
        self._output.send_content(self._channel_id, method, reply.header, reply.body, reply.chunks)


class DirectReplies:
    """The consumers of replies on this node, and the way to those of other nodes."""

    __slots__ = ("_cluster", "_consumers", "_new_name")

    def __init__(self, cluster: Cluster[Queue], new_name: Callable[[str], str]) -> None:
        """`new_name` returns the prefix it is given and characters that nobody can guess."""
        self._cluster = cluster
        self._new_name = new_name
        self._consumers: dict[str, ReplyConsumer] = {}

    # Consumers

    def new_address(self) -> str:
        """Return an address that nobody else has: a random name, and the incarnation of this node in a cluster."""
        incarnation = self._cluster.incarnation.id
        address = self._new_name(ADDRESSES)
        return f"{address}.{incarnation}" if incarnation else address

    def add(self, consumer: ReplyConsumer) -> None:
        """Deliver to `consumer` what is sent to its address."""
        self._consumers[consumer.address] = consumer

    def remove(self, consumer: ReplyConsumer) -> None:
        """The consumer is gone: what is sent to it from now on is lost."""
        self._consumers.pop(consumer.address, None)

    # Replies

    def send(self, replies: Iterable[Reply], on_answer: Callable[[bool], None]) -> None:
        """Send replies on their way; tell `on_answer` for each, at once or later, whether it has reached a channel."""
        for reply in replies:
            elsewhere = self._elsewhere(reply.address)
            if elsewhere:
                self._cluster.send_reply(elsewhere, reply, on_answer)
            else:
                on_answer(self.deliver(reply))

    def deliver(self, reply: Reply) -> bool:
        """Deliver a reply to a channel of this node; return False when it is lost."""
        consumer = self._consumers.get(reply.address)
        return consumer is not None and consumer.vhost == reply.vhost and consumer.take(reply)

    def is_awaited(self, vhost: str, address: str) -> bool:
        """Does a channel of this node consume the replies sent to `address`?"""
        consumer = self._consumers.get(address)
        return consumer is not None and consumer.vhost == vhost

    async def exists(self, vhost: str, name: str) -> bool:
        """Can replies be sent to `name`? The queue that clients consume from is always there."""
        elsewhere = self._elsewhere(name)
        if elsewhere:
            return await self._cluster.awaits_reply(elsewhere, vhost, name)
        return name == REPLY_TO or self.is_awaited(vhost, name)

    def _elsewhere(self, address: str) -> str:
        """Return the incarnation of another node that is in `address`, "" when none is."""
        if address in self._consumers:
            return ""
        incarnation = address[len(ADDRESSES) :].partition(".")[2]
        return "" if incarnation == self._cluster.incarnation.id else incarnation
