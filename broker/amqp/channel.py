"""A channel: its frames, and one handler per method in the order of the specification.

Handlers raise what is wrong and never send a close. One that must wait for a port is a coroutine: the channel's later
frames wait for it in order, other channels go on. Knows the virtual host, its queues and the ports; knows no socket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final

from broker.amqp import topology_methods as topology
from broker.amqp.commit import commit
from broker.amqp.confirms import Confirms
from broker.amqp.consumer import Consumer
from broker.amqp.content import Content
from broker.amqp.deliveries import Deliveries
from broker.amqp.publishing import Publisher
from broker.amqp.transaction import Transaction
from broker.broker import Broker
from broker.codec import methods as amqp
from broker.codec.constants import FRAME_METHOD
from broker.codec.method import METHODS, Method, frame
from broker.errors import (
    ChannelFault,
    CommandInvalid,
    NotAllowed,
    NotFound,
    NotImplementedFault,
    PreconditionFailed,
    SyntaxFault,
    UnexpectedFrame,
)
from broker.message import Message
from broker.queue.outcome import AUTO_ACKED
from broker.queue.queue import Queue
from broker.topology.vhost import VirtualHost

if TYPE_CHECKING:
    from broker.amqp.connection import Connection

Waiting = Coroutine[Any, Any, None]
_PUBLISH: Final = amqp.BasicPublish.index


class Channel:
    """One channel of one connection."""

    __slots__ = (
        "_consumers",
        "_content",
        "_deferred",
        "_deliveries",
        "_next_prefetch",
        "_publisher",
        "_touched",
        "ack_run",
        "broker",
        "connection",
        "deferred_octets",
        "id",
        "is_busy",
        "is_closing",
        "is_flowing",
        "last_delivery_tag",
        "last_queue",
        "prefetch",
        "publish",
        "resolve",
        "shared_room",
        "unacked",
        "vhost",
    )

    def __init__(self, connection: Connection, channel_id: int, vhost: VirtualHost, user: str) -> None:
        self.connection = connection
        self.id = channel_id
        self.broker: Broker = connection.broker
        self.vhost = vhost
        self.prefetch = 0  # shared by all consumers, 0 for any number (contract B11)
        self.is_flowing = True
        self.is_busy = False
        self.is_closing = False
        self.last_delivery_tag = 0
        self._consumers: dict[str, Consumer] = {}
        self._content: Content | None = None
        self._deferred: deque[tuple[int, bytes]] = deque()
        self.deferred_octets = 0
        self.last_queue = ""
        self._next_prefetch = 0
        self._publisher = Publisher(self, vhost, user)
        self.publish = self._publisher.publish
        self.resolve = self._publisher.resolve
        self._deliveries = Deliveries(self)
        self.ack_run = self._deliveries.ack_run
        self.shared_room = self._deliveries.shared_room
        self.unacked = self._deliveries.unacked
        self._touched = self.broker.touched
        self._update_direct()

    # Frames

    def on_frame(self, frame_type: int, payload: bytes) -> Waiting | None:
        """Handle one frame; what is returned must be awaited before the next one."""
        content = self._content
        if content is not None:
            try:
                if not content.add(frame_type, payload):
                    return None
            except BaseException:
                self._content = None
                raise
            self._content = None
            self._update_direct()
            header, chunks = content.header, content.chunks
            route = self.resolve(content.arguments)
            if len(chunks) > 1:
                self._publisher.publish(route, header, b"", chunks)
            else:
                self._publisher.publish(route, header, chunks[0] if chunks else b"")
            return None
        if frame_type != FRAME_METHOD:
            raise UnexpectedFrame("expected method frame, got non method frame instead")
        index = int.from_bytes(payload[:4], "big")
        if index == _PUBLISH:
            self._content = Content(payload[4:], self.broker.limits.max_message_size)
            amqp.BasicPublish.decode_arguments(payload, 4, len(payload))
            self._update_direct()
            return None
        kind = METHODS.get(index)
        if kind is None:
            if len(payload) < 4:
                raise SyntaxFault(f"method frame of {len(payload)} octets has no room for class and method id")
            raise NotImplementedFault(f"unknown method {index >> 16},{index & 0xFFFF}")
        handler = HANDLERS.get(kind)
        if handler is None:
            raise CommandInvalid("unimplemented method")
        waiting: Waiting | None = handler(self, kind.decode_arguments(payload, 4, len(payload)))
        return waiting

    def defer(self, frame_type: int, payload: bytes) -> None:
        """Keep a frame until the handler that is waiting is done."""
        self._deferred.append((frame_type, payload))
        self.deferred_octets += len(payload)

    def next_deferred(self) -> tuple[int, bytes] | None:
        """Take the oldest frame that was kept."""
        if not self._deferred:
            return None
        kept = self._deferred.popleft()
        self.deferred_octets -= len(kept[1])
        return kept

    def set_busy(self, is_busy: bool) -> None:
        """Mark the channel as waiting for a handler, or as free again."""
        self.is_busy = is_busy
        self._update_direct()

    def _update_direct(self) -> None:
        """May the reader hand content and acks over directly?"""
        direct = self.connection.reader.direct
        if self.is_busy or self.is_closing or self._deferred or self._content or self._publisher.transaction:
            direct.pop(self.id, None)
        else:
            direct[self.id] = self

    def send(self, method: Method) -> None:
        """Send a method on this channel; a handler that waited may come too late for that."""
        if not self.connection.has_sent_close:
            self.connection.send(frame(self.id, method.encode()))

    # End

    def release(self) -> None:
        """Let go of everything: unacknowledged messages go back, consumers leave (contract H3)."""
        if self.is_closing:
            return
        self.is_closing = True
        self._update_direct()
        self._deferred.clear()
        self.deferred_octets = 0
        self._content = None
        if self._publisher.confirms is not None:
            self._publisher.confirms.close()
        for consumer in list(self._consumers.values()):
            self._remove(consumer)
        transaction = self._publisher.transaction
        if transaction is not None:
            self._deliveries.roll_back(transaction)
        self._deliveries.requeue_all()

    def _remove(self, consumer: Consumer) -> bool:
        self._consumers.pop(consumer.consumer_tag, None)
        has_left = self.vhost.consumption.remove(consumer.queue, consumer)
        if has_left and self.is_closing:
            self.connection.spawn(self.vhost.consumption.unsubscribe(consumer.queue))
        self._touched.add(consumer.queue)
        return has_left

    def touch_consumed_queues(self) -> None:
        """The consumers may have credit again: let their queues dispatch."""
        self._touched.update(consumer.queue for consumer in self._consumers.values())

    def held_ids(self, queue: Queue) -> Iterator[int]:
        """Return the ids of all messages of `queue` that the client has and has not settled."""
        return self._deliveries.held_ids(queue)

    def queue_name(self, name: str) -> str:
        """Return `name`, or the last queue declared on this channel when it is empty (contract Q3)."""
        if name:
            return name
        if not self.last_queue:
            raise NotFound("no previously declared queue")
        return self.last_queue

    # channel

    def on_channel_flow(self, method: amqp.ChannelFlow) -> None:
        self.is_flowing = method.active
        self.send(amqp.ChannelFlowOk(method.active))
        self.touch_consumed_queues()

    def on_channel_open(self, method: amqp.ChannelOpen) -> None:
        raise ChannelFault("second 'channel.open' seen")

    def on_channel_close(self, method: amqp.ChannelClose) -> None:
        self.connection.close_channel(self)
        self.send(amqp.ChannelCloseOk())

    def on_ignored(self, method: Method) -> None:
        """A reply nobody waits for."""

    # access

    def on_access_request(self, method: amqp.AccessRequest) -> None:
        self.send(amqp.AccessRequestOk(1))

    # basic

    def on_basic_qos(self, method: amqp.BasicQos) -> None:
        if method.prefetch_size:
            raise NotImplementedFault(f"prefetch_size!=0 ({method.prefetch_size})")
        if method.global_:
            self.prefetch = method.prefetch_count
        else:
            # Later consumers, as RabbitMQ has it, and the running ones too: clients that do not find the product
            # RabbitMQ count on that (contract §2.1).
            self._next_prefetch = method.prefetch_count
            for consumer in self._consumers.values():
                consumer.prefetch = method.prefetch_count
        self.touch_consumed_queues()
        self.send(amqp.BasicQosOk())

    def on_basic_consume(self, method: amqp.BasicConsume) -> Waiting | None:
        queue = self.vhost.queue(self.queue_name(method.queue), self.connection)
        consumer_tag = method.consumer_tag or self.connection.new_name("amq.ctag-")
        if consumer_tag in self._consumers:
            raise NotAllowed(f"attempt to reuse consumer tag '{consumer_tag}'")
        limit = self.broker.limits.max_consumers_per_channel
        if len(self._consumers) >= limit:
            raise NotAllowed(f"number of consumers on channel {self.id} has reached the maximum allowed of {limit}")
        consumer = Consumer(
            self,
            queue,
            consumer_tag,
            no_ack=method.no_ack,
            is_exclusive=method.exclusive,
            prefetch=self._next_prefetch,
        )
        if self.vhost.consumption.needs_subscription(queue, consumer):
            return self._subscribe(consumer, method.no_wait)
        self._start(consumer, method.no_wait)
        return None

    async def _subscribe(self, consumer: Consumer, no_wait: bool) -> None:
        await self.vhost.consumption.subscribe(consumer.queue, consumer)
        if self.is_closing:
            await self.vhost.consumption.unsubscribe(consumer.queue)
        else:
            self._start(consumer, no_wait)

    def _start(self, consumer: Consumer, no_wait: bool) -> None:
        self.vhost.consumption.add(consumer.queue, consumer)
        self._consumers[consumer.consumer_tag] = consumer
        if not no_wait:
            self.send(amqp.BasicConsumeOk(consumer.consumer_tag))
        self._touched.add(consumer.queue)

    def on_basic_cancel(self, method: amqp.BasicCancel) -> Waiting | None:
        consumer = self._consumers.get(method.consumer_tag)
        has_left = consumer is not None and self._remove(consumer)
        if not method.no_wait:
            self.send(amqp.BasicCancelOk(method.consumer_tag))
        return self.vhost.consumption.unsubscribe(consumer.queue) if consumer is not None and has_left else None

    def on_consumer_cancelled(self, consumer: Consumer) -> None:
        """The queue of `consumer` is gone (contract B19)."""
        self._consumers.pop(consumer.consumer_tag, None)
        if self.connection.has_capability("consumer_cancel_notify"):
            self.send(amqp.BasicCancel(consumer.consumer_tag, True))

    def on_basic_get(self, method: amqp.BasicGet) -> Waiting | None:
        queue = self.vhost.queue(self.queue_name(method.queue), self.connection)
        is_paused = self.broker.is_paused
        message = None if is_paused else queue.pop()
        if message is None and not is_paused and (queue.ready_count or self.broker.fetch is not None):
            return self._get_from_store(queue, method.no_ack)
        self._answer_get(queue, message, method.no_ack)
        return None

    async def _get_from_store(self, queue: Queue, no_ack: bool) -> None:
        broker = self.broker
        message = queue.pop()
        while message is None and not self.is_closing:
            if queue.ready_count:
                await broker.feed(queue)
            elif broker.fetch is None or not await broker.fetch(queue):
                break
            message = queue.pop()
        if self.is_closing:
            if message is not None:
                queue.requeue([message])
            return
        self._answer_get(queue, message, no_ack)

    def _answer_get(self, queue: Queue, message: Message | None, no_ack: bool) -> None:
        if message is None:
            self.send(amqp.BasicGetEmpty())
            return
        self.last_delivery_tag += 1
        exchange_size = message.routing[0]
        method = amqp.BasicGetOk(
            self.last_delivery_tag,
            message.redelivered,
            message.routing[1 : exchange_size + 1].decode(),
            message.routing[exchange_size + 2 :].decode(),
            queue.message_count,
        )
        self.connection.send_content(self.id, method, message.header, message.body, message.chunks)
        if no_ack:
            queue.settle((message,), AUTO_ACKED)
        else:
            message.consumer = None
            self.unacked[self.last_delivery_tag] = message

    def on_basic_ack(self, method: amqp.BasicAck) -> None:
        self._deliveries.ack(method.delivery_tag, multiple=method.multiple)

    def on_basic_reject(self, method: amqp.BasicReject) -> None:
        self._deliveries.reject(method.delivery_tag, multiple=False, requeue=method.requeue)

    def on_basic_nack(self, method: amqp.BasicNack) -> None:
        self._deliveries.reject(method.delivery_tag, multiple=method.multiple, requeue=method.requeue)

    def on_basic_recover(self, method: amqp.BasicRecover) -> None:
        self._recover(method.requeue)
        self.send(amqp.BasicRecoverOk())

    def on_basic_recover_async(self, method: amqp.BasicRecoverAsync) -> None:
        self._recover(method.requeue)

    def _recover(self, requeue: bool) -> None:
        if not requeue:
            raise NotImplementedFault("requeue=false")  # contract B26
        self._deliveries.requeue_all()

    # confirm and tx

    def on_confirm_select(self, method: amqp.ConfirmSelect) -> None:
        if self._publisher.transaction is not None:
            raise PreconditionFailed("cannot switch from tx to confirm mode")
        if self._publisher.confirms is None:
            self._publisher.confirms = Confirms(self._send_confirm)
        if not method.no_wait:
            self.send(amqp.ConfirmSelectOk())

    def _send_confirm(self, tag: int, multiple: bool) -> None:
        self.send(amqp.BasicAck(tag, multiple))

    def on_tx_select(self, method: amqp.TxSelect) -> None:
        if self._publisher.confirms is not None:
            raise PreconditionFailed("cannot switch from confirm to tx mode")
        if self._publisher.transaction is None:
            transaction = Transaction(self.broker.limits.max_uncommitted_bytes)
            self._publisher.transaction = self._deliveries.transaction = transaction
            self._update_direct()
        self.send(amqp.TxSelectOk())

    def _transaction(self) -> Transaction:
        if self._publisher.transaction is None:
            raise PreconditionFailed("channel is not transactional")
        return self._publisher.transaction

    async def on_tx_commit(self, method: amqp.TxCommit) -> None:
        await commit(self, self._publisher, self._deliveries, self._transaction())
        self.send(amqp.TxCommitOk())

    def on_tx_rollback(self, method: amqp.TxRollback) -> None:
        self._deliveries.roll_back(self._transaction())
        self.send(amqp.TxRollbackOk())


HANDLERS: Final[dict[type[Method], Any]] = {
    amqp.ChannelOpen: Channel.on_channel_open,
    amqp.ChannelFlow: Channel.on_channel_flow,
    amqp.ChannelFlowOk: Channel.on_ignored,
    amqp.ChannelClose: Channel.on_channel_close,
    amqp.ChannelCloseOk: Channel.on_ignored,
    amqp.AccessRequest: Channel.on_access_request,
    amqp.ExchangeDeclare: topology.on_exchange_declare,
    amqp.ExchangeDelete: topology.on_exchange_delete,
    amqp.ExchangeBind: topology.on_exchange_bind,
    amqp.ExchangeUnbind: topology.on_exchange_unbind,
    amqp.QueueDeclare: topology.on_queue_declare,
    amqp.QueueBind: topology.on_queue_bind,
    amqp.QueueUnbind: topology.on_queue_unbind,
    amqp.QueuePurge: topology.on_queue_purge,
    amqp.QueueDelete: topology.on_queue_delete,
    amqp.BasicQos: Channel.on_basic_qos,
    amqp.BasicConsume: Channel.on_basic_consume,
    amqp.BasicCancel: Channel.on_basic_cancel,
    amqp.BasicCancelOk: Channel.on_ignored,
    amqp.BasicGet: Channel.on_basic_get,
    amqp.BasicAck: Channel.on_basic_ack,
    amqp.BasicReject: Channel.on_basic_reject,
    amqp.BasicNack: Channel.on_basic_nack,
    amqp.BasicRecover: Channel.on_basic_recover,
    amqp.BasicRecoverAsync: Channel.on_basic_recover_async,
    amqp.ConfirmSelect: Channel.on_confirm_select,
    amqp.TxSelect: Channel.on_tx_select,
    amqp.TxCommit: Channel.on_tx_commit,
    amqp.TxRollback: Channel.on_tx_rollback,
}
