"""The handlers of basic.*, in the order of the specification. basic.publish is in `publishing`."""

from __future__ import annotations

from typing import Any

from broker.amqp.channel import Channel
from broker.amqp.consumer import Consumer
from broker.amqp.context import Waiting
from broker.amqp.direct_reply import REPLY_TO
from broker.amqp.profile import PrefetchRule
from broker.amqp.purposes import using
from broker.amqp.wso2_methods import (
    is_browser,
    is_routed_by_selector,
    require_served,
    selector_of,
    spare_own_messages,
)
from broker.auth.access import Operation, Permission
from broker.codec import methods as amqp
from broker.codec.delivery_count import counted_header, with_delivery_count
from broker.errors import NotAllowed, NotFound, NotImplementedFault, PreconditionFailed, ResourceLocked
from broker.message import Message
from broker.queue.outcome import AUTO_ACKED
from broker.queue.queue import Queue
from broker.queue.stream_cursor import StreamWish
from broker.queue.stream_queue import StreamQueue
from broker.selector.selector import Selector
from broker.topology.consumer_arguments import priority_of, refuse_consumer_arguments, stream_wish, timeout_of
from broker.topology.dialect import SELECTOR


def on_basic_qos(channel: Channel, method: amqp.BasicQos) -> None:
    if method.prefetch_size:
        raise NotImplementedFault(f"prefetch_size!=0 ({method.prefetch_size})")
    rule = channel.connection.profile.prefetch_rule
    if method.global_ or rule is PrefetchRule.CHANNEL:
        channel.share_prefetch(method.prefetch_count)
    elif rule is PrefetchRule.LATER_CONSUMERS:
        channel.share_prefetch(0)  # RabbitMQ has one limit or the other
        channel.deliveries.consumer_prefetch = method.prefetch_count
    else:
        channel.set_prefetch(method.prefetch_count)
    channel.send(amqp.BasicQosOk())


def on_basic_consume(channel: Channel, method: amqp.BasicConsume) -> Waiting | None:
    name = channel.queue_name(method.queue)
    if name == REPLY_TO:
        _consume_replies(channel, method)
        return None
    access = channel.connection.access
    access.require(Permission.READ, "queue", name, using(access, Operation.CONSUME, channel.vhost, name))
    queue = channel.vhost.queue(name, channel.connection.exclusive)
    consumer_tag = _new_tag(channel, method)
    if method.arguments:
        refuse_consumer_arguments(method.arguments, queue.settings.type, channel.vhost.phrase("queue", name))
    if channel.reply_consumer is not None and channel.reply_consumer.consumer_tag == consumer_tag:
        raise _reused(consumer_tag)
    selector = selector_of(channel, method.arguments)
    if is_browser(channel.vhost.dialect, method.arguments):
        _browse(channel, queue, consumer_tag, selector, no_wait=method.no_wait)
        return None
    phrase = channel.vhost.phrase("queue", name)
    require_served(method.arguments, channel.vhost.dialect)
    wish = _stream_wish(channel, queue, method, phrase) if isinstance(queue, StreamQueue) else None
    if selector is not None and is_routed_by_selector(channel, queue, method.arguments):
        selector = None  # nothing else comes
    if selector is not None and not queue.settings.allows_selectors:
        raise NotImplementedFault(
            f"argument '{SELECTOR}' is not served by {phrase}: it has priorities or one active consumer"
        )
    consumer = Consumer(
        channel.id,
        channel.deliveries,
        channel.output,
        queue,
        consumer_tag,
        no_ack=method.no_ack,
        is_exclusive=_is_exclusive(channel, queue, method.exclusive),
        priority=priority_of(method.arguments, phrase) if method.arguments else 0,
        timeout=timeout_of(method.arguments, phrase) if method.arguments else 0,
        arguments=method.arguments,
        heads=channel.broker.caches.new_cache(),
        on_cancelled=channel.on_consumer_cancelled,
    )
    if isinstance(queue, StreamQueue) and wish is not None:
        return _start_on_stream(channel, queue, wish, consumer, method)
    if channel.vhost.consumers.needs_subscription(queue, consumer):
        return _subscribe(channel, consumer, selector, method)
    _start(channel, consumer, selector, method)
    return None


def _browse(channel: Channel, queue: Queue, tag: str, selector: Selector | None, *, no_wait: bool) -> None:
    if not no_wait:
        channel.send(amqp.BasicConsumeOk(tag))
    channel.browse(queue, tag, selector)


def _is_exclusive(channel: Channel, queue: Queue, asked: bool) -> bool:
    """Does a new consumer exclude others? A durable subscription has one at a time, or several that share it."""
    if queue.settings.is_subscription:
        return not channel.vhost.dialect.shares_subscriptions
    return asked


def _new_tag(channel: Channel, method: amqp.BasicConsume) -> str:
    """Return the tag of one more consumer, if there may be one."""
    consumer_tag = method.consumer_tag or channel.connection.shared.new_name("amq.ctag-")
    if consumer_tag in channel.consumers or consumer_tag in channel.browsers:
        raise _reused(consumer_tag)
    limit = channel.broker.limits.max_consumers_per_channel
    if limit and len(channel.consumers) + len(channel.browsers) >= limit:
        raise NotAllowed(f"number of consumers on channel {channel.id} has reached the maximum allowed of {limit}")
    return consumer_tag


def _reused(consumer_tag: str) -> NotAllowed:
    return NotAllowed(f"attempt to reuse consumer tag '{consumer_tag}'")


def _consume_replies(channel: Channel, method: amqp.BasicConsume) -> None:
    consumer_tag = _new_tag(channel, method)
    if not method.no_ack:
        raise PreconditionFailed("reply consumer cannot acknowledge")
    if channel.reply_consumer is not None:
        raise PreconditionFailed("reply consumer already set")
    channel.await_replies(consumer_tag)
    if not method.no_wait:
        channel.send(amqp.BasicConsumeOk(consumer_tag))


def _stream_wish(channel: Channel, stream: StreamQueue, method: amqp.BasicConsume, phrase: str) -> StreamWish:
    """Return what a client asks for that consumes a stream, or raise what refuses it (contract S3)."""
    wish = stream_wish(method.arguments, phrase, stream.now_ms(), has_tag=bool(method.consumer_tag))
    deliveries = channel.deliveries
    is_shared = channel.connection.profile.prefetch_rule is PrefetchRule.CHANNEL
    if not (deliveries.consumer_prefetch or (is_shared and deliveries.prefetch)):
        raise PreconditionFailed(f"consumer prefetch count is not set for stream {phrase}")
    if method.no_ack:
        raise NotImplementedFault(f"automatic acknowledgement not supported by stream {phrase}")
    if deliveries.prefetch and not is_shared:
        raise NotImplementedFault(f"{phrase} does not support global qos")
    return wish


async def _start_on_stream(
    channel: Channel, stream: StreamQueue, wish: StreamWish, consumer: Consumer, method: amqp.BasicConsume
) -> None:
    """Start a consumer at the place that it asks for, which the store may have to find."""
    stream.expect(consumer, await stream.find_start(wish, consumer.consumer_tag))
    try:
        if channel.is_closing:
            return
        if stream.is_deleted:
            raise NotFound(f"no {channel.vhost.phrase('queue', stream.name)}")
        if channel.vhost.consumers.needs_subscription(stream, consumer):
            await _subscribe(channel, consumer, None, method)
        else:
            _start(channel, consumer, None, method)
    finally:
        stream.expect(consumer, None)


async def _subscribe(
    channel: Channel, consumer: Consumer, selector: Selector | None, method: amqp.BasicConsume
) -> None:
    await channel.vhost.consumers.subscribe(consumer.queue, consumer, channel.connection)
    if channel.is_closing:
        await channel.vhost.consumers.unsubscribe(consumer.queue)
    else:
        _start(channel, consumer, selector, method)


def _start(channel: Channel, consumer: Consumer, selector: Selector | None, method: amqp.BasicConsume) -> None:
    channel.vhost.consumers.add(consumer.queue, consumer, selector)
    channel.consumers[consumer.consumer_tag] = consumer
    spare_own_messages(channel, consumer, method)
    if not method.no_wait:
        channel.send(amqp.BasicConsumeOk(consumer.consumer_tag))
    channel.broker.touched.add(consumer.queue)


def on_basic_cancel(channel: Channel, method: amqp.BasicCancel) -> Waiting | None:
    if channel.reply_consumer is not None and channel.reply_consumer.consumer_tag == method.consumer_tag:
        channel.end_replies()
    channel.end_browsing(method.consumer_tag)
    consumer = channel.consumers.get(method.consumer_tag)
    has_left = consumer is not None and channel.remove(consumer)
    if not method.no_wait:
        channel.send(amqp.BasicCancelOk(method.consumer_tag))
    return channel.vhost.consumers.unsubscribe(consumer.queue) if consumer is not None and has_left else None


def on_basic_get(channel: Channel, method: amqp.BasicGet) -> Waiting | None:
    name = channel.queue_name(method.queue)
    access = channel.connection.access
    access.require(Permission.READ, "queue", name, using(access, Operation.CONSUME, channel.vhost, name))
    queue = channel.vhost.queue(name, channel.connection.exclusive)
    if queue.is_stream:
        phrase = channel.vhost.phrase("queue", name)
        raise NotImplementedFault(f"basic.get not supported by stream queues {phrase}")
    if queue.settings.has_groups and not queue.turns.dispatcher.is_active:
        phrase = channel.vhost.phrase("queue", name)
        raise ResourceLocked(f"cannot get from {phrase}: another node of the cluster gives out its message groups")
    message = channel.broker.get(queue)
    if message is None and channel.broker.may_get_later(queue):
        return _get_later(channel, queue, method.no_ack)
    _answer_get(channel, queue, message, method.no_ack)
    return None


async def _get_later(channel: Channel, queue: Queue, no_ack: bool) -> None:
    message = await channel.broker.get_later(queue, lambda: not channel.is_closing)
    if channel.is_closing:
        if message is not None:
            queue.return_unsent([message])
        return
    _answer_get(channel, queue, message, no_ack)


def _answer_get(channel: Channel, queue: Queue, message: Message | None, no_ack: bool) -> None:
    if message is None:
        channel.counts.note_get_empty(queue)
        channel.send(amqp.BasicGetEmpty())
        return
    channel.counts.note_get(queue, message.redelivered, no_ack=no_ack)
    deliveries = channel.deliveries
    deliveries.last_tag += 1
    routing = deliveries.told(message.routing)
    exchange_size = routing[0]
    method = amqp.BasicGetOk(
        deliveries.last_tag,
        message.redelivered > 0,
        routing[1 : exchange_size + 1].decode(),
        routing[exchange_size + 2 :].decode(),
        queue.message_count,
    )
    header = message.header
    if message.redelivered and queue.settings.counts_deliveries:
        header = counted_header(message)
    if deliveries.tells_count:
        header = with_delivery_count(header, message.redelivered + 1)
    channel.output.send_content(channel.id, method, header, message.body, message.chunks)
    if no_ack:
        queue.settle((message,), AUTO_ACKED)
    else:
        message.consumer = None
        deliveries.unacked[deliveries.last_tag] = message
        deliveries.got += 1
        if queue.expects_answers:
            _queue_of(message).expect_answers(deliveries, deliveries.last_tag, deliveries.last_tag)


def _queue_of(message: Message) -> Any:
    return message.queue


def on_basic_ack(channel: Channel, method: amqp.BasicAck) -> None:
    channel.deliveries.ack(method.delivery_tag, multiple=method.multiple)


def on_basic_reject(channel: Channel, method: amqp.BasicReject) -> None:
    channel.deliveries.reject(method.delivery_tag, multiple=False, requeue=method.requeue)


def on_basic_recover_async(channel: Channel, method: amqp.BasicRecoverAsync) -> None:
    _recover(channel, method.requeue)


def on_basic_recover(channel: Channel, method: amqp.BasicRecover) -> None:
    _recover(channel, method.requeue)
    channel.send(amqp.BasicRecoverOk())


def _recover(channel: Channel, requeue: bool) -> None:
    if not requeue and not channel.vhost.dialect.recovers_without_requeue:
        raise NotImplementedFault("requeue=false")  # contract B26
    channel.deliveries.recover()


def on_basic_nack(channel: Channel, method: amqp.BasicNack) -> None:
    channel.deliveries.reject(method.delivery_tag, multiple=method.multiple, requeue=method.requeue)
