from __future__ import annotations

import pytest

from broker.codec.properties import BasicProperties, encode_header
from broker.store.wso2.encoding import StoredBinding, StoredExchange, StoredQueue, Undecodable, decode
from tests.support.wso2_database import metadata


def test_metadata_has_the_content_header_exchange_key_and_time() -> None:
    properties = BasicProperties(delivery_mode=2, message_id="m-1")

    found = decode(metadata(7, "orders", exchange="amq.topic", properties=properties, arrived_ms=1_700_000_000_123))

    assert found.header_payload == encode_header(7, properties)
    assert found.routing == b"\x09amq.topic\x06orders"
    assert (found.body_size, found.arrival_ms, found.is_compressed) == (7, 1_700_000_000_123, False)


@pytest.mark.parametrize(("compressed", "expected"), [(True, True), (False, False), (None, False)])
def test_the_last_octet_says_whether_the_body_is_compressed_and_may_be_missing(
    compressed: bool | None, expected: bool
) -> None:
    assert decode(metadata(7, "orders", compressed=compressed)).is_compressed is expected


def test_the_default_exchange_has_no_name_here() -> None:
    assert decode(metadata(7, "orders", exchange="<<default>>")).exchange == b""


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "its metadata is of no known kind"),
        (b"\x09", "its metadata is of no known kind"),
        (b"\x01rest", "it is of AMQP 0-10"),
        (b"\x02rest", "it is of MQTT"),
        (b"\0\0\0\0\x50rest", "its metadata ends too early"),
        (metadata(7, "orders")[:-10], "its metadata ends too early"),
        (metadata(7, "orders").replace(b"\x00\x3c", b"\x00\x3d", 1), "its content header is missing"),
        (metadata(7, "orders").replace(b"\x10\x00\x02", b"\x10\x80\x02"), "its metadata cannot be read"),
    ],
)
def test_what_no_broker_of_wso2_writes_is_told_apart(octets: bytes, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        decode(octets)


def test_a_queue_is_read_from_its_text() -> None:
    text = "queueName=a,b=c,queueOwner=admin,isExclusive=true,isDurable=true,isShared=false,lastPurgedTimestamp=0"

    assert StoredQueue.parse(text) == ("a,b=c", True, True)


def test_a_queue_of_version_3_1_is_read_from_its_text() -> None:
    text = (
        "queueName=q,queueOwner=null,isExclusive=false,isDurable=false,lastPurgedTimestamp=0,protocolType=AMQP,"
        "destinationType=QUEUE"
    )

    assert StoredQueue.parse(text) == ("q", False, False)


@pytest.mark.parametrize(
    "text", ["messageRouterName=x,type=topic,autoDelete=true", "exchangeName=x,type=topic,autoDeletetrue"]
)
def test_an_exchange_is_read_from_its_text(text: str) -> None:
    assert StoredExchange.parse(text) == ("x", "topic", True)


@pytest.mark.parametrize(
    "text",
    [
        "boundMessageRouter=amq.topic,boundQueueName=carbon:s,bindingKey=a.*,b",
        "boundExchange&amq.topic|boundQueue&queueName=carbon:s,queueOwner=a,isExclusive=true|routingKey&a.*,b",
    ],
)
def test_a_binding_is_read_from_its_text(text: str) -> None:
    assert StoredBinding.parse(text) == ("amq.topic", "carbon:s", "a.*,b")


@pytest.mark.parametrize(
    "text", ["", "queueName=q", f"queueName={'q' * 256},queueOwner=a,isExclusive=true,isDurable=true"]
)
def test_a_text_that_is_none_is_told_apart(text: str) -> None:
    with pytest.raises(Undecodable):
        StoredQueue.parse(text)
