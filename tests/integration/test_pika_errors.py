"""What pika raises when the broker refuses: codes, scopes and texts of contract G1 to G7."""

from __future__ import annotations

from collections.abc import Callable

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import (
    ChannelClosedByBroker,
    ProbableAuthenticationError,
)

from tests.integration.pika_fixtures import Connect, channel, connect, connection, queue

__all__ = ["channel", "connect", "connection", "queue"]


def refusal(action: Callable[[], object]) -> tuple[int, str]:
    """Return code and text of the channel close that answers `action`."""
    with pytest.raises(ChannelClosedByBroker) as caught:
        action()
    return caught.value.reply_code, caught.value.reply_text


def test_a_passive_declare_of_a_missing_queue_is_not_found(channel: BlockingChannel) -> None:
    answer = refusal(lambda: channel.queue_declare("no.such.queue", passive=True))
    assert answer == (404, "NOT_FOUND - no queue 'no.such.queue' in vhost '/'")


def test_a_passive_declare_of_a_missing_exchange_is_not_found(channel: BlockingChannel) -> None:
    answer = refusal(lambda: channel.exchange_declare("no.such.exchange", passive=True))
    assert answer == (404, "NOT_FOUND - no exchange 'no.such.exchange' in vhost '/'")


def test_publishing_to_a_missing_exchange_closes_the_channel(channel: BlockingChannel) -> None:
    channel.confirm_delivery()
    answer = refusal(lambda: channel.basic_publish("no.such.exchange", "key", b"hello"))
    assert answer == (404, "NOT_FOUND - no exchange 'no.such.exchange' in vhost '/'")


def test_consuming_from_a_missing_queue_is_not_found(channel: BlockingChannel) -> None:
    answer = refusal(lambda: channel.basic_consume("no.such.queue", lambda *_: None))
    assert answer == (404, "NOT_FOUND - no queue 'no.such.queue' in vhost '/'")


def test_binding_to_a_missing_exchange_is_not_found(channel: BlockingChannel, queue: str) -> None:
    answer = refusal(lambda: channel.queue_bind(queue, "no.such.exchange", "key"))
    assert answer == (404, "NOT_FOUND - no exchange 'no.such.exchange' in vhost '/'")


def test_a_queue_declared_again_with_other_properties_is_refused(
    channel: BlockingChannel, unique: Callable[[str], str]
) -> None:
    name = unique("transient")
    channel.queue_declare(name, auto_delete=True)
    answer = refusal(lambda: channel.queue_declare(name, durable=True, auto_delete=True))
    assert answer == (
        406,
        f"PRECONDITION_FAILED - inequivalent arg 'durable' for queue '{name}' in vhost '/': "
        "received 'true' but current is 'false'",
    )


def test_a_queue_declared_again_with_other_arguments_is_refused(
    channel: BlockingChannel, unique: Callable[[str], str]
) -> None:
    name = unique("limited")
    channel.queue_declare(name, exclusive=True)
    answer = refusal(lambda: channel.queue_declare(name, exclusive=True, arguments={"x-max-length": 10}))
    assert answer == (
        406,
        f"PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue '{name}' in vhost '/': "
        "received the value '10' of type 'signedint' but current is none",
    )


def test_an_exchange_declared_again_with_another_type_is_refused(
    channel: BlockingChannel, unique: Callable[[str], str]
) -> None:
    name = unique("events")
    channel.exchange_declare(name, "direct", auto_delete=True)
    answer = refusal(lambda: channel.exchange_declare(name, "fanout", auto_delete=True))
    assert answer == (
        406,
        f"PRECONDITION_FAILED - inequivalent arg 'type' for exchange '{name}' in vhost '/': "
        "received 'fanout' but current is 'direct'",
    )


@pytest.mark.usefixtures("differs_from_rabbitmq_3_10")
def test_an_unknown_exchange_type_closes_only_the_channel_unlike_rabbitmq_3_10(
    channel: BlockingChannel, unique: Callable[[str], str]
) -> None:
    code, text = refusal(lambda: channel.exchange_declare(unique("events"), "x-no-such-type"))
    assert (code, "unknown exchange type 'x-no-such-type'" in text) == (406, True)


def test_another_connection_cannot_use_an_exclusive_queue(
    connect: Connect, channel: BlockingChannel, queue: str
) -> None:
    for action in (
        lambda other: other.queue_declare(queue, passive=True),
        lambda other: other.basic_get(queue),
        lambda other: other.basic_consume(queue, lambda *_: None),
        lambda other: other.queue_delete(queue),
        lambda other: other.queue_purge(queue),
    ):
        stranger = connect().channel()
        code, text = refusal(lambda action=action, stranger=stranger: action(stranger))  # type: ignore[misc]
        assert code == 405
        assert text.startswith(
            f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost '/'."
        )


def test_an_exclusive_consumer_shuts_others_out(channel: BlockingChannel, queue: str) -> None:
    channel.basic_consume(queue, lambda *_: None, exclusive=True)
    answer = refusal(lambda: channel.basic_consume(queue, lambda *_: None))
    assert answer == (403, f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use")


def test_acknowledging_twice_closes_the_channel(channel: BlockingChannel, queue: str) -> None:
    channel.basic_publish("", queue, b"hello")
    method, _, _ = channel.basic_get(queue)
    assert method is not None
    tag = method.delivery_tag
    channel.basic_ack(tag)
    answer = refusal(lambda: (channel.basic_ack(tag), channel.basic_get(queue)))
    assert answer == (406, "PRECONDITION_FAILED - unknown delivery tag 1")


def test_a_channel_error_leaves_other_channels_alone(
    connection: pika.BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    other = connection.channel()
    refusal(lambda: channel.queue_declare("no.such.queue", passive=True))
    assert other.queue_declare(queue, passive=True).method.queue == queue
    assert connection.channel(channel.channel_number).queue_declare(queue, passive=True).method.queue == queue


def test_the_default_exchange_cannot_be_changed(connection: pika.BlockingConnection, queue: str) -> None:
    text = "ACCESS_REFUSED - operation not permitted on the default exchange"
    assert refusal(lambda: connection.channel().queue_bind(queue, "", "key")) == (403, text)
    assert refusal(lambda: connection.channel().exchange_delete("")) == (403, text)


def test_names_beginning_with_amq_are_reserved(connection: pika.BlockingConnection) -> None:
    assert refusal(lambda: connection.channel().queue_declare("amq.mine")) == (
        403,
        "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'",
    )
    assert refusal(lambda: connection.channel().exchange_declare("amq.mine")) == (
        403,
        "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'",
    )


def test_a_queue_in_use_or_not_empty_is_deleted_only_without_conditions(
    connection: pika.BlockingConnection, channel: BlockingChannel, queue: str
) -> None:
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"hello")
    assert refusal(lambda: connection.channel().queue_delete(queue, if_empty=True)) == (
        406,
        f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty",
    )
    channel.basic_consume(queue, lambda *_: None)
    assert refusal(lambda: connection.channel().queue_delete(queue, if_unused=True)) == (
        406,
        f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' in use",
    )
    connection.channel().queue_delete(queue)


def test_deleting_what_does_not_exist_succeeds(channel: BlockingChannel) -> None:
    assert channel.queue_delete("no.such.queue").method.message_count == 0
    channel.exchange_delete("no.such.exchange")
    assert channel.is_open


def test_committing_without_a_transaction_is_refused(channel: BlockingChannel) -> None:
    answer = refusal(channel.tx_commit)
    assert answer == (406, "PRECONDITION_FAILED - channel is not transactional")


def test_a_wrong_password_is_an_authentication_error(amqp_url: str) -> None:
    parameters = pika.URLParameters(amqp_url)
    parameters.credentials = pika.PlainCredentials("guest", "wrong")
    with pytest.raises(ProbableAuthenticationError) as caught:
        pika.BlockingConnection(parameters)
    assert "Login was refused using authentication mechanism PLAIN" in str(caught.value)


def test_an_unknown_vhost_is_not_allowed(amqp_url: str) -> None:
    parameters = pika.URLParameters(amqp_url)
    parameters.virtual_host = "nowhere"
    with pytest.raises(pika.exceptions.AMQPConnectionError) as caught:
        pika.BlockingConnection(parameters)
    assert "vhost nowhere not found" in repr(caught.value)
