from __future__ import annotations

from dataclasses import replace

import pytest

from broker.codec.delivery_count import counted_header, with_delivery_count
from broker.codec.field_table import FieldTable
from broker.codec.properties import BasicProperties, decode_properties, encode_header
from broker.message import STORED, Message, tail


class Queue:
    queue_id = 7
    is_stream = False


def message(properties: BasicProperties, deliveries: int) -> Message:
    made = Message(1, Queue(), b"\0\0", tail(encode_header(5, properties)), tail(b"hello"), None, STORED)
    made.redelivered = deliveries
    return made


def test_the_number_of_deliveries_is_told_in_two_headers_of_64_bits():
    header = counted_header(message(BasicProperties(), 2))
    assert header.startswith((len(header) - 5).to_bytes(4, "big") + encode_header(5, BasicProperties())[:12])
    headers = decode_properties(header[4:-1]).headers
    assert headers.values == {"x-delivery-count": 2, "x-acquired-count": 2}
    assert set(headers.types.values()) == {"long"}


def test_headers_that_came_with_the_message_are_replaced():
    came = FieldTable.of({"x-delivery-count": "nine", "a": 1, "x-acquired-count": 9})
    headers = decode_properties(counted_header(message(BasicProperties(headers=came), 1))[4:-1]).headers
    assert headers.values == {"a": 1, "x-delivery-count": 1, "x-acquired-count": 1}


def test_everything_else_keeps_its_octets():
    properties = BasicProperties(headers=FieldTable(b"\x01aL" + bytes(8)), delivery_mode=2, expiration="5", app_id="")
    told = decode_properties(counted_header(message(properties, 1))[4:-1])
    assert told.headers.raw.startswith(properties.headers.raw)
    assert (told.delivery_mode, told.expiration, told.app_id) == (2, "5", "")


@pytest.mark.parametrize("raw", [b"\x01", b"\x01a?", b"\x01aS\x00\x00\x00\x09x"])
def test_a_header_that_cannot_be_read_stays_as_it_is(raw):
    broken = message(BasicProperties(headers=FieldTable(raw)), 1)
    assert counted_header(broken) == broken.header


# JMSXDeliveryCount

WITHOUT_COUNT = {
    "no headers": BasicProperties(app_id="a"),
    "headers": BasicProperties(headers=FieldTable.of({"a": 1}), delivery_mode=2),
    "properties before": BasicProperties(content_type="text/plain", headers=FieldTable.of({"a": 1})),
    "both before": BasicProperties("text/plain", "gzip", headers=FieldTable.of({"a": 1}), priority=4),
    "encoding before": BasicProperties(content_encoding="", headers=FieldTable.of({})),
}


@pytest.mark.parametrize("kind", WITHOUT_COUNT)
@pytest.mark.parametrize("count", [1, 32_768])
def test_a_delivery_tells_its_number_to_clients_of_jms(kind: str, count: int) -> None:
    properties = WITHOUT_COUNT[kind]
    header = with_delivery_count(tail(encode_header(5, properties)), count)
    assert header == tail(header[4:-1])
    told = decode_properties(header[4:-1])
    own = properties.headers.values if properties.headers else {}
    assert told.headers is not None
    assert told.headers.values == {"JMSXDeliveryCount": count, **own}
    assert told.headers.types["JMSXDeliveryCount"] == "signedint"
    assert replace(told, headers=None) == replace(properties, headers=None)


def test_a_number_that_the_publisher_told_is_replaced() -> None:
    came = FieldTable.of({"JMSXDeliveryCount": 77, "a": "b"})
    header = with_delivery_count(tail(encode_header(5, BasicProperties(headers=came))), 2)
    told = decode_properties(header[4:-1]).headers
    assert told is not None
    assert told.raw.count(b"JMSXDeliveryCount") == 1
    assert told.values == {"JMSXDeliveryCount": 2, "a": "b"}


def test_a_name_that_only_looks_like_it_stays() -> None:
    came = FieldTable.of({"text": "\x11JMSXDeliveryCount"})
    header = with_delivery_count(tail(encode_header(5, BasicProperties(headers=came))), 2)
    told = decode_properties(header[4:-1]).headers
    assert told is not None
    assert told.values == {"JMSXDeliveryCount": 2, **came.values}


def test_properties_that_cannot_be_read_stay_as_they_are() -> None:
    header = tail(encode_header(5, BasicProperties())[:12] + b"\x40\x00\x09")
    assert with_delivery_count(header, 1) == header
