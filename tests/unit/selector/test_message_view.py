"""What selectors see of a message, malformed ones too."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from broker.codec.field_table import ByteArray, FieldTable, Int64, sized
from broker.codec.properties import BasicProperties, encode_header
from broker.message import Message, tail
from broker.selector.message_view import MessageView
from tests.support.selector_messages import view

FLAGS_OFFSET = 12


class SomeQueue:
    queue_id = 1
    is_stream = False


def raw_view(table: bytes) -> MessageView:
    """Return the view of a message with the octets of a header table."""
    return MessageView(encode_header(0, BasicProperties(headers=FieldTable(table), priority=7)))


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (True, True),
        (5, 5),
        (Int64(5), 5),
        (2.5, 2.5),
        ("é", "é"),
        (b"caf\xe9", "café"),
        (b"ok", "ok"),
        (Decimal("0.1"), 0.1),
        (datetime(1970, 1, 2, tzinfo=UTC), 86_400),
        (None, None),
        (ByteArray(b"x"), None),
        ({"a": 1}, None),
        ([1], None),
    ],
)
def test_a_header_is_a_value_of_a_plain_type_or_null(value: object, seen: object) -> None:
    found = view({"h": value})["h"]
    assert found == seen
    assert type(found) is type(seen)


@pytest.mark.parametrize(
    ("octets", "seen"),
    [
        (b"b\xff", -1), (b"B\xff", 255), (b"s\xff\xfe", -2), (b"u\xff\xfe", 65534), (b"i\xff\xff\xff\xff", 4294967295),
        (b"L" + b"\xff" * 8, -1), (b"f" + struct.pack(">f", 0.5), 0.5),
    ],
)  # fmt: skip
def test_integers_and_floating_numbers_of_all_widths_are_numbers(octets: bytes, seen: float) -> None:
    assert raw_view(b"\x01h" + octets)["h"] == seen


def test_the_last_of_two_headers_of_one_name_counts() -> None:
    assert raw_view(b"\x01ht\x00\x01ht\x01")["h"] is True


MALFORMED = {
    "a table that ends inside a value": b"\x01hI\x00\x00",
    "a table that ends inside a name": b"\x05h",
    "a type that does not exist": b"\x01h?\x00",
    "a string longer than its table": b"\x01hS\xff\xff\xff\xff",
    "tables nested without an end": b"\x01hF\x00\x00\x00\x07" * 100,
    "more entries than are allowed": b"\x01ht\x01" * 1025,
    "tables in tables": b"",
}
nested = b""
for _ in range(40):
    nested = b"\x01h" + sized(b"F", nested)
MALFORMED["tables in tables"] = nested


@pytest.mark.parametrize("what", MALFORMED)
def test_headers_that_are_malformed_are_null_and_properties_are_not(what: str) -> None:
    broken = raw_view(MALFORMED[what])
    assert broken["h"] is None
    assert broken["JMSPriority"] == 7
    assert list(broken.present({"h", "JMSPriority"}))


@pytest.mark.parametrize("cut", range(0, 60, 3))
def test_a_header_frame_that_is_cut_off_has_no_values(cut: int) -> None:
    whole = encode_header(0, BasicProperties(headers=FieldTable.of({"h": "value"}), message_id="ID:1", type="t"))
    broken = MessageView(whole[: min(cut, len(whole) - 1)])
    assert [broken[name] for name in ("h", "JMSType", "JMSMessageID", "JMSTimestamp")] == [None] * 4
    assert broken["JMSPriority"] == 4


def test_flags_of_more_properties_than_there_are_hide_all_values() -> None:
    header = bytearray(encode_header(0, BasicProperties(type="t")))
    header[FLAGS_OFFSET + 1] |= 1
    assert MessageView(bytes(header))["JMSType"] is None


@pytest.mark.parametrize(
    ("expiration", "seen"),
    [("", 0), ("60000", 60_000), ("1700000000123", 1_700_000_000_123), ("soon", None), ("-1", None), ("٣", None)],
)
def test_the_expiration_is_the_number_that_the_publisher_wrote(expiration: str, seen: int | None) -> None:
    assert view(expiration=expiration)["JMSExpiration"] == seen


def test_a_property_that_is_no_utf_8_has_one_character_for_each_octet() -> None:
    assert MessageView(encode_header(0, BasicProperties(type="caf\udce9")))["JMSType"] == "café"


@pytest.mark.parametrize(("mode", "seen"), [(2, "PERSISTENT"), (1, "NON_PERSISTENT"), (0, "NON_PERSISTENT")])
def test_the_delivery_mode_is_a_word(mode: int, seen: str) -> None:
    assert view(delivery_mode=mode)["JMSDeliveryMode"] == seen


def test_what_was_delivered_before_is_redelivered_and_counted() -> None:
    again = view(redelivered=2)
    assert (again["JMSRedelivered"], again["JMSXDeliveryCount"]) == (True, 3)
    assert view({"JMSXDeliveryCount": 9})["JMSXDeliveryCount"] == 9


def test_a_view_is_made_of_a_message_in_a_queue() -> None:
    header = tail(encode_header(0, BasicProperties(headers=FieldTable.of({"h": 1}), type="t")))
    message = Message(1, SomeQueue(), b"\0\0", header, b"", None, 0)
    message.redelivered = 1
    seen = MessageView.of(message)
    assert (seen["h"], seen["JMSType"], seen["JMSRedelivered"]) == (1, "t", True)


def test_nothing_is_decoded_before_it_is_asked_for_and_nothing_twice() -> None:
    message = view({"h": "value"}, type="t")
    assert (message._properties, message._headers) == (None, None)
    assert message["JMSType"] == "t"
    properties = message._properties
    assert message._headers is None
    assert [message[name] for name in ("h", "missing")] == ["value", None]
    headers = message._headers
    assert [message[name] for name in ("h", "missing", "other", "JMSPriority")] == ["value", None, None, 4]
    assert message._properties is properties
    assert message._headers is headers


def test_the_names_present_are_looked_for_by_the_shorter_way() -> None:
    message = view({"a": 1, "b": 2})
    assert list(message.present(["x"])) == ["x"]
    many = {"a", "JMSType", *(f"n{number}" for number in range(100))}
    assert sorted(message.present(many)) == ["JMSType", "a"]
