from __future__ import annotations

import dataclasses

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.method import METHODS, decode, frame
from broker.codec.methods import (
    BasicAck,
    BasicDeliver,
    BasicPublish,
    BasicQos,
    BasicRecoverAsync,
    ChannelClose,
    ConnectionStartOk,
    ConnectionUpdateSecretOk,
    QueueDeclare,
    TxSelect,
)
from broker.errors import NotImplementedFault, ReplyCode, SyntaxFault

PUBLISH = b"\x00\x3c\x00\x28\x00\x00\x01x\x01k\x01"


def test_a_method_knows_its_ids_and_its_name():
    assert BasicRecoverAsync.ids == (60, 100)
    assert BasicRecoverAsync.index == 60 << 16 | 100
    assert BasicRecoverAsync.name == "basic.recover-async"
    assert ConnectionUpdateSecretOk.name == "connection.update-secret-ok"
    assert METHODS[60 << 16 | 100] is BasicRecoverAsync


def test_the_ids_of_a_close_are_its_own_and_those_of_the_failing_method_are_fields():
    close = ChannelClose(404, "NOT_FOUND - no queue 'q' in vhost '/'", 50, 10)
    assert close.ids == (20, 40)
    assert (close.class_id, close.method_id) == (50, 10)


def test_a_method_is_an_immutable_value_without_a_dict():
    publish = BasicPublish(exchange="x", routing_key="k")
    assert publish == BasicPublish(0, "x", "k", False, False)
    assert hash(publish) == hash(BasicPublish(0, "x", "k"))
    assert not hasattr(publish, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        publish.exchange = "y"


def test_a_payload_is_ids_and_arguments():
    assert BasicPublish(exchange="x", routing_key="k", mandatory=True).encode() == PUBLISH
    assert decode(PUBLISH) == BasicPublish(0, "x", "k", mandatory=True, immediate=False)


def test_a_method_without_arguments_is_its_ids():
    assert TxSelect().encode() == b"\x00\x5a\x00\x0a"
    assert decode(b"\x00\x5a\x00\x0a") == TxSelect()


def test_neighbouring_bits_share_an_octet_from_the_lowest():
    payload = QueueDeclare(queue="q", durable=True, no_wait=True).encode()
    assert payload == b"\x00\x32\x00\x0a\x00\x00\x01q\x12\x00\x00\x00\x00"
    declare = decode(payload[:8] + b"\xed" + payload[9:])
    assert declare == QueueDeclare(queue="q", passive=True, exclusive=True, auto_delete=True)


def test_a_bit_between_other_fields_takes_an_octet():
    deliver = BasicDeliver("c", 7, True, "x", "k")
    assert deliver.encode() == b"\x00\x3c\x00\x3c\x01c\x00\x00\x00\x00\x00\x00\x00\x07\x01\x01x\x01k"
    assert decode(deliver.encode()) == deliver


def test_arguments_are_read_from_the_middle_of_a_buffer():
    buffer = b"before" + PUBLISH + b"after"
    assert BasicPublish.decode_arguments(buffer, 10, 6 + len(PUBLISH)).routing_key == "k"


def test_arguments_may_not_borrow_from_the_frame_behind():
    with pytest.raises(SyntaxFault, match=r"^basic.publish: the frame ends inside the arguments$"):
        BasicPublish.decode_arguments(PUBLISH + b"after", 4, len(PUBLISH) - 1)


def test_a_frame_wraps_a_payload():
    assert frame(258, b"\x00\x5a\x00\x0a") == b"\x01\x01\x02\x00\x00\x00\x04\x00\x5a\x00\x0a\xce"


def test_an_unknown_method_is_not_implemented():
    with pytest.raises(NotImplementedFault, match=r"^unknown method 60,99$") as caught:
        decode(b"\x00\x3c\x00\x63")
    assert caught.value.reply_code is ReplyCode.NOT_IMPLEMENTED


def test_a_payload_without_room_for_ids_is_a_syntax_fault():
    with pytest.raises(SyntaxFault, match=r"^method frame of 3 octets has no room for class and method id$"):
        decode(b"\x00\x3c\x00")


def test_octets_after_the_arguments_are_a_syntax_fault():
    with pytest.raises(SyntaxFault, match=r"^basic.publish: 2 octets after the arguments$"):
        decode(PUBLISH + b"\x00\x00")
    with pytest.raises(SyntaxFault, match=r"^tx.select: 1 octets after the arguments$"):
        decode(b"\x00\x5a\x00\x0a\x00")


def test_a_short_string_that_is_not_utf8_is_a_syntax_fault_naming_the_field():
    with pytest.raises(SyntaxFault, match=r"^basic.publish: routing_key is not UTF-8$"):
        decode(b"\x00\x3c\x00\x28\x00\x00\x01x\x01\xff\x01")


def test_a_long_string_may_hold_any_octets():
    start_ok = ConnectionStartOk(response=b"\x00\xff\x00")
    assert decode(start_ok.encode()) == start_ok


def test_a_long_string_longer_than_the_frame_is_a_syntax_fault():
    payload = b"\x00\x0a\x00\x0b\x00\x00\x00\x00\x05PLAIN\xff\xff\xff\xff\x00\x05en_US"
    with pytest.raises(SyntaxFault, match=r"^connection.start-ok: the frame ends inside the arguments$"):
        decode(payload)


def test_a_table_argument_is_validated():
    payload = QueueDeclare(queue="q", arguments=FieldTable(b"\x01aZ")).encode()
    with pytest.raises(SyntaxFault, match="unknown type tag 'Z' of entry 'a'"):
        decode(payload)


def test_an_argument_that_does_not_fit_is_refused_not_truncated():
    assert decode(BasicPublish(routing_key="é" * 127).encode()) == BasicPublish(routing_key="é" * 127)
    with pytest.raises(ValueError, match=r"^basic.publish: "):
        BasicPublish(routing_key="é" * 128).encode()
    with pytest.raises(ValueError, match=r"^basic.qos: "):
        BasicQos(prefetch_count=65536).encode()
    with pytest.raises(ValueError, match=r"^basic.ack: "):
        BasicAck(-1).encode()
