from __future__ import annotations

import dataclasses

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.method import METHODS, decode
from broker.codec.methods import (
    AccessRequest,
    AccessRequestOk,
    BasicAck,
    BasicConsume,
    BasicGetEmpty,
    BasicGetOk,
    BasicNack,
    BasicQos,
    BasicReturn,
    ChannelOpen,
    ChannelOpenOk,
    ConfirmSelect,
    ConnectionBlocked,
    ConnectionClose,
    ConnectionOpen,
    ConnectionStart,
    ConnectionStartOk,
    ConnectionTune,
    ConnectionUpdateSecret,
    ExchangeBind,
    ExchangeDeclare,
    QueueBind,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
    QueueUnbind,
)
from broker.errors import SyntaxFault

NAMES = """
40,22 exchange.bound           40,23 exchange.bound-ok
10,10 connection.start        10,11 connection.start-ok      10,20 connection.secure      10,21 connection.secure-ok
10,30 connection.tune         10,31 connection.tune-ok       10,40 connection.open        10,41 connection.open-ok
10,50 connection.close        10,51 connection.close-ok      10,60 connection.blocked     10,61 connection.unblocked
10,70 connection.update-secret                               10,71 connection.update-secret-ok
20,10 channel.open            20,11 channel.open-ok          20,20 channel.flow           20,21 channel.flow-ok
20,40 channel.close           20,41 channel.close-ok         30,10 access.request         30,11 access.request-ok
40,10 exchange.declare        40,11 exchange.declare-ok      40,20 exchange.delete        40,21 exchange.delete-ok
40,30 exchange.bind           40,31 exchange.bind-ok         40,40 exchange.unbind        40,51 exchange.unbind-ok
50,10 queue.declare           50,11 queue.declare-ok         50,20 queue.bind             50,21 queue.bind-ok
50,30 queue.purge             50,31 queue.purge-ok           50,40 queue.delete           50,41 queue.delete-ok
50,50 queue.unbind            50,51 queue.unbind-ok
60,10 basic.qos               60,11 basic.qos-ok             60,20 basic.consume          60,21 basic.consume-ok
60,30 basic.cancel            60,31 basic.cancel-ok          60,40 basic.publish          60,50 basic.return
60,60 basic.deliver           60,70 basic.get                60,71 basic.get-ok           60,72 basic.get-empty
60,80 basic.ack               60,90 basic.reject             60,100 basic.recover-async   60,110 basic.recover
60,111 basic.recover-ok       60,120 basic.nack              85,10 confirm.select         85,11 confirm.select-ok
90,10 tx.select               90,11 tx.select-ok             90,20 tx.commit              90,21 tx.commit-ok
90,30 tx.rollback             90,31 tx.rollback-ok
100,10 dtx.select              100,20 dtx.start               100,21 dtx.start-ok            100,30 dtx.end
100,31 dtx.end-ok              100,40 dtx.commit              100,41 dtx.commit-ok           100,50 dtx.forget
100,51 dtx.forget-ok           100,70 dtx.prepare             100,71 dtx.prepare-ok          100,80 dtx.recover
100,81 dtx.recover-ok          100,90 dtx.rollback            100,91 dtx.rollback-ok         100,100 dtx.set-timeout
100,101 dtx.set-timeout-ok
"""

WIRE = [
    (
        ConnectionStart(0, 9, FieldTable.of({"product": "x"}), b"PLAIN AMQPLAIN", b"en_US"),
        "000a000a 0009 0000000e 0770726f64756374 53 00000001 78"
        " 0000000e 504c41494e20414d51504c41494e 00000005 656e5f5553",
    ),
    (
        ConnectionStartOk(FieldTable(), "PLAIN", b"\0u\0p", "en_US"),
        "000a000b 00000000 05504c41494e 00000004 00750070 05656e5f5553",
    ),
    (ConnectionTune(2047, 131072, 60), "000a001e 07ff 00020000 003c"),
    (ConnectionOpen("/"), "000a0028 012f 00 00"),
    (ConnectionClose(320, "bye", 60, 40), "000a0032 0140 03627965 003c 0028"),
    (ConnectionBlocked("low on disk"), "000a003c 0b6c6f77206f6e206469736b"),
    (ConnectionUpdateSecret(b"new", "old"), "000a0046 00000003 6e6577 036f6c64"),
    (ChannelOpen(), "0014000a 00"),
    (ChannelOpenOk(), "0014000b 00000000"),
    (AccessRequest(), "001e000a 052f64617461 1e"),
    (AccessRequestOk(), "001e000b 0001"),
    (ExchangeDeclare(exchange="e", durable=True, internal=True), "0028000a 0000 0165 06646972656374 0a 00000000"),
    (ExchangeBind(destination="d", source="s", routing_key="k"), "0028001e 0000 0164 0173 016b 00 00000000"),
    (
        QueueDeclare(queue="q", durable=True, arguments=FieldTable.of({"x-max-length": 10})),
        "0032000a 0000 0171 02 00000012 0c782d6d61782d6c656e677468 49 0000000a",
    ),
    (QueueDeclareOk("q", 3, 2), "0032000b 0171 00000003 00000002"),
    (QueueBind(queue="q", exchange="e", routing_key="k"), "00320014 0000 0171 0165 016b 00 00000000"),
    (QueueDelete(queue="q", if_empty=True), "00320028 0000 0171 02"),
    (QueueUnbind(queue="q", exchange="e", routing_key="k"), "00320032 0000 0171 0165 016b 00000000"),
    (BasicQos(0, 100, True), "003c000a 00000000 0064 01"),
    (BasicConsume(queue="q", consumer_tag="c", no_ack=True), "003c0014 0000 0171 0163 02 00000000"),
    (BasicReturn(312, "NO_ROUTE", "x", "k"), "003c0032 0138 084e4f5f524f555445 0178 016b"),
    (BasicGetOk(1, True, "x", "k", 9), "003c0047 0000000000000001 01 0178 016b 00000009"),
    (BasicGetEmpty(), "003c0048 00"),
    (BasicAck((1 << 64) - 1, True), "003c0050 ffffffffffffffff 01"),
    (BasicNack(2), "003c0078 0000000000000002 02"),
    (ConfirmSelect(True), "0055000a 01"),
]

SAMPLES = {
    "int": 250,
    "str": "ü/é",
    "bytes": b"\x00\xff",
    "bool": True,
    "FieldTable": FieldTable.of({"key": [1, {"nested": "value"}]}),
}


def sample(kind):
    """A method with no argument at its default."""
    return kind(*(SAMPLES[type(field.default).__name__] for field in dataclasses.fields(kind)))


def test_every_method_of_the_protocol_has_its_ids():
    words = NAMES.split()
    expected = dict(zip(words[1::2], words[::2], strict=True))
    assert {kind.name: f"{kind.ids[0]},{kind.ids[1]}" for kind in METHODS.values()} == expected


def test_four_methods_carry_content():
    carrying = {kind.name for kind in METHODS.values() if kind.has_content}
    assert carrying == {"basic.publish", "basic.return", "basic.deliver", "basic.get-ok"}


@pytest.mark.parametrize(("method", "octets"), WIRE, ids=lambda value: getattr(value, "name", ""))
def test_a_method_has_the_bytes_of_the_specification(method, octets):
    assert method.encode() == bytes.fromhex(octets)
    assert decode(bytes.fromhex(octets)) == method


@pytest.mark.parametrize("kind", METHODS.values(), ids=lambda kind: kind.name)
def test_every_method_survives_the_wire(kind):
    assert decode(kind().encode()) == kind()
    assert decode(sample(kind).encode()) == sample(kind)


@pytest.mark.parametrize("kind", METHODS.values(), ids=lambda kind: kind.name)
def test_every_method_cut_at_any_byte_is_a_syntax_fault(kind):
    payload = sample(kind).encode()
    for length in range(len(payload)):
        with pytest.raises(SyntaxFault):
            decode(payload[:length])
