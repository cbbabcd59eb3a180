from __future__ import annotations

from dataclasses import replace

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.properties import (
    FLAG_CONTENT_TYPE,
    FLAG_DELIVERY_MODE,
    FLAG_EXPIRATION,
    PERSISTENT,
    BasicProperties,
    decode_properties,
    encode_header,
    walk_properties,
)
from broker.errors import FrameFault, ReplyCode, SyntaxFault

FIXED = b"\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05"

ALL = BasicProperties(
    content_type="text/plain",
    content_encoding="utf-8",
    headers=FieldTable.of({"a": 1}),
    delivery_mode=2,
    priority=9,
    correlation_id="c",
    reply_to="r",
    expiration="60000",
    message_id="m",
    timestamp=1234567890,
    type="t",
    user_id="guest",
    app_id="app",
    cluster_id="",
)


def property_flags(payload: bytes) -> int:
    return walk_properties(payload[12:], len(payload) - 12)[0]


def delivery_mode(payload: bytes) -> int:
    return walk_properties(payload[12:], len(payload) - 12)[1]


def test_a_header_is_class_weight_body_size_flags_and_the_properties_that_are_set():
    properties = BasicProperties(content_type="text/plain", delivery_mode=2, expiration="5")
    payload = encode_header(5, properties)
    assert payload == FIXED + b"\x91\x00" + b"\x0atext/plain" + b"\x02" + b"\x015"
    assert decode_properties(payload) == properties


def test_all_fourteen_properties_lie_in_their_order():
    payload = encode_header(5, ALL)
    assert payload == (
        FIXED + b"\xff\xfc"
        b"\x0atext/plain\x05utf-8\x00\x00\x00\x07\x01aI\x00\x00\x00\x01\x02\x09\x01c\x01r\x0560000\x01m"
        b"\x00\x00\x00\x00\x49\x96\x02\xd2\x01t\x05guest\x03app\x00"
    )
    assert decode_properties(payload) == ALL


def test_a_message_without_properties_has_no_flags():
    assert encode_header(5, BasicProperties()) == FIXED + b"\x00\x00"
    assert decode_properties(FIXED + b"\x00\x00") == BasicProperties()


def test_unset_is_not_empty():
    payload = encode_header(0, BasicProperties(reply_to="", headers=FieldTable()))
    assert decode_properties(payload) == BasicProperties(reply_to="", headers=FieldTable())
    assert decode_properties(payload) != BasicProperties()


def test_flags_tell_what_is_set_without_decoding():
    flags = property_flags(encode_header(0, BasicProperties(content_type="", expiration="5")))
    assert flags == FLAG_CONTENT_TYPE | FLAG_EXPIRATION
    assert not flags & FLAG_DELIVERY_MODE


@pytest.mark.parametrize("content_type", [None, "", "text/plain"])
@pytest.mark.parametrize("content_encoding", [None, "", "gzip"])
@pytest.mark.parametrize("headers", [None, FieldTable(), FieldTable.of({"key": "value"})])
def test_the_delivery_mode_is_found_behind_whatever_lies_before_it(content_type, content_encoding, headers):
    without = BasicProperties(content_type, content_encoding, headers, None, 9, "c")
    with_mode = BasicProperties(content_type, content_encoding, headers, 2, 9, "c")
    assert delivery_mode(encode_header(0, without)) == 0
    assert delivery_mode(encode_header(0, with_mode)) == PERSISTENT


def test_a_second_word_of_flags_may_be_empty():
    payload = FIXED + b"\x10\x01\x00\x00\x02"
    assert decode_properties(payload) == BasicProperties(delivery_mode=2)
    assert property_flags(payload) == FLAG_DELIVERY_MODE
    assert delivery_mode(payload) == 2


@pytest.mark.parametrize("read", [decode_properties, delivery_mode, property_flags])
@pytest.mark.parametrize("second_word", [b"\x00\x01\x00\x00", b"\x00\x02", b"\x80\x00"])
def test_flags_that_go_on_past_the_properties_are_a_frame_fault(read, second_word):
    with pytest.raises(FrameFault, match="go on past the fourteen properties") as caught:
        read(FIXED + b"\x10\x01" + second_word + b"\x02")
    assert caught.value.reply_code is ReplyCode.FRAME_ERROR


def test_a_chain_of_flags_is_not_followed():
    with pytest.raises(FrameFault):
        decode_properties(FIXED + b"\x00\x01" * 50_000)


def test_a_text_that_is_not_utf8_is_read_and_written_as_it_is():
    payload = FIXED + b"\x80\x80\x01\xff\x04caf\xe9"
    properties = decode_properties(payload)
    assert (properties.content_type, properties.message_id) == ("\udcff", "caf\udce9")
    assert encode_header(5, properties) == payload


@pytest.mark.parametrize("flags", [b"\x10\x02", b"\x10\x03\x00\x00"])
def test_the_flag_that_no_property_has_means_nothing(flags):
    assert decode_properties(FIXED + flags + b"\x02") == BasicProperties(delivery_mode=2)
    assert delivery_mode(FIXED + flags + b"\x02") == 2


@pytest.mark.parametrize(
    ("flags_and_values", "text"),
    [
        (b"", "content header: ends inside the property flags"),
        (b"\x10", "content header: ends inside the property flags"),
        (b"\x10\x01\x00", "content header: ends inside the property flags"),
        (b"\x10\x00", "content header: ends inside the property delivery_mode"),
        (b"\x00\x40\x00\x00\x00", "content header: ends inside the property timestamp"),
        (b"\x20\x00\x00\x00", "content header: ends inside the property headers"),
        (b"\x80\x00\x02a", "content header: the properties do not end where the frame does"),
        (b"\x20\x00\xff\xff\xff\xff", "content header: the properties do not end where the frame does"),
        (b"\x10\x00\x02\x00", "content header: the properties do not end where the frame does"),
        (b"\x20\x00\x00\x00\x00\x03\x01aZ", "field table: unknown type tag 'Z' of entry 'a'"),
    ],
)
def test_malformed_properties_are_a_syntax_fault_that_says_what_is_wrong(flags_and_values, text):
    with pytest.raises(SyntaxFault) as caught:
        decode_properties(FIXED + flags_and_values)
    assert str(caught.value) == text


def test_properties_cut_at_any_byte_are_a_syntax_fault():
    payload = encode_header(5, ALL)
    for length in range(len(payload)):
        with pytest.raises(SyntaxFault):
            decode_properties(payload[:length])


@pytest.mark.parametrize("length", [0, 5, 12, 13, 14, 15, 25, 31, 32, 36, 42])
def test_a_delivery_mode_that_was_cut_off_is_a_syntax_fault(length):
    payload = encode_header(5, ALL)[:length]
    with pytest.raises(SyntaxFault):
        delivery_mode(payload)


@pytest.mark.parametrize(
    "properties",
    [
        BasicProperties(correlation_id="é" * 128),
        BasicProperties(delivery_mode=256),
        BasicProperties(priority=-1),
        BasicProperties(timestamp=-1),
    ],
    ids=["correlation_id", "delivery_mode", "priority", "timestamp"],
)
def test_a_property_that_does_not_fit_is_refused_not_truncated(properties):
    with pytest.raises(ValueError, match=r"^content header: the property "):
        encode_header(0, properties)


def test_any_number_of_combinations_of_flags_is_walked_right():
    """More than are remembered: what is known of them is forgotten and found again."""
    for flags in (*range(0, 1 << 13, 4), 0x1200, 0x1000):
        with pytest.raises(SyntaxFault):
            walk_properties(flags.to_bytes(2, "big") + bytes(100), 102)
        octets = encode_header(0, BasicProperties(delivery_mode=2, correlation_id="c", reply_to="r"))[12:]
        assert walk_properties(octets, len(octets)) == (0x1600, 2, 5)


def test_a_walk_tells_where_reply_to_stands():
    octets = encode_header(5, ALL)[12:]
    _, _, offset = walk_properties(octets, len(octets))
    assert octets[offset : offset + 2] == b"\x01r"
    octets = encode_header(5, replace(ALL, reply_to=None))[12:]
    assert walk_properties(octets, len(octets))[2] == 0
