"""Events of topology as octets: what goes in comes out, and nonsense is refused."""

from __future__ import annotations

import pytest

from broker.coordination.replication.event_codec import decode, encode
from broker.errors import StoreError
from broker.ports.records import (
    BindingAdded,
    BindingRecord,
    BindingRemoved,
    Change,
    ExchangeDeclared,
    ExchangeDeleted,
    ExchangeRecord,
    QueueDeclared,
    QueueDeleted,
    QueueRecord,
    SubscriptionAdded,
    SubscriptionRecord,
    SubscriptionRemoved,
    VirtualHostCreated,
    VirtualHostDeleted,
)

BINDING = BindingRecord("/", "x", "queue", "q", "k.#", b"\x01a\xff")
CHANGES: list[Change] = [
    ExchangeDeclared(ExchangeRecord("/", "x", "topic", True, True, b"\x00\xff", False)),
    ExchangeDeleted("/", "x"),
    QueueDeclared(QueueRecord("/", "q", 1 << 40, True, True, b"\x01", False, "node", "incarnation")),
    QueueDeleted("/", "q\0ü\U0001f407", 7),
    BindingAdded(BINDING),
    BindingRemoved(BINDING),
    VirtualHostCreated("carbon"),
    VirtualHostDeleted("carbon"),
    SubscriptionAdded(SubscriptionRecord(7, "node", "incarnation", True)),
    SubscriptionRemoved(7, "node", "incarnation"),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: type(change).__name__)
def test_every_change_comes_out_as_it_went_in(change: Change) -> None:
    assert decode(encode([change])) == [change]


def test_changes_keep_their_order() -> None:
    assert decode(encode(CHANGES)) == CHANGES


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b'{"version":1}',
        b'{"version":2,"changes":[]}',
        b'{"version":1,"changes":[["QueueDeleted"]]}',
        b'{"version":1,"changes":[["Nothing",{}]]}',
        b'{"version":1,"changes":[["VirtualHostCreated",{}]]}',
        b'{"version":1,"changes":[["VirtualHostCreated",{"name":7}]]}',
        b'{"version":1,"changes":[["VirtualHostCreated",{"name":"a","colour":"red"}]]}',
        b'{"version":1,"changes":[["VirtualHostCreated",7]]}',
        b'{"version":1,"changes":[["QueueDeleted",{"vhost":"/","name":"q","queue_id":true}]]}',
        b'{"version":1,"changes":[["QueueDeclared",{"queue":{}}]]}',
        encode([BindingAdded(BINDING)]).replace(b'"queue"', b'"server"'),
        encode([BindingAdded(BINDING)]).replace(b"0161ff", b"0161f"),
        b'{"version":1,"changes":' + b"[" * 100_000,
    ],
)
def test_nonsense_is_refused(payload: bytes) -> None:
    with pytest.raises(StoreError, match="an event of topology that makes no sense"):
        decode(payload)
