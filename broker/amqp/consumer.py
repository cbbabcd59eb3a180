"""A consumer: its credit, and the frames of a delivery (basic.deliver)."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from broker.amqp.deliveries import Deliveries
from broker.amqp.output import Output
from broker.cache_budget import Cache
from broker.codec.constants import FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_METHOD
from broker.codec.delivery_count import counted_header, with_delivery_count
from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.message import MESSAGE_OVERHEAD, SETTLED, Message, body_tails
from broker.queue.outcome import AUTO_ACKED
from broker.queue.queue import Queue

_tag: Final = struct.Struct(">Q").pack
_BASIC_DELIVER: Final = b"\x00\x3c\x00\x3c"
_LARGE: Final = 16_384
_OUTPUT_BUDGET: Final = 1 << 20
"""Octets put into an output buffer before the socket has its say."""
_NOT_WRITTEN: Final = MESSAGE_OVERHEAD - 100
"""Octets that a message occupies beside its frames in the output buffer, with what stands before them."""


class Consumer:
    """One basic.consume on one channel."""

    __slots__ = (
        "_body_start",
        "_channel_id",
        "_deliveries",
        "_heads",
        "_large",
        "_on_cancelled",
        "_output",
        "_timeout",
        "arguments",
        "consumer_tag",
        "delivered",
        "is_exclusive",
        "is_resting",
        "no_ack",
        "prefetch",
        "priority",
        "queue",
        "redelivered",
        "unacked",
    )

    def __init__(
        self,
        channel_id: int,
        deliveries: Deliveries,
        output: Output,
        queue: Queue,
        consumer_tag: str,
        *,
        no_ack: bool,
        is_exclusive: bool,
        priority: int = 0,
        timeout: int = 0,
        arguments: FieldTable = EMPTY_TABLE,
        heads: Cache[tuple[bytes, bytes, bytes]],
        on_cancelled: Callable[[Consumer], None],
    ) -> None:
        """Deliveries have to be answered within `timeout` milliseconds, with 0 within the queue's.

        `heads` keeps the octets of basic.deliver by exchange and routing key.

        `on_cancelled` is called when the queue is gone.
        """
        self._channel_id = channel_id
        self._deliveries = deliveries
        self._output = output
        self._on_cancelled = on_cancelled
        self.queue = queue
        self.consumer_tag = consumer_tag
        self.no_ack = no_ack
        self.is_exclusive = is_exclusive
        self.priority = priority
        self.arguments = arguments
        self._timeout = timeout
        self.is_resting = False
        self.unacked = 0
        self.delivered = 0
        self.redelivered = 0
        """Those of `delivered` that had gone out before."""
        self.prefetch = deliveries.consumer_prefetch
        self._heads = heads
        self._body_start = struct.pack(">BH", FRAME_BODY, channel_id)
        self._large = min(_LARGE, output.frame_max - 3)

    def can_take(self) -> bool:
        """Is there credit, and room in the output buffer?"""
        return self.room(1) > 0

    def room(self, limit: int) -> int:
        """Return how many of `limit` messages may be delivered now."""
        deliveries = self._deliveries
        if self._output.is_blocked or not deliveries.is_flowing:
            deliveries.wait_for_room(self)
            return 0
        if deliveries.prefetch:
            room = deliveries.shared_room()
            if room <= 0:
                deliveries.wait_for_room(self)
                return 0
            if room < limit and not self.no_ack:
                limit = room
        if not self.no_ack and self.prefetch:
            room = self.prefetch - self.unacked
            if room < limit:
                limit = room
        return limit

    def take(self, ready: deque[Message], limit: int) -> int:
        """Deliver up to `limit` messages from the left of `ready`. Hot: wire bytes are joined, nothing is decoded."""
        room = self.room(limit)
        if room <= 0:
            return 0
        deliveries = self._deliveries
        output = self._output
        heads = self._heads
        body_start = self._body_start
        large = self._large
        light = large + MESSAGE_OVERHEAD
        tag = deliveries.last_tag
        no_ack = self.no_ack
        unacked = deliveries.unacked
        stored: list[Message] = []
        pop = ready.popleft
        send = output.buffer.append
        join = b"".join
        tells_count = deliveries.tells_count
        octets = taken = again = 0
        while taken < room:
            message = pop()
            taken += 1
            tag += 1
            head = heads.get(message.routing) or self._head(message.routing)
            body = message.body
            weight = message.weight
            octets += weight
            middle = head[1]
            header = message.header
            if message.redelivered:
                middle = head[2]
                again += 1
                if self.queue.settings.counts_deliveries:
                    header = counted_header(message)
            if tells_count:
                header = with_delivery_count(header, message.redelivered + 1)
            if body and weight <= light:
                send(join((head[0], _tag(tag), middle, header, body_start, body)))
            elif message.chunks is not None or len(body) > large:
                self._send_large(message, head[0] + _tag(tag) + middle + header)
            elif body:
                send(join((head[0], _tag(tag), middle, header, body_start, body)))
            else:
                send(join((head[0], _tag(tag), middle, header)))
            if no_ack:
                if message.state < SETTLED:
                    stored.append(message)
            else:
                message.consumer = self
                unacked[tag] = message
            if octets > _OUTPUT_BUDGET and octets - taken * _NOT_WRITTEN > _OUTPUT_BUDGET:
                output.block()
                break
        deliveries.last_tag = tag
        self.delivered += taken
        if again:
            self.redelivered += again
            self.queue.counts.redelivered += again
        if not no_ack:
            self.unacked += taken
            if self.queue.expects_answers or self._timeout:
                self.queue.expect_answers(deliveries, tag - taken + 1, tag, self._timeout)
        if taken < limit and (output.is_blocked or deliveries.prefetch):
            deliveries.wait_after_others(self)
        self.queue.on_taken(taken, octets)
        if no_ack:
            self.queue.settle(stored, AUTO_ACKED, taken - len(stored))
        output.schedule_flush()
        return taken

    def _head(self, routing: bytes) -> tuple[bytes, bytes, bytes]:
        """Return what stands before the delivery tag, and after it for a first and for a later delivery."""
        tag, told = self.consumer_tag.encode(), self._deliveries.told(routing)
        size = 4 + 1 + len(tag) + 8 + 1 + len(told)
        before = struct.pack(">BHI", FRAME_METHOD, self._channel_id, size) + _BASIC_DELIVER + bytes((len(tag),)) + tag
        after = told + FRAME_END + struct.pack(">BH", FRAME_HEADER, self._channel_id)
        head = (before, b"\0" + after, b"\1" + after)
        self._heads.remember(routing, head, len(before) + 3 * len(routing))
        return head

    def _send_large(self, message: Message, head: bytes) -> None:
        """Send a body of many frames, or a large one, behind what stands before it, without joining it."""
        output = self._output
        output.buffer.append(head)
        output.has_large = True
        chunks = message.chunks
        if chunks is None:
            chunks = [message.body]
        for chunk in chunks:
            if len(chunk) + 3 > output.frame_max:
                _, parts = body_tails(message.payload, output.frame_max)
                chunks = parts or []
                break
        for chunk in chunks:
            output.buffer += (self._body_start, chunk)

    def some_unacked(self, limit: int) -> list[Message]:
        """Return up to `limit` of the deliveries that are outstanding."""
        messages = islice(self._deliveries.unacked.values(), limit)
        return [message for message in messages if message.consumer is self]

    def on_queue_deleted(self) -> None:
        """Tell the channel that deliveries end (contract B19)."""
        self._on_cancelled(self)
