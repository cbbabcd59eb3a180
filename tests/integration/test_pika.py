"""pika's BlockingConnection as its documentation shows it: publish, get, consume, acknowledge, transactions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, UnroutableError

from tests.integration.pika_fixtures import Connect, channel, connect, connection, process_until, queue

__all__ = ["channel", "connect", "connection", "queue"]

PERSISTENT = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent.value)


def put(channel: BlockingChannel, queue: str, *bodies: bytes) -> None:
    for body in bodies:
        channel.basic_publish("", queue, body)


def take(channel: BlockingChannel, queue: str) -> tuple[bytes | None, bool]:
    """Fetch one message without acknowledging it: its body and its redelivered flag."""
    method, _, body = channel.basic_get(queue)
    return body, bool(method and method.redelivered)


def test_a_durable_queue_counts_its_messages(channel: BlockingChannel, unique: Callable[[str], str]) -> None:
    name = unique("orders")
    declared = channel.queue_declare(name, durable=True).method
    channel.confirm_delivery()
    put(channel, name, b"one", b"two")
    again = channel.queue_declare(name, passive=True).method
    assert (declared.queue, declared.message_count, declared.consumer_count) == (name, 0, 0)
    assert (again.message_count, again.consumer_count) == (2, 0)
    assert channel.queue_purge(name).method.message_count == 2
    assert channel.queue_delete(name).method.message_count == 0


def test_a_queue_without_a_name_is_named_by_the_server(channel: BlockingChannel) -> None:
    first, second = (channel.queue_declare("", exclusive=True).method.queue for _ in range(2))
    assert first.startswith("amq.gen-")
    assert first != second


def test_an_empty_queue_name_means_the_last_declared_one(channel: BlockingChannel, queue: str) -> None:
    put(channel, queue, b"hello")
    assert take(channel, "") == (b"hello", False)


def test_get_on_an_empty_queue_returns_nothing(channel: BlockingChannel, queue: str) -> None:
    assert channel.basic_get(queue) == (None, None, None)


def test_get_tells_where_a_message_came_from_and_how_many_remain(channel: BlockingChannel, queue: str) -> None:
    put(channel, queue, b"one", b"two", b"three")
    method, _, body = channel.basic_get(queue, auto_ack=True)
    assert method is not None
    assert (method.delivery_tag, method.redelivered, method.exchange, method.routing_key) == (1, False, "", queue)
    assert (body, method.message_count) == (b"one", 2)


def test_a_confirmed_publish_to_a_durable_queue_returns(channel: BlockingChannel, unique: Callable[[str], str]) -> None:
    name = unique("orders")
    channel.queue_declare(name, durable=True)
    channel.confirm_delivery()
    channel.basic_publish("", name, b"hello", PERSISTENT, mandatory=True)
    assert take(channel, name) == (b"hello", False)
    channel.queue_delete(name)


def test_a_mandatory_publish_without_a_queue_is_unroutable(
    channel: BlockingChannel, unique: Callable[[str], str]
) -> None:
    channel.confirm_delivery()
    key = unique("nowhere")
    properties = pika.BasicProperties(content_type="text/plain", headers={"spring_returned_message_correlation": "7"})
    with pytest.raises(UnroutableError) as caught:
        channel.basic_publish("amq.direct", key, b"hello", properties, mandatory=True)
    (returned,) = caught.value.messages
    assert (returned.method.reply_code, returned.method.reply_text) == (312, "NO_ROUTE")
    assert (returned.method.exchange, returned.method.routing_key) == ("amq.direct", key)
    assert (returned.properties, returned.body) == (properties, b"hello")


def test_an_unroutable_publish_that_is_not_mandatory_is_confirmed(
    channel: BlockingChannel, unique: Callable[[str], str]
) -> None:
    channel.confirm_delivery()
    channel.basic_publish("", unique("nowhere"), b"hello")
    assert channel.is_open


def test_without_confirms_a_mandatory_message_comes_back_to_the_callback(
    connection: pika.BlockingConnection, unique: Callable[[str], str]
) -> None:
    channel = connection.channel()
    returned: list[tuple[int, bytes]] = []
    channel.add_on_return_callback(lambda _, method, __, body: returned.append((method.reply_code, body)))
    channel.basic_publish("", unique("nowhere"), b"hello", mandatory=True)
    connection.process_data_events(time_limit=10)
    assert returned == [(312, b"hello")]


@pytest.mark.parametrize("size", [0, 1, 131063, 131064, 131065, 2**20, 10 * 2**20])
def test_a_body_of_any_size_arrives_unchanged(channel: BlockingChannel, queue: str, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    channel.confirm_delivery()
    channel.basic_publish("", queue, body, PERSISTENT)
    _, properties, received = channel.basic_get(queue, auto_ack=True)
    assert received == body
    assert properties == PERSISTENT


def test_every_property_and_header_type_arrives_unchanged(channel: BlockingChannel, queue: str) -> None:
    properties = pika.BasicProperties(
        content_type="application/json",
        content_encoding="gzip",
        headers={
            "none": None,
            "text": "grüße",
            "long text": "x" * 5000,
            "bytes": b"\x00\xff",
            "true": True,
            "int": -(2**31),
            "long": 2**62,
            "decimal": Decimal("-12.50"),
            "time": datetime(2026, 8, 21, 12, 30, tzinfo=UTC),
            "table": {"inner": {"deep": [1, [2, {"three": 3}], "four"]}},
            "empty": {},
            "list": [],
        },
        delivery_mode=1,
        priority=9,
        correlation_id="correlation",
        reply_to="replies",
        expiration="60000",
        message_id="message",
        timestamp=2**40,
        type="order",
        user_id="guest",
        app_id="shop",
        cluster_id="cluster",
    )
    channel.basic_publish("", queue, b"hello", properties)
    _, received, _ = channel.basic_get(queue, auto_ack=True)
    assert received == properties


def test_unset_properties_stay_unset(channel: BlockingChannel, queue: str) -> None:
    put(channel, queue, b"hello")
    _, received, _ = channel.basic_get(queue, auto_ack=True)
    assert received == pika.BasicProperties()


def test_the_consume_generator_delivers_in_order_and_hands_back_the_rest(channel: BlockingChannel, queue: str) -> None:
    put(channel, queue, *(b"%d" % number for number in range(10)))
    received = []
    for method, _, body in channel.consume(queue, inactivity_timeout=10):
        assert method is not None
        channel.basic_ack(method.delivery_tag)
        received.append((body, method.redelivered))
        if len(received) == 4:
            break
    channel.cancel()
    assert received == [(b"%d" % number, False) for number in range(4)]
    assert take(channel, queue) == (b"4", True)


def test_prefetch_bounds_what_a_consumer_holds(
    connection: pika.BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    received: list[int] = []
    put(channel, queue, *(b"%d" % number for number in range(5)))
    channel.basic_qos(prefetch_count=2)
    channel.basic_consume(queue, lambda _, method, __, ___: received.append(method.delivery_tag))
    process_until(connection, lambda: len(received) >= 2)
    ready = channel.queue_declare(queue, passive=True).method.message_count
    assert (received, ready) == ([1, 2], 3)
    channel.basic_ack(2, multiple=True)
    process_until(connection, lambda: len(received) >= 4)
    assert received == [1, 2, 3, 4]


def test_a_message_requeued_by_nack_returns_to_its_place_with_the_flag(channel: BlockingChannel, queue: str) -> None:
    put(channel, queue, b"one", b"two")
    method, _, _ = channel.basic_get(queue)
    assert method is not None
    channel.basic_nack(method.delivery_tag, requeue=True)
    assert [take(channel, queue), take(channel, queue)] == [(b"one", True), (b"two", False)]


def test_a_rejected_message_is_requeued_or_dropped(channel: BlockingChannel, queue: str) -> None:
    put(channel, queue, b"one", b"two")
    for requeue in (True, False):
        method, _, body = channel.basic_get(queue)
        assert method is not None
        assert body == b"one"
        channel.basic_reject(method.delivery_tag, requeue=requeue)
    assert take(channel, queue) == (b"two", False)


def test_nack_of_tag_zero_with_multiple_requeues_everything(channel: BlockingChannel, queue: str) -> None:
    put(channel, queue, b"one", b"two")
    take(channel, queue)
    take(channel, queue)
    channel.basic_nack(0, multiple=True, requeue=True)
    assert [take(channel, queue), take(channel, queue)] == [(b"one", True), (b"two", True)]


def test_ack_with_multiple_settles_everything_up_to_its_tag(connection: pika.BlockingConnection, queue: str) -> None:
    first, second = connection.channel(), connection.channel()
    put(first, queue, b"one", b"two", b"three")
    for _ in range(3):
        take(first, queue)
    first.basic_ack(2, multiple=True)
    first.close()
    assert [take(second, queue), take(second, queue)] == [(b"three", True), (None, False)]


def test_ack_of_tag_zero_with_multiple_settles_everything(connection: pika.BlockingConnection, queue: str) -> None:
    first = connection.channel()
    put(first, queue, b"one", b"two")
    for _ in range(2):
        take(first, queue)
    first.basic_ack(0, multiple=True)
    first.close()
    assert take(connection.channel(), queue) == (None, False)


def test_recover_requeues_what_the_channel_holds(channel: BlockingChannel, queue: str) -> None:
    put(channel, queue, b"one")
    take(channel, queue)
    channel.basic_recover(requeue=True)
    assert take(channel, queue) == (b"one", True)


def test_closing_a_channel_requeues_what_it_held(connection: pika.BlockingConnection, queue: str) -> None:
    first = connection.channel()
    put(first, queue, b"one")
    take(first, queue)
    first.close()
    assert take(connection.channel(), queue) == (b"one", True)


def test_consumers_of_a_queue_take_turns(
    connection: pika.BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    received: dict[str, list[bytes]] = {"a": [], "b": []}
    for tag in received:
        channel.basic_consume(
            queue, lambda _, method, __, body: received[method.consumer_tag].append(body), True, False, tag
        )
    put(channel, queue, *(b"%d" % number for number in range(4)))
    process_until(connection, lambda: sum(map(len, received.values())) >= 4)
    assert sorted(received.values()) == [[b"0", b"2"], [b"1", b"3"]]


def test_a_transaction_publishes_and_acknowledges_at_its_commit(
    connection: pika.BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    transaction = connection.channel()
    channel.confirm_delivery()
    put(channel, queue, b"old")
    transaction.tx_select()
    method, _, _ = transaction.basic_get(queue)
    assert method is not None
    transaction.basic_ack(method.delivery_tag)
    put(transaction, queue, b"new")
    before = channel.queue_declare(queue, passive=True).method.message_count
    transaction.tx_commit()
    after = channel.queue_declare(queue, passive=True).method.message_count
    assert (before, after) == (0, 1)
    transaction.close()
    assert take(channel, queue) == (b"new", False)


def test_a_rollback_forgets_publishes_and_acknowledgements(
    connection: pika.BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    transaction = connection.channel()
    channel.confirm_delivery()
    put(channel, queue, b"old")
    transaction.tx_select()
    method, _, _ = transaction.basic_get(queue)
    assert method is not None
    transaction.basic_ack(method.delivery_tag)
    put(transaction, queue, b"new")
    transaction.tx_rollback()
    transaction.close()
    assert [take(channel, queue), take(channel, queue)] == [(b"old", True), (None, False)]


def test_confirms_and_transactions_exclude_each_other(connection: pika.BlockingConnection) -> None:
    channel = connection.channel()
    channel.tx_select()
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.confirm_delivery()
    assert (caught.value.reply_code, caught.value.reply_text) == (
        406,
        "PRECONDITION_FAILED - cannot switch from tx to confirm mode",
    )


def test_a_consumer_hears_that_its_queue_was_deleted(
    connect: Connect, connection: pika.BlockingConnection, unique: Callable[[str], str]
) -> None:
    name = unique("doomed")
    channel = connection.channel()
    channel.queue_declare(name, auto_delete=True)
    cancelled: list[str] = []
    channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    tag = channel.basic_consume(name, lambda *_: None)
    connect().channel().queue_delete(name)
    process_until(connection, lambda: bool(cancelled))
    assert cancelled == [tag]


def test_an_auto_delete_queue_goes_with_its_last_consumer(
    channel: BlockingChannel, unique: Callable[[str], str]
) -> None:
    name = unique("replies")
    channel.queue_declare(name, auto_delete=True)
    channel.basic_cancel(channel.basic_consume(name, lambda *_: None))
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.queue_declare(name, passive=True)
    assert caught.value.reply_code == 404


def test_an_exclusive_queue_is_gone_when_its_connection_has_closed(
    connect: Connect, unique: Callable[[str], str]
) -> None:
    name = unique("mine")
    owner = connect()
    owner.channel().queue_declare(name, exclusive=True)
    owner.close()
    assert connect().channel().queue_declare(name, exclusive=True).method.message_count == 0
