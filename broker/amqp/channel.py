"""A channel: one handler per method, in the order of the specification.

Handlers raise what is wrong and never send a close. One that must wait for a port is a coroutine: the channel's later
frames wait for it in order, other channels go on. Knows the virtual host, its queues and the ports; knows no socket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final

from broker.amqp import methods as amqp
from broker.amqp.confirms import Confirms
from broker.amqp.consumer import Consumer
from broker.amqp.content import Content
from broker.amqp.frames import AckRun
from broker.amqp.method import METHODS, Method, frame
from broker.amqp.publishing import Publisher, clones
from broker.amqp.spec import FRAME_METHOD
from broker.amqp.transaction import Transaction
from broker.amqp.unacked import Unacked
from broker.broker import Broker
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
from broker.message import PENDING, SETTLED, TRANSIENT, Message
from broker.queue import Queue
from broker.topology import DestinationKind
from broker.vhost import ExchangeDeclaration, QueueDeclaration, VirtualHost

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
        "_last_queue",
        "_next_prefetch",
        "_publisher",
        "_touched",
        "_unacked",
        "broker",
        "connection",
        "deferred_octets",
        "id",
        "is_busy",
        "is_closing",
        "is_flowing",
        "last_delivery_tag",
        "prefetch",
        "publish",
        "resolve",
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
        self._unacked = Unacked()
        self.unacked = self._unacked.messages
        self._consumers: dict[str, Consumer] = {}
        self._content: Content | None = None
        self._deferred: deque[tuple[int, bytes]] = deque()
        self.deferred_octets = 0
        self._last_queue = ""
        self._next_prefetch = 0
        self._publisher = Publisher(self, vhost, user)
        self.publish = self._publisher.publish
        self.resolve = self._publisher.resolve
        self._touched = self.broker.touched
        self._update_fast()

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
            self._update_fast()
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
            self._update_fast()
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
        self._update_fast()

    def _update_fast(self) -> None:
        """May the reader hand content and acks over directly?"""
        fast = self.connection.reader.fast
        if self.is_busy or self.is_closing or self._deferred or self._content or self._publisher.transaction:
            fast.pop(self.id, None)
        else:
            fast[self.id] = self

    def send(self, method: Method) -> None:
        """Send a method on this channel."""
        self.connection.send(frame(self.id, method.encode()))

    # End

    def release(self) -> None:
        """Let go of everything: unacknowledged messages go back, consumers leave (contract H3)."""
        if self.is_closing:
            return
        self.is_closing = True
        self._update_fast()
        self._deferred.clear()
        self.deferred_octets = 0
        self._content = None
        if self._publisher.confirms is not None:
            self._publisher.confirms.close()
        for consumer in list(self._consumers.values()):
            self._remove(consumer)
        transaction = self._publisher.transaction
        if transaction is not None:
            _, acked, requeued = transaction.take()
            self._unacked.put_back([*acked, *requeued])
        self._requeue(self._unacked.take_all())

    def _remove(self, consumer: Consumer) -> bool:
        self._consumers.pop(consumer.consumer_tag, None)
        is_unused = self.vhost.remove_consumer(consumer.queue, consumer)
        if is_unused and self.is_closing:
            self.connection.spawn(self.vhost.delete_unused(consumer.queue))
        self._touched.add(consumer.queue)
        return is_unused

    def shared_room(self) -> int:
        """Return how many more deliveries the prefetch of the whole channel allows (contract B11).

        What a transaction has acknowledged but not committed counts as unacknowledged.
        """
        transaction = self._publisher.transaction
        uncommitted = 0 if transaction is None else len(transaction.acked) + len(transaction.requeued)
        return self.prefetch - len(self.unacked) - uncommitted

    def touch_consumed_queues(self) -> None:
        """The consumers may have credit again: let their queues dispatch."""
        self._touched.update(consumer.queue for consumer in self._consumers.values())

    def _requeue(self, messages: list[Message]) -> None:
        by_queue: dict[Queue, list[Message]] = {}
        for message in messages:
            queue: Any = message.queue
            by_queue.setdefault(queue, []).append(message)
            if message.consumer is not None:
                message.consumer.unacked -= 1
        for target, returned in by_queue.items():
            if self._is_here(target):
                target.requeue(returned)
                self._touched.add(target)
            else:
                self._drop(returned)
        if self.prefetch:
            self.touch_consumed_queues()

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

    # exchange

    async def on_exchange_declare(self, method: amqp.ExchangeDeclare) -> None:
        name = _clean(method.exchange)
        if method.passive:
            self.vhost.require_changeable(name)
            self.vhost.exchange(name)
        else:
            await self.vhost.declare_exchange(
                ExchangeDeclaration(
                    name, method.type, method.durable, method.auto_delete, method.internal, method.arguments
                )
            )
        if not method.no_wait:
            self.send(amqp.ExchangeDeclareOk())

    async def on_exchange_delete(self, method: amqp.ExchangeDelete) -> None:
        await self.vhost.delete_exchange(_clean(method.exchange), if_unused=method.if_unused)
        if not method.no_wait:
            self.send(amqp.ExchangeDeleteOk())

    async def on_exchange_bind(self, method: amqp.ExchangeBind) -> None:
        await self.vhost.bind(method.source, ("exchange", method.destination), method.routing_key, method.arguments)
        if not method.no_wait:
            self.send(amqp.ExchangeBindOk())

    async def on_exchange_unbind(self, method: amqp.ExchangeUnbind) -> None:
        await self.vhost.unbind(method.source, ("exchange", method.destination), method.routing_key, method.arguments)
        if not method.no_wait:
            self.send(amqp.ExchangeUnbindOk())

    # queue

    async def on_queue_declare(self, method: amqp.QueueDeclare) -> None:
        name = _clean(method.queue)
        owner = self.connection if method.exclusive else None
        if method.passive:
            queue = self.vhost.queue(self._queue_name(name), self.connection)
        else:
            declaration = QueueDeclaration(
                name or self.connection.new_name("amq.gen-"),
                method.durable,
                method.auto_delete,
                method.arguments,
                owner,
            )
            queue = await self.vhost.declare_queue(declaration, is_server_named=not name)
            if owner is not None:
                await self.connection.own(queue)
        self._last_queue = queue.name
        if not method.no_wait:
            self.send(amqp.QueueDeclareOk(queue.name, queue.ready_count, len(queue.consumers)))

    def _queue_name(self, name: str) -> str:
        """Return `name`, or the last queue declared on this channel when it is empty (contract Q3)."""
        if name:
            return name
        if not self._last_queue:
            raise NotFound("no previously declared queue")
        return self._last_queue

    async def on_queue_bind(self, method: amqp.QueueBind) -> None:
        name = self._queue_name(method.queue)
        routing_key = method.routing_key or ("" if method.queue else name)
        destination: tuple[DestinationKind, str] = ("queue", name)
        self.vhost.require_changeable(method.exchange)
        self.vhost.queue(name, self.connection)
        await self.vhost.bind(method.exchange, destination, routing_key, method.arguments)
        if not method.no_wait:
            self.send(amqp.QueueBindOk())

    async def on_queue_unbind(self, method: amqp.QueueUnbind) -> None:
        name = self._queue_name(method.queue)
        routing_key = method.routing_key or ("" if method.queue else name)
        if name in self.vhost.queues:
            self.vhost.queue(name, self.connection)
        await self.vhost.unbind(method.exchange, ("queue", name), routing_key, method.arguments)
        self.send(amqp.QueueUnbindOk())

    async def on_queue_purge(self, method: amqp.QueuePurge) -> None:
        count = await self.vhost.purge_queue(self._queue_name(method.queue), self.connection)
        if not method.no_wait:
            self.send(amqp.QueuePurgeOk(count))

    async def on_queue_delete(self, method: amqp.QueueDelete) -> None:
        name = self._queue_name(_clean(method.queue))
        count = await self.vhost.delete_queue(
            name, self.connection, if_unused=method.if_unused, if_empty=method.if_empty
        )
        if not method.no_wait:
            self.send(amqp.QueueDeleteOk(count))

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

    def on_basic_consume(self, method: amqp.BasicConsume) -> None:
        queue = self.vhost.queue(self._queue_name(method.queue), self.connection)
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
        self.vhost.add_consumer(queue, consumer)
        self._consumers[consumer_tag] = consumer
        if not method.no_wait:
            self.send(amqp.BasicConsumeOk(consumer_tag))
        self._touched.add(queue)

    def on_basic_cancel(self, method: amqp.BasicCancel) -> Waiting | None:
        consumer = self._consumers.get(method.consumer_tag)
        is_unused = consumer is not None and self._remove(consumer)
        if not method.no_wait:
            self.send(amqp.BasicCancelOk(method.consumer_tag))
        return self.vhost.delete_unused(consumer.queue) if consumer is not None and is_unused else None

    def on_consumer_cancelled(self, consumer: Consumer) -> None:
        """The queue of `consumer` is gone (contract B19)."""
        self._consumers.pop(consumer.consumer_tag, None)
        if self.connection.has_capability("consumer_cancel_notify"):
            self.send(amqp.BasicCancel(consumer.consumer_tag, True))

    def on_basic_get(self, method: amqp.BasicGet) -> Waiting | None:
        queue = self.vhost.queue(self._queue_name(method.queue), self.connection)
        message = queue.pop()
        if message is None and queue.ready_count:
            return self._get_from_store(queue, method.no_ack)
        self._answer_get(queue, message, method.no_ack)
        return None

    async def _get_from_store(self, queue: Queue, no_ack: bool) -> None:
        message = queue.pop()
        while message is None and queue.ready_count and not self.is_closing:
            await self.broker.feed(queue)
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
            queue.ready_count,
        )
        self.connection.send_content(self.id, method, message.header, message.body, message.chunks)
        if no_ack:
            if message.state != TRANSIENT:
                self.broker.journal.settle(message)
        else:
            message.consumer = None
            self.unacked[self.last_delivery_tag] = message

    def ack_run(self, acks: AckRun) -> int:
        """Acknowledge single deliveries in one loop (design §2). Hot."""
        pop = self.unacked.pop
        touch = self._touched.add
        settle = self.broker.journal.settle
        first = b""
        count = 0
        for head, tag, end in acks:
            if end != 0x00CE or head != first:
                if count:
                    break
                first = head
            message = pop(tag, None)
            if message is None:
                raise PreconditionFailed(f"unknown delivery tag {tag}")
            consumer = message.consumer
            if consumer is not None:
                consumer.unacked -= 1
                touch(consumer.queue)
            if message.state != TRANSIENT:
                settle(message)
            count += 1
        if self.prefetch:
            self.touch_consumed_queues()
        return count

    def on_basic_ack(self, method: amqp.BasicAck) -> None:
        deliveries = self._unacked.take(method.delivery_tag, method.multiple, self.last_delivery_tag)
        if self._publisher.transaction is not None:
            self._publisher.transaction.acked += deliveries
        else:
            self._settle(deliveries)

    def _settle(self, deliveries: list[tuple[int, Message]]) -> None:
        settle = self.broker.journal.settle
        touch = self._touched.add
        for _, message in deliveries:
            consumer = message.consumer
            if consumer is not None:
                consumer.unacked -= 1
                touch(consumer.queue)
            if message.state != TRANSIENT:
                settle(message)
        if self.prefetch:
            self.touch_consumed_queues()

    def on_basic_reject(self, method: amqp.BasicReject) -> None:
        self._reject(method.delivery_tag, False, method.requeue)

    def on_basic_nack(self, method: amqp.BasicNack) -> None:
        self._reject(method.delivery_tag, method.multiple, method.requeue)

    def _reject(self, tag: int, multiple: bool, requeue: bool) -> None:
        deliveries = self._unacked.take(tag, multiple, self.last_delivery_tag)
        transaction = self._publisher.transaction
        if transaction is not None:
            (transaction.requeued if requeue else transaction.acked).extend(deliveries)
        elif requeue:
            self._requeue([message for _, message in deliveries])
        else:
            self._settle(deliveries)

    def on_basic_recover(self, method: amqp.BasicRecover) -> None:
        self._recover(method.requeue)
        self.send(amqp.BasicRecoverOk())

    def on_basic_recover_async(self, method: amqp.BasicRecoverAsync) -> None:
        self._recover(method.requeue)

    def _recover(self, requeue: bool) -> None:
        if not requeue:
            raise NotImplementedFault("requeue=false")  # contract B26
        self._requeue(self._unacked.take_all())

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
            self._publisher.transaction = Transaction(self.broker.limits.max_uncommitted_bytes)
            self._update_fast()
        self.send(amqp.TxSelectOk())

    def _transaction(self) -> Transaction:
        if self._publisher.transaction is None:
            raise PreconditionFailed("channel is not transactional")
        return self._publisher.transaction

    async def on_tx_commit(self, method: amqp.TxCommit) -> None:
        """Make publishes and acks real in one store transaction, all or nothing (contract T3)."""
        publications, acked, requeued = self._transaction().take()
        messages: list[Message] = []
        for publication in publications:
            queues = [queue for queue in publication.queues if self._is_here(queue)]
            content = (publication.header, publication.body, publication.chunks)
            if queues:
                messages += clones(self.broker.ids, publication.route, queues, *content, publication.is_persistent)
            elif publication.route.mandatory:
                self._publisher.return_unroutable(publication.route, *content)
        self.connection.has_committed |= bool(messages)
        inserts = [message for message in messages if message.state == PENDING]
        deletes = [message for _, message in acked if message.state != TRANSIENT]
        if inserts or deletes:
            targets: list[Any] = [message.queue for message in messages]
            for queue in targets:
                queue.holds += 1
            try:
                await self.broker.journal.transact(inserts, deletes)
            finally:
                for queue in targets:
                    queue.holds -= 1
        for message in deletes:
            message.state = SETTLED
        by_queue: dict[Any, list[Message]] = {}
        for message in messages:
            by_queue.setdefault(message.queue, []).append(message)
        for queue, members in by_queue.items():
            if self._is_here(queue):
                queue.insert(members)
                self._touched.add(queue)
            else:
                self._drop(members)
        for _, message in acked:
            if message.consumer is not None:
                message.consumer.unacked -= 1
                self._touched.add(message.consumer.queue)
        self._requeue([message for _, message in requeued])
        self.send(amqp.TxCommitOk())

    def _is_here(self, queue: Any) -> bool:
        return self.vhost.queues.get(queue.name) is queue

    def _drop(self, messages: list[Message]) -> None:
        """The queue was deleted while its messages were being committed, or while a consumer held them."""
        for message in messages:
            if message.state != TRANSIENT:
                self.broker.journal.settle(message)

    def on_tx_rollback(self, method: amqp.TxRollback) -> None:
        _, acked, requeued = self._transaction().take()
        self._unacked.put_back([*acked, *requeued])
        self.send(amqp.TxRollbackOk())


def _clean(name: str) -> str:
    """Strip the line ends that some clients leave in names (contract X1)."""
    return name.replace("\r", "").replace("\n", "")


HANDLERS: Final[dict[type[Method], Any]] = {
    amqp.ChannelOpen: Channel.on_channel_open,
    amqp.ChannelFlow: Channel.on_channel_flow,
    amqp.ChannelFlowOk: Channel.on_ignored,
    amqp.ChannelClose: Channel.on_channel_close,
    amqp.ChannelCloseOk: Channel.on_ignored,
    amqp.AccessRequest: Channel.on_access_request,
    amqp.ExchangeDeclare: Channel.on_exchange_declare,
    amqp.ExchangeDelete: Channel.on_exchange_delete,
    amqp.ExchangeBind: Channel.on_exchange_bind,
    amqp.ExchangeUnbind: Channel.on_exchange_unbind,
    amqp.QueueDeclare: Channel.on_queue_declare,
    amqp.QueueBind: Channel.on_queue_bind,
    amqp.QueueUnbind: Channel.on_queue_unbind,
    amqp.QueuePurge: Channel.on_queue_purge,
    amqp.QueueDelete: Channel.on_queue_delete,
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
