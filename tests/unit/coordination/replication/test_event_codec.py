"""Events of topology as octets: what goes in comes out, and nonsense is refused."""

from __future__ import annotations

import pytest

from broker.coordination.replication.event_codec import Call, Purge, Wanted, decode, encode, encode_call
from broker.errors import StoreError
from broker.ports.records import (
    BindingRecord,
    Change,
    Drop,
    ExchangeKey,
    ExchangeRecord,
    Put,
    QueueKey,
    QueueRecord,
    SubscriptionKey,
    SubscriptionRecord,
    VirtualHostRecord,
)

BINDING = BindingRecord("/", "x", "queue", "q", "k.#", b"\x01a\xff")
CHANGES: list[Change] = [
    Put(ExchangeRecord("/", "x", "topic", True, True, b"\x00\xff", False)),
    Drop(ExchangeKey("/", "x")),
    Put(QueueRecord("/", "q", 1 << 40, True, True, b"\x01", False, "node", "incarnation")),
    Drop(QueueKey("/", "q\0ü\U0001f407", 7)),
    Put(BINDING),
    Drop(BINDING),
    Put(VirtualHostRecord("carbon")),
    Drop(VirtualHostRecord("carbon")),
    Put(SubscriptionRecord(7, "node", "incarnation", True)),
    Drop(SubscriptionKey(7, "node", "incarnation")),
    Put(SubscriptionRecord(7, "node", "incarnation", priority=-5)),
]


DESCRIBED = [
    '["ExchangeDeclared",{"exchange":{"vhost":"/","name":"x","type":"topic","auto_delete":true,"internal":true,'
    '"arguments":"00ff","durable":false}}]',
    '["ExchangeDeleted",{"vhost":"/","name":"x"}]',
    '["QueueDeclared",{"queue":{"vhost":"/","name":"q","queue_id":1099511627776,"exclusive":true,"auto_delete":true,'
    '"arguments":"01","durable":false,"node_id":"node","incarnation":"incarnation"}}]',
    '["QueueDeleted",{"vhost":"/","name":"q\\u0000\\u00fc\\ud83d\\udc07","queue_id":7}]',
    '["BindingAdded",{"binding":{"vhost":"/","source":"x","destination_kind":"queue","destination":"q",'
    '"routing_key":"k.#","arguments":"0161ff"}}]',
    '["BindingRemoved",{"binding":{"vhost":"/","source":"x","destination_kind":"queue","destination":"q",'
    '"routing_key":"k.#","arguments":"0161ff"}}]',
    '["VirtualHostCreated",{"name":"carbon"}]',
    '["VirtualHostDeleted",{"name":"carbon"}]',
    '["SubscriptionAdded",{"subscription":{"queue_id":7,"node_id":"node","incarnation":"incarnation",'
    '"exclusive":true}}]',
    '["SubscriptionRemoved",{"queue_id":7,"node_id":"node","incarnation":"incarnation"}]',
    '["SubscriptionAdded",{"subscription":{"queue_id":7,"node_id":"node","incarnation":"incarnation",'
    '"exclusive":false,"priority":-5}}]',  # earlier versions refuse it and load the whole topology
]


@pytest.mark.parametrize("change", CHANGES, ids=repr)
def test_every_change_comes_out_as_it_went_in(change: Change) -> None:
    assert decode(encode([change])) == [change]


@pytest.mark.parametrize(("change", "described"), list(zip(CHANGES, DESCRIBED, strict=True)), ids=repr)
def test_events_are_as_earlier_versions_of_the_broker_write_and_read_them(change: Change, described: str) -> None:
    payload = b'{"version":1,"changes":[%s]}' % described.encode()
    assert encode([change]) == payload
    assert decode(payload) == [change]


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
        encode([Put(BINDING)]).replace(b'"queue"', b'"server"'),
        encode([Put(BINDING)]).replace(b"0161ff", b"0161f"),
        b'{"version":1,"changes":' + b"[" * 100_000,
    ],
)
def test_nonsense_is_refused(payload: bytes) -> None:
    with pytest.raises(StoreError, match="an event of topology that makes no sense"):
        decode(payload)


@pytest.mark.parametrize("call", [Purge(7), Wanted(7, 100)])
def test_a_call_goes_there_and_back(call: Call) -> None:
    assert decode(encode_call(call)) == [call]


@pytest.mark.parametrize(
    "described", ['"all"', '{"queue_id":"7"}', '{"queue_id":7,"more":1}', "{}", '{"queue_id":true}']
)
def test_a_call_that_makes_no_sense_is_refused(described: str) -> None:
    with pytest.raises(StoreError):
        decode(b'{"version":1,"changes":[["queue.purged",%s]]}' % described.encode())
