"""A channel: what one channel of a connection holds, from channel.open until its end.

The handlers of its methods are in `handlers`. While one of them waits, the channel keeps the frames behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from broker.amqp.branches import BranchSession
from broker.amqp.browser import Browser
from broker.amqp.channel_counts import ChannelCounts
from broker.amqp.confirms import Confirms
from broker.amqp.consumer import Consumer
from broker.amqp.content import Content
from broker.amqp.context import ConnectionContext
from broker.amqp.deliveries import Deliveries
from broker.amqp.direct_reply import ReplyConsumer
from broker.amqp.publisher_flow import FlowedPublisher
from broker.amqp.publishing import Publisher
from broker.amqp.purposes import using
from broker.amqp.transaction import Transaction
from broker.auth.access import Operation, Permission
from broker.codec import methods as amqp
from broker.codec.constants import FRAME_METHOD
from broker.codec.method import Method
from broker.errors import NotFound, PreconditionFailed
from broker.queue.queue import Queue
from broker.selector.selector import Selector

_FRAME_OVERHEAD: Final = 128
"""Approximate octets that a frame costs beside its payload while it waits behind a handler."""


class Channel:
    """One channel of one connection."""

    __slots__ = (
        "_cancelled",
        "_deferred",
        "_is_prefetch_raised",
        "_on_closed",
        "_touched",
        "ack_run",
        "broker",
        "browsers",
        "connection",
        "consumers",
        "content",
        "counts",
        "deferred_octets",
        "deliveries",
        "dtx",
        "flow",
        "id",
        "is_busy",
        "is_closing",
        "last_queue",
        "output",
        "publish",
        "publisher",
        "reject_run",
        "reply_consumer",
        "resolve",
        "vhost",
    )

    def __init__(self, connection: ConnectionContext, channel_id: int, on_closed: Callable[[Channel], None]) -> None:
        """`on_closed` is called when the client has closed the channel: its number is free again."""
        self.connection = connection
        self.id = channel_id
        self._on_closed = on_closed
        self.broker = connection.shared.broker
        self.vhost = connection.vhost
        self.output = connection.output
        self.is_busy = False
        self.is_closing = False
        self.consumers: dict[str, Consumer] = {}
        self.browsers: dict[str, Browser] = {}
        """Those who look through queues, by tag: no consumers."""
        self._cancelled: list[str] = []
        """The tags of consumers whose queues are gone, which the client is told when it has its answer."""
        self.content: Content | None = None
        """The publish whose frames are being collected."""
        self._deferred: deque[tuple[int, bytes]] = deque()
        self.deferred_octets = 0
        """What the frames behind a handler occupy, those without a payload too."""
        self.last_queue = ""
        self.reply_consumer: ReplyConsumer | None = None
        self.publisher = Publisher(
            channel_id,
            self.output,
            self.broker,
            self.vhost,
            connection.access,
            connection.continuation,
            connection.shared.replies,
            connection,
        )
        self.publish = self.publisher.publish
        self.flow: FlowedPublisher | None = None
        """Whether the client is asked to publish nothing, if it is asked by channel.flow."""
        flow = connection.shared.flow
        if flow is not None and self.vhost.dialect.asks_publishers_by_flow and not self._knows_blocked:
            self.flow = FlowedPublisher(flow, self.publisher, self.send)
            self.publish = self.flow.publish
        self.resolve = self.publisher.resolve
        dialect = self.vhost.dialect
        default_exchange = "" if self._knows_blocked else dialect.default_exchange
        self.deliveries = Deliveries(self.output, self.broker.touched, self.resume_later, dialect, default_exchange)
        self.counts = ChannelCounts(self.publisher, self.deliveries, self.consumers)
        self.ack_run = self.deliveries.ack_run
        self.reject_run = self.deliveries.reject_run
        self._touched = self.broker.touched
        self._is_prefetch_raised = False
        self.dtx: BranchSession | None = None
        """Its branches of distributed transactions, once the client has selected them."""
        self.update_direct()

    @property
    def _knows_blocked(self) -> bool:
        return self.connection.has_capability("connection.blocked")

    # Frames

    def begin_content(self, arguments: bytes) -> None:
        """Collect the frames of a publish that did not come in one piece."""
        self.output.has_published = True
        self.content = Content(arguments, self.broker.limits.max_message_size)
        amqp.BasicPublish.decode_arguments(arguments, 0, len(arguments))
        self.update_direct()

    def add_content(self, content: Content, frame_type: int, payload: bytes) -> None:
        """Take the next frame of the content that is being collected, and publish it when it is complete."""
        self.output.has_published = True
        try:
            if not content.add(frame_type, payload):
                return
        except BaseException:
            self.content = None
            raise
        self.content = None
        self.update_direct()
        header, chunks = content.header, content.chunks
        route = self.resolve(content.arguments)
        if len(chunks) > 1:
            self.publish(route, header, b"", chunks)
        else:
            self.publish(route, header, chunks[0] if chunks else b"")

    def defer(self, frame_type: int, payload: bytes) -> None:
        """Keep a frame until the handler that is waiting is done."""
        self._deferred.append((frame_type, payload))
        self.deferred_octets += len(payload) + _FRAME_OVERHEAD
        if frame_type != FRAME_METHOD:
            self.output.has_published = True

    @property
    def unfinished_octets(self) -> int:
        """What the client has sent that no queue has yet: half a body, a transaction, frames behind a handler."""
        octets = self.deferred_octets
        if self.content is not None:
            octets += self.content.octets
        if self.dtx is not None:
            return octets + self.dtx.octets
        transaction = self.publisher.transaction
        return octets if transaction is None else octets + transaction.octets

    def next_deferred(self) -> tuple[int, bytes] | None:
        """Take the oldest frame that was kept."""
        if not self._deferred:
            return None
        kept = self._deferred.popleft()
        self.deferred_octets -= len(kept[1]) + _FRAME_OVERHEAD
        return kept

    def set_busy(self, is_busy: bool) -> None:
        """Mark the channel as waiting for a handler, or as free again."""
        self.is_busy = is_busy
        if self._cancelled and not is_busy:
            self._tell_cancelled()
        self.update_direct()

    def update_direct(self) -> None:
        """Let the reader hand publishes and acks over directly while nothing stands between them and their turn."""
        direct = self.connection.direct
        if self.is_busy or self.is_closing or self._deferred or self.content or self.publisher.transaction:
            direct.pop(self.id, None)
        else:
            direct[self.id] = self

    def send(self, method: Method) -> None:
        """Send a method on this channel; a handler that waited may come too late for that."""
        if not self.output.has_sent_close:
            self.output.send_method(self.id, method)

    # Consumers

    def remove(self, consumer: Consumer) -> bool:
        """Take a consumer away; return whether the queue's `unsubscribe` is to be awaited for that."""
        self._forget(consumer)
        has_left = self.vhost.consumers.remove(consumer.queue, consumer)
        if has_left and self.is_closing:
            self.connection.shared.spawn(self.vhost.consumers.unsubscribe(consumer.queue))
        self._touched.add(consumer.queue)
        return has_left

    def _forget(self, consumer: Consumer) -> None:
        if self.consumers.pop(consumer.consumer_tag, None) is consumer:
            self.counts.end_consumer(consumer)
        self.deliveries.waiting.pop(consumer, None)
        self.vhost.own_messages.end(consumer.queue.name)

    def on_permissions_changed(self) -> None:
        """The client may do something else from now on: what it may not consume any more is cancelled."""
        self.publisher.on_permissions_changed()
        access = self.connection.access
        permits = access.permissions.permits
        for consumer in list(self.consumers.values()):
            name = consumer.queue.name
            if not permits(Permission.READ, "queue", name, using(access, Operation.CONSUME, self.vhost, name)):
                has_left = self.remove(consumer)
                self.on_consumer_cancelled(consumer)
                if has_left and not self.is_closing:
                    self.connection.shared.spawn(self.vhost.consumers.unsubscribe(consumer.queue))

    def await_replies(self, consumer_tag: str) -> None:
        """Deliver replies to requests of this channel to a consumer of its own (contract N19)."""
        replies = self.connection.shared.replies
        consumer = self.reply_consumer = ReplyConsumer(
            self.id,
            self.output,
            self.deliveries,
            vhost=self.vhost.name,
            consumer_tag=consumer_tag,
            address=replies.new_address(),
        )
        self.publisher.replier.address = consumer.octets
        replies.add(consumer)

    def end_replies(self) -> None:
        """The consumer of replies, if there is one, is cancelled."""
        if self.reply_consumer is not None:
            self.connection.shared.replies.remove(self.reply_consumer)
            self.reply_consumer = None
            self.publisher.replier.address = b""

    @property
    def waits_for_room(self) -> bool:
        """Would the channel send more if the socket took it?"""
        return bool(self.deliveries.waiting or self.browsers)

    def resume_later(self) -> None:
        """At the end of this batch deliver to those consumers that wait for room: there may be some."""
        self.broker.resumable[self] = None

    def share_prefetch(self, count: int) -> None:
        """Limit the unacknowledged deliveries of all consumers together; 0 for any number."""
        self.deliveries.prefetch = count
        self.resume_later()

    def set_prefetch(self, count: int) -> None:
        """Limit the unacknowledged deliveries of each consumer, later and running ones; 0 for any number.

        RabbitMQ limits later ones only, but clients that do not find the product RabbitMQ count on this (contract U2).
        """
        self.deliveries.consumer_prefetch = count
        for consumer in self.consumers.values():
            consumer.prefetch = count
        self._is_prefetch_raised = True
        self.resume_later()

    def resume(self) -> None:
        """Deliver to the consumers that wait for room, in turn, as far as it goes."""
        if self._is_prefetch_raised:
            self._is_prefetch_raised = False
            for consumer in self.consumers.values():
                self.deliveries.wait_for_room(consumer)
        self.deliveries.resume()
        for browser in self.browsers.values():
            browser.go_on()

    def browse(self, queue: Queue, tag: str, selector: Selector | None) -> None:
        """Show the client what is in a queue, or what of it passes `selector`."""
        shared = self.connection.shared
        browser = self.browsers[tag] = Browser(
            self.id,
            self.output,
            self.deliveries,
            self.broker,
            queue,
            tag,
            selector=selector,
            read=shared.read,
            pause=shared.pause,
            next_turn=shared.next_turn,
            spawn=shared.spawn,
            on_end=self._on_browsed,
            turns=self.connection.browsing,
        )
        browser.go_on()

    def _on_browsed(self, browser: Browser) -> None:
        self.browsers.pop(browser.tag, None)

    def end_browsing(self, tag: str) -> None:
        """The client has seen enough."""
        browser = self.browsers.pop(tag, None)
        if browser is not None:
            browser.close()

    def on_consumer_cancelled(self, consumer: Consumer) -> None:
        """The queue of `consumer` is gone: say so, but after the answer that the client waits for (contract B19)."""
        self._forget(consumer)
        if self.connection.has_capability("consumer_cancel_notify"):
            self._cancelled.append(consumer.consumer_tag)
            if not self.is_busy:
                self._tell_cancelled()

    def end_consumer(self, consumer: Consumer) -> bool:
        """An administrator takes a consumer away; return False if the client does not know that consumers are
        cancelled, and its channel has to end for that.
        """
        if not self.connection.has_capability("consumer_cancel_notify"):
            return False
        has_left = self.remove(consumer)
        self.on_consumer_cancelled(consumer)
        if has_left:
            self.connection.shared.spawn(self.vhost.consumers.unsubscribe(consumer.queue))
        return True

    def _tell_cancelled(self) -> None:
        cancelled, self._cancelled = self._cancelled, []
        for consumer_tag in cancelled:
            self.send(amqp.BasicCancel(consumer_tag, True))

    def held_ids(self, queue: Queue) -> Iterator[int]:
        """Return the ids of all messages of `queue` that the client has and has not settled."""
        return self.deliveries.held_ids(queue)

    def queue_name(self, name: str) -> str:
        """Return `name`, or the last queue declared on this channel when it is empty (contract Q3)."""
        if name:
            return self.vhost.dialect.name_of(name)
        if not self.last_queue:
            raise NotFound("no previously declared queue")
        return self.last_queue

    # Confirms and transactions

    def select_confirms(self) -> None:
        """Confirm every publish from now on."""
        self._require_no_branches("confirm")
        if self.publisher.transaction is not None:
            raise PreconditionFailed("cannot switch from tx to confirm mode")
        if self.publisher.confirms is None:
            self.publisher.begin_confirms(Confirms(self._send_confirm, self._send_refusal))

    def _send_confirm(self, tag: int, multiple: bool) -> None:
        self.send(amqp.BasicAck(tag, multiple))

    def _send_refusal(self, tag: int) -> None:
        self.send(amqp.BasicNack(tag, False, False))

    def select_transaction(self) -> None:
        """Keep publishes, acks and rejects for the next commit from now on."""
        self._require_no_branches("tx")
        if self.publisher.confirms is not None:
            raise PreconditionFailed("cannot switch from confirm to tx mode")
        if self.publisher.transaction is None:
            transaction = Transaction(self.broker.limits.max_uncommitted_bytes)
            self.publisher.transaction = self.deliveries.transaction = transaction
            self.update_direct()

    def _require_no_branches(self, mode: str) -> None:
        if self.dtx is not None:
            raise PreconditionFailed(f"cannot switch from dtx to {mode} mode")

    @property
    def transaction(self) -> Transaction:
        """The transaction, or `PreconditionFailed` when the channel has none."""
        if self.publisher.transaction is None or self.dtx is not None:
            raise PreconditionFailed("channel is not transactional")
        return self.publisher.transaction

    # End

    def close(self) -> None:
        """The client closes the channel."""
        self.release()
        self._on_closed(self)

    def release(self) -> None:
        """Let go of everything: unacknowledged messages go back, consumers leave (contract H3)."""
        if self.is_closing:
            return
        self.is_closing = True
        self.broker.end_channel(self.vhost, self.counts.read())
        self.update_direct()
        self._deferred.clear()
        self._cancelled.clear()
        self.deferred_octets = 0
        self.content = None
        if self.publisher.confirms is not None:
            self.publisher.confirms.close()
        if self.flow is not None:
            self.flow.close()
        self.publisher.replier.close()
        self.end_replies()
        for tag in list(self.browsers):
            self.end_browsing(tag)
        for consumer in list(self.consumers.values()):
            self.remove(consumer)
        if self.dtx is not None:
            self.dtx.close()
        transaction = self.publisher.transaction
        if transaction is not None:
            transaction.take()
        self.deliveries.close()
