"""Exchanges and bindings seen through pika: types, alternates, exchange to exchange (contract X13, X14, E1 to E4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pika import BasicProperties
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, UnroutableError

from tests.integration.pika_fixtures import channel, connect, connection, queue

__all__ = ["channel", "connect", "connection", "queue"]


def bodies(channel: BlockingChannel, queue: str) -> list[bytes]:
    """Take everything a queue holds."""
    return [body for *_, body in iter(lambda: channel.basic_get(queue, auto_ack=True), (None, None, None)) if body]


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("stock.*.nyse", ["stock.usd.nyse"]),
        ("stock.#", ["stock", "stock.usd.nyse", "stock.usd", "stock..usd"]),
        ("#.nyse", ["stock.usd.nyse", "nyse"]),
        ("*.usd", ["stock.usd"]),
        ("#", ["stock", "stock.usd.nyse", "stock.usd", "nyse", "", "stock..usd"]),
        ("stock.*.*", ["stock.usd.nyse", "stock..usd"]),
        ("*", ["stock", "nyse"]),
    ],
)
def test_a_topic_exchange_matches_words(
    channel: BlockingChannel, queue: str, unique: Callable[[str], str], pattern: str, matching: list[str]
) -> None:
    exchange = unique("topics")
    channel.exchange_declare(exchange, "topic", auto_delete=True)
    channel.queue_bind(queue, exchange, pattern)
    for key in ("stock", "stock.usd.nyse", "stock.usd", "nyse", "", "stock..usd"):
        channel.basic_publish(exchange, key, b"<%s>" % key.encode())
    assert bodies(channel, queue) == [
        b"<%s>" % key.encode()
        for key in ("stock", "stock.usd.nyse", "stock.usd", "nyse", "", "stock..usd")
        if key in matching
    ]


@pytest.mark.parametrize(
    ("arguments", "matching"),
    [
        ({"x-match": "all", "a": 1, "b": "two"}, [b"both"]),
        ({"a": 1, "b": "two"}, [b"both"]),
        ({"x-match": "any", "a": 1, "b": "two"}, [b"both", b"a only"]),
        ({"x-match": "all"}, [b"both", b"a only", b"neither"]),
        ({"x-match": "any"}, []),
    ],
)
def test_a_headers_exchange_matches_all_or_any(
    channel: BlockingChannel, queue: str, arguments: dict[str, object], matching: list[bytes]
) -> None:
    channel.queue_bind(queue, "amq.headers", "", arguments)
    for body, headers in ((b"both", {"a": 1, "b": "two"}), (b"a only", {"a": 1}), (b"neither", {"c": 3})):
        channel.basic_publish("amq.headers", "", body, BasicProperties(headers=headers))
    assert bodies(channel, queue) == matching


def test_a_fanout_exchange_ignores_the_key_and_delivers_once(channel: BlockingChannel, queue: str) -> None:
    for key in ("one", "two"):
        channel.queue_bind(queue, "amq.fanout", key)
    channel.basic_publish("amq.fanout", "three", b"hello")
    assert bodies(channel, queue) == [b"hello"]


def test_a_direct_exchange_routes_by_equal_key_until_unbound(channel: BlockingChannel, queue: str) -> None:
    channel.queue_bind(queue, "amq.direct", queue)
    channel.basic_publish("amq.direct", queue, b"bound")
    channel.basic_publish("amq.direct", queue + ".", b"other key")
    channel.queue_unbind(queue, "amq.direct", queue)
    channel.basic_publish("amq.direct", queue, b"unbound")
    assert bodies(channel, queue) == [b"bound"]


def test_a_bound_exchange_passes_messages_on_once(
    channel: BlockingChannel, queue: str, unique: Callable[[str], str]
) -> None:
    source, target = unique("source"), unique("target")
    channel.exchange_declare(source, "topic", auto_delete=True)
    channel.exchange_declare(target, "fanout", auto_delete=True)
    channel.exchange_bind(target, source, "eu.#")
    channel.queue_bind(queue, source, "eu.de")
    channel.queue_bind(queue, target)
    for key in ("eu.de", "eu.fr", "us"):
        channel.basic_publish(source, key, key.encode())
    channel.exchange_unbind(target, source, "eu.#")
    channel.basic_publish(source, "eu.fr", b"unbound")
    assert bodies(channel, queue) == [b"eu.de", b"eu.fr"]


def test_unroutable_messages_go_to_the_alternate_exchange(
    channel: BlockingChannel, queue: str, unique: Callable[[str], str]
) -> None:
    exchange, alternate = unique("orders"), unique("unrouted")
    channel.exchange_declare(alternate, "fanout", auto_delete=True)
    channel.exchange_declare(exchange, "direct", auto_delete=True, arguments={"alternate-exchange": alternate})
    channel.queue_bind(queue, alternate)
    channel.confirm_delivery()
    channel.basic_publish(exchange, "nobody", b"hello", mandatory=True)
    assert bodies(channel, queue) == [b"hello"]
    channel.queue_unbind(queue, alternate)
    with pytest.raises(UnroutableError):
        channel.basic_publish(exchange, "nobody", b"again", mandatory=True)


def test_an_internal_exchange_takes_no_messages_from_clients(
    channel: BlockingChannel, unique: Callable[[str], str]
) -> None:
    exchange = unique("inner")
    channel.exchange_declare(exchange, "fanout", auto_delete=True, internal=True)
    channel.confirm_delivery()
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.basic_publish(exchange, "", b"hello")
    assert (caught.value.reply_code, caught.value.reply_text) == (
        403,
        f"ACCESS_REFUSED - cannot publish to internal exchange '{exchange}' in vhost '/'",
    )


def test_an_auto_delete_exchange_goes_with_its_last_binding(
    channel: BlockingChannel, queue: str, unique: Callable[[str], str]
) -> None:
    exchange = unique("brief")
    channel.exchange_declare(exchange, "fanout", auto_delete=True)
    channel.queue_bind(queue, exchange)
    channel.queue_unbind(queue, exchange)
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.exchange_declare(exchange, passive=True)
    assert caught.value.reply_code == 404


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers", "match"])
def test_the_standard_exchanges_exist(channel: BlockingChannel, kind: str) -> None:
    channel.exchange_declare(f"amq.{kind}", passive=True)
    assert channel.is_open


def test_an_exchange_in_use_is_not_deleted_with_if_unused(
    channel: BlockingChannel, queue: str, unique: Callable[[str], str]
) -> None:
    exchange = unique("busy")
    channel.exchange_declare(exchange, "fanout", auto_delete=True)
    channel.queue_bind(queue, exchange)
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.exchange_delete(exchange, if_unused=True)
    assert (caught.value.reply_code, caught.value.reply_text) == (
        406,
        f"PRECONDITION_FAILED - exchange '{exchange}' in vhost '/' in use",
    )


def test_a_carbon_copy_header_adds_routing_keys(
    channel: BlockingChannel, queue: str, unique: Callable[[str], str]
) -> None:
    other = channel.queue_declare(unique("copy"), exclusive=True).method.queue
    headers = {"CC": [other], "BCC": [queue]}
    channel.basic_publish("", unique("nowhere"), b"hello", BasicProperties(headers=headers))
    _, properties, body = channel.basic_get(other, auto_ack=True)
    assert properties is not None
    assert (body, properties.headers) == (b"hello", {"CC": [other]})
    assert bodies(channel, queue) == [b"hello"]
