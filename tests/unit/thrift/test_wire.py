"""Where a message ends, whatever it is cut into and whatever it claims."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.thrift import idl
from broker.thrift.wire import CALL, MalformedMessage, MessageReader, ThriftMessage

GET_SLOT = bytes.fromhex("80010001 0000000b") + b"getSlotInfo" + bytes.fromhex("00000009 00")
# A struct with one field of every type, in an order that no method has.
EVERYTHING = bytes.fromhex(
    "02 0001 01"
    "03 0002 7f"
    "04 0003 4045000000000000"
    "06 0004 7fff"
    "08 0005 7fffffff"
    "0a 0006 7fffffffffffffff"
    "0b 0007 00000002 c3a9"
    "0c 0008 0a 0001 0000000000000001 00"
    "0f 0009 0a 00000002 0000000000000001 0000000000000002"
    "0f 000a 0c 00000002 00 02 0001 00 00"
    "0e 000b 0b 00000001 00000001 78"
    "0d 000c 0b 0a 00000002 00000001 78 0000000000000001 00000000 0000000000000002"
    "0d 000d 00 00 00000000"
    "0f 000e 00 00000000"
    "00"
)


def call(body: bytes, name: bytes = b"m") -> bytes:
    return bytes.fromhex("80010001") + len(name).to_bytes(4, "big") + name + bytes(4) + body


def taken(data: bytes, limit: int = 1024) -> ThriftMessage | None:
    reader = MessageReader(limit)
    reader.feed(data)
    return reader.take()


def test_a_whole_message_is_taken() -> None:
    assert taken(GET_SLOT) == ThriftMessage("getSlotInfo", CALL, 9, b"\0")


def test_every_type_is_walked_over() -> None:
    assert taken(call(EVERYTHING)) == ThriftMessage("m", CALL, 0, EVERYTHING)


def test_a_message_that_comes_octet_by_octet_is_taken_with_the_last() -> None:
    reader = MessageReader()
    results = []
    for octet in call(EVERYTHING):
        reader.feed(bytes([octet]))
        results.append(reader.take())

    assert results[:-1] == [None] * (len(results) - 1)
    assert results[-1] == ThriftMessage("m", CALL, 0, EVERYTHING)
    assert reader.is_empty


def test_two_messages_in_one_chunk_are_taken_one_after_the_other() -> None:
    reader = MessageReader()
    reader.feed(GET_SLOT + call(b"\0") + GET_SLOT[:5])

    assert [reader.take(), reader.take(), reader.take()] == [
        ThriftMessage("getSlotInfo", CALL, 9, b"\0"),
        ThriftMessage("m", CALL, 0, b"\0"),
        None,
    ]


def test_the_older_form_of_the_header_is_read() -> None:
    data = bytes.fromhex("0000000b") + b"getSlotInfo" + bytes.fromhex("01 00000009 00")

    assert taken(data) == ThriftMessage("getSlotInfo", CALL, 9, b"\0")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"\x80\x02\x00\x01", "not a Thrift message"),
        (b"GET / HTTP/1.1\r\n\r\n", "a method name of 1195725856 octets"),
        (b"AMQP\x00\x00\x09\x01", "a method name of"),
        (bytes.fromhex("80010001 7fffffff"), "a method name of 2147483647 octets"),
        (bytes.fromhex("80010001 ffffffff"), "a method name of -1 octets"),
        (bytes.fromhex("80010001 00000000"), "a method name of 0 octets"),
        (bytes.fromhex("80010001 00000001 ff 00000000"), "not UTF-8"),
        (call(bytes.fromhex("0b 0001 7fffffff")), "a length of 2147483647"),
        (call(bytes.fromhex("0b 0001 ffffffff")), "a length of -1"),
        (call(bytes.fromhex("0b 0001 00000400")), "more than 1024 octets"),
        (call(bytes.fromhex("0f 0001 01 7fffffff")), "a length of 2147483647"),
        (call(bytes.fromhex("0f 0001 0a 00000200")), "more than 1024 octets"),
        (call(bytes.fromhex("0f 0001 01 00000001")), "unknown type 1"),
        (call(bytes.fromhex("0d 0001 0a 63 00000001") + bytes(8)), "unknown type 99"),
        (call(bytes.fromhex("63 0001")), "unknown type 99"),
        (call(bytes.fromhex("0c 0001") * 40), "more than 32 structs"),
        (call(bytes.fromhex("0f 0001") + bytes.fromhex("0f 00000001") * 40), "more than 32 structs"),
    ],
)
def test_what_is_no_message_is_refused_before_it_is_there(data: bytes, complaint: str) -> None:
    with pytest.raises(MalformedMessage, match=complaint):
        taken(data)


@given(st.binary(max_size=200), st.integers(0, 200))
@settings(max_examples=200, deadline=None)
def test_no_octets_do_more_than_be_refused(noise: bytes, position: int) -> None:
    good = call(EVERYTHING, b"getSlotInfo")
    reader = MessageReader(1024)
    reader.feed(good[:position] + noise + good[position:])
    with suppress(MalformedMessage):
        while (message := reader.take()) is not None:
            if message.name in idl.METHODS:
                idl.decode(idl.arguments(message.name), message.body)
