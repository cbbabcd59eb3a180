"""py-amqp used directly: connection, channel, confirms, transactions and its exceptions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from urllib.parse import urlsplit

import amqp
import pytest
from amqp.exceptions import (
    AccessRefused,
    ChannelError,
    NotAllowed,
    NotFound,
    PreconditionFailed,
    ResourceLocked,
)

UniqueName = Callable[[str], str]
Connect = Callable[..., amqp.Connection]


@pytest.fixture
def connect(amqp_url: str) -> Iterator[Connect]:
    """Opens connections that are closed after the test."""
    opened: list[amqp.Connection] = []
    address = urlsplit(amqp_url)

    def open_connection(**options: object) -> amqp.Connection:
        settings = {"host": f"{address.hostname}:{address.port}", "userid": "guest", "password": "guest", **options}
        connection = amqp.Connection(**settings)
        opened.append(connection)
        connection.connect()
        return connection

    yield open_connection
    for connection in opened:
        connection.close()


@pytest.fixture
def connection(connect: Connect) -> amqp.Connection:
    return connect(confirm_publish=True)


@pytest.fixture
def channel(connection: amqp.Connection) -> amqp.Channel:
    return connection.channel()


@pytest.fixture
def queue(channel: amqp.Channel) -> str:
    return str(channel.queue_declare(exclusive=True, auto_delete=False).queue)


def test_a_confirmed_publish_is_there_to_get(channel: amqp.Channel, queue: str) -> None:
    channel.basic_publish_confirm(amqp.Message("hello", delivery_mode=2), routing_key=queue)
    message = channel.basic_get(queue, no_ack=True)
    assert (message.body, message.delivery_mode, message.delivery_info["redelivered"]) == ("hello", 2, False)
    assert channel.basic_get(queue) is None


def test_consuming_delivers_in_order_to_the_callback(
    connection: amqp.Connection, channel: amqp.Channel, queue: str
) -> None:
    received: list[amqp.Message] = []
    tag = channel.basic_consume(queue, callback=received.append)
    for number in range(20):
        channel.basic_publish(amqp.Message(str(number)), routing_key=queue)
    while len(received) < 20:
        connection.drain_events(timeout=10)
    channel.basic_ack(received[-1].delivery_tag, multiple=True)
    channel.basic_cancel(tag)
    assert [message.body for message in received] == [str(number) for number in range(20)]
    assert channel.queue_declare(queue, passive=True).message_count == 0


def test_header_values_of_every_python_type_arrive_unchanged(channel: amqp.Channel, queue: str) -> None:
    headers = {
        "text": "grüße",
        "true": True,
        "int": 5,
        "negative": -5,
        "long": 2**40,
        "float": 2.5,
        "decimal": Decimal("12.50"),
        "time": datetime(2026, 8, 21, 12, 30),
        "none": None,
        "list": [1, "two", [3.0], {"four": 4}],
        "table": {"inner": {"deep": False}},
    }
    channel.basic_publish(amqp.Message("hello", application_headers=headers), routing_key=queue)
    assert channel.basic_get(queue, no_ack=True).headers == headers


def test_a_mandatory_message_without_a_queue_is_returned(
    connection: amqp.Connection, channel: amqp.Channel, unique: UniqueName
) -> None:
    returned: list[tuple[int, str, str]] = []
    channel.events["basic_return"].add(
        lambda exception, _, key, message: returned.append((exception.reply_code, key, message.body))
    )
    key = unique("nowhere")
    channel.basic_publish(amqp.Message("hello"), routing_key=key, mandatory=True)
    while not returned:
        connection.drain_events(timeout=10)
    assert returned == [(312, key, "hello")]


def test_a_transaction_shows_its_messages_after_the_commit(connect: Connect) -> None:
    connection = connect()
    channel, observer = connection.channel(), connection.channel()
    queue = channel.queue_declare(exclusive=True).queue
    channel.tx_select()
    channel.basic_publish(amqp.Message("kept"), routing_key=queue)
    before = observer.basic_get(queue)
    channel.tx_commit()
    channel.basic_publish(amqp.Message("dropped"), routing_key=queue)
    channel.tx_rollback()
    assert before is None
    assert observer.basic_get(queue, no_ack=True).body == "kept"
    assert observer.basic_get(queue) is None


def test_recover_delivers_again_with_the_flag(connection: amqp.Connection, channel: amqp.Channel, queue: str) -> None:
    received: list[bool] = []
    channel.basic_consume(queue, callback=lambda message: received.append(message.delivery_info["redelivered"]))
    channel.basic_publish(amqp.Message("hello"), routing_key=queue)
    while not received:
        connection.drain_events(timeout=10)
    channel.basic_recover(requeue=True)
    while len(received) < 2:
        connection.drain_events(timeout=10)
    assert received == [False, True]


def test_a_consumer_hears_that_its_queue_was_deleted(
    connect: Connect, connection: amqp.Connection, unique: UniqueName
) -> None:
    name = unique("doomed")
    channel = connection.channel()
    channel.queue_declare(name, auto_delete=True)
    cancelled: list[str] = []
    tag = channel.basic_consume(name, on_cancel=cancelled.append)
    connect().channel().queue_delete(name)
    while not cancelled:
        connection.drain_events(timeout=10)
    assert cancelled == [tag]


def test_errors_are_exceptions_with_code_and_method(connection: amqp.Connection) -> None:
    with pytest.raises(NotFound) as caught:
        connection.channel().queue_declare("no.such.queue", passive=True)
    assert (caught.value.reply_code, caught.value.method_sig) == (404, (50, 10))
    assert caught.value.reply_text == "NOT_FOUND - no queue 'no.such.queue' in vhost '/'"


def test_publishing_to_a_missing_exchange_is_not_found(channel: amqp.Channel) -> None:
    with pytest.raises(NotFound) as caught:
        channel.basic_publish_confirm(amqp.Message("hello"), exchange="no.such.exchange")
    assert caught.value.method_sig == (60, 40)


def test_an_exclusive_queue_is_locked_for_others(connect: Connect, channel: amqp.Channel, queue: str) -> None:
    with pytest.raises(ResourceLocked):
        connect().channel().queue_declare(queue, passive=True)


def test_another_durability_is_a_failed_precondition(channel: amqp.Channel, unique: UniqueName) -> None:
    name = unique("brief")
    channel.queue_declare(name, durable=False, auto_delete=True)
    with pytest.raises(PreconditionFailed, match="inequivalent arg 'durable'"):
        channel.queue_declare(name, durable=True, auto_delete=True)


def test_a_reserved_name_is_refused(channel: amqp.Channel) -> None:
    with pytest.raises(AccessRefused, match="reserved prefix"):
        channel.exchange_declare("amq.mine", "direct")


def test_an_unknown_delivery_tag_closes_the_channel(connection: amqp.Connection, channel: amqp.Channel) -> None:
    channel.basic_ack(17)
    with pytest.raises(ChannelError, match="unknown delivery tag 17"):
        connection.drain_events(timeout=10)


def test_a_consumer_tag_used_twice_closes_the_connection(connect: Connect) -> None:
    channel = connect().channel()
    queue = channel.queue_declare(exclusive=True).queue
    channel.basic_consume(queue, consumer_tag="tag")
    with pytest.raises(NotAllowed, match="attempt to reuse consumer tag 'tag'"):
        channel.basic_consume(queue, consumer_tag="tag")


def test_a_wrong_password_is_refused(connect: Connect) -> None:
    with pytest.raises(AccessRefused, match="Login was refused using authentication mechanism"):
        connect(password="wrong")


@pytest.mark.parametrize("method", ["PLAIN", "AMQPLAIN"])
def test_both_login_methods_work(connect: Connect, method: str) -> None:
    assert connect(login_method=method).channel().is_open


def test_the_server_introduces_itself(connection: amqp.Connection) -> None:
    properties = connection.server_properties
    assert {"product", "version", "platform", "capabilities"} <= set(properties)
    assert properties["capabilities"] == {
        "publisher_confirms": True,
        "exchange_exchange_bindings": True,
        "basic.nack": True,
        "consumer_cancel_notify": True,
        "connection.blocked": True,
        "authentication_failure_close": True,
        "per_consumer_qos": True,
        "direct_reply_to": True,
    }
