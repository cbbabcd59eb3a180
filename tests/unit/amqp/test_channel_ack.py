"""basic.get, ack, nack, reject, recover: contract B21 to B28."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from broker.codec.field_table import EMPTY_TABLE, FieldTable
from broker.codec.method import Method
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicDeliver,
    BasicGet,
    BasicGetEmpty,
    BasicGetOk,
    BasicNack,
    BasicQos,
    BasicRecover,
    BasicRecoverAsync,
    BasicRecoverOk,
    BasicReject,
    ChannelClose,
    ChannelOpen,
    ConnectionClose,
    QueueBind,
    QueueDeclare,
    QueueDeclareOk,
    TxCommit,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from broker.queue.settings import QueueLimits
from tests.support.harness import Client, Harness
from tests.support.peer import command


def soft(code: int, text: str, method: type[Method]) -> ChannelClose:
    return ChannelClose(code, text, *method.ids)


@pytest.fixture
def peer(harness: Harness) -> Client:
    peer = harness.peer()
    peer.send(1, QueueDeclare(queue="q"))
    peer.received()
    return peer


# get


def test_get_tells_what_is_left(peer: Client) -> None:
    peer.publish("q", b"one", b"two")
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(1, False, "", "q", 1)
    assert peer.call(1, BasicGet(queue="q", no_ack=True)) == BasicGetOk(2, False, "", "q", 0)
    assert peer.call(1, BasicGet(queue="q")) == BasicGetEmpty()
    assert peer.bodies() == [b"one", b"two"]


def test_get_names_exchange_and_key_as_published(peer: Client) -> None:
    peer.send(1, QueueBind(queue="q", exchange="amq.topic", routing_key="#"))
    peer.publish("a.b", b"m", exchange="amq.topic")
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(1, False, "amq.topic", "a.b", 0)


def test_getting_from_a_missing_queue_closes_the_channel(peer: Client) -> None:
    assert peer.call(1, BasicGet(queue="p")) == soft(404, "NOT_FOUND - no queue 'p' in vhost '/'", BasicGet)


def test_get_brings_back_what_was_paged_out() -> None:
    harness = Harness(queue_limits=QueueLimits(memory=2000, transient_memory=2000, window_size=4, read_ahead=3))
    peer = harness.peer()
    peer.send(1, QueueDeclare(queue="q", durable=True))
    for number in range(20):
        mode = 1 + number % 2
        peer.publish("q", b"%d" % number, properties=BasicProperties(delivery_mode=mode))
    assert len(harness.vhost.queues["q"].ready) < 20
    assert peer.call(1, QueueDeclare(queue="q", durable=True)) == QueueDeclareOk("q", 20, 0)
    for number in range(20):
        assert peer.call(1, BasicGet(queue="q", no_ack=True)) == BasicGetOk(number + 1, False, "", "q", 19 - number)
    assert peer.bodies() == [b"%d" % number for number in range(20)]
    harness.commit()
    assert harness.store.state.rows == {}


# ack


def test_an_ack_settles_one_delivery(harness: Harness, peer: Client) -> None:
    peer.publish("q", b"one", b"two")
    peer.send(1, BasicGet(queue="q"))
    peer.send(1, BasicGet(queue="q"))
    peer.send(1, BasicAck(2))
    peer.send(1, BasicRecover(True))
    peer.contents()
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(3, True, "", "q", 0)
    assert peer.bodies() == [b"one"]


@pytest.mark.parametrize(("tag", "left"), [(1, [2, 3]), (2, [3]), (3, []), (0, [])])
def test_a_multiple_ack_settles_all_up_to_its_tag(peer: Client, tag: int, left: list[int]) -> None:
    peer.publish("q", b"1", b"2", b"3")
    peer.send(1, BasicConsume(queue="q"))
    peer.send(1, BasicAck(tag, True))
    assert list(peer.connection.channels[1].deliveries.unacked) == left


def test_a_multiple_ack_of_everything_is_fine_when_there_is_nothing(peer: Client) -> None:
    peer.send(1, BasicAck(0, True))
    assert peer.received() == []


@pytest.mark.parametrize(
    "acks",
    [
        [BasicAck(0)],
        [BasicAck(4)],
        [BasicAck(1), BasicAck(1)],
        [BasicAck(2, True), BasicAck(1)],
        [BasicAck(2, True), BasicAck(2, True)],
        [BasicAck(9, True)],
        [BasicReject(9)],
        [BasicNack(9)],
        [BasicNack(9, True)],
        [BasicReject(1, False), BasicNack(1)],
    ],
)
def test_an_unknown_delivery_tag_closes_the_channel(peer: Client, acks: list[Any]) -> None:
    peer.publish("q", b"1", b"2", b"3")
    peer.send(1, BasicConsume(queue="q"))
    peer.received()
    peer.send_raw(b"".join(command(1, ack) for ack in acks))
    text = f"PRECONDITION_FAILED - unknown delivery tag {acks[-1].delivery_tag}"
    assert peer.received() == [(1, soft(406, text, type(acks[-1])))]


def test_a_delivery_is_known_to_its_own_channel_only(peer: Client) -> None:
    peer.publish("q", b"m")
    peer.send(1, BasicGet(queue="q"))
    peer.send(2, ChannelOpen())
    assert peer.call(2, BasicAck(1)) == soft(406, "PRECONDITION_FAILED - unknown delivery tag 1", BasicAck)


def test_deliveries_without_ack_have_no_tag_to_ack(peer: Client) -> None:
    peer.publish("q", b"m")
    peer.send(1, BasicGet(queue="q", no_ack=True))
    assert peer.call(1, BasicAck(1)) == soft(406, "PRECONDITION_FAILED - unknown delivery tag 1", BasicAck)


def test_a_run_of_acks_settles_all_it_can_before_an_error(harness: Harness, peer: Client) -> None:
    peer.publish("q", b"1", b"2", b"3")
    peer.send(1, BasicConsume(queue="q"))
    peer.received()
    peer.send_raw(b"".join(command(1, BasicAck(tag)) for tag in (1, 2, 9, 3)))
    assert peer.received() == [(1, soft(406, "PRECONDITION_FAILED - unknown delivery tag 9", BasicAck))]
    assert harness.vhost.queues["q"].ready_count == 1


def test_acks_of_two_channels_and_other_methods_may_follow_each_other(peer: Client) -> None:
    peer.publish("q", b"1", b"2", b"3", b"4")
    peer.send(2, ChannelOpen())
    for channel in (1, 1, 2, 2):
        peer.send(channel, BasicGet(queue="q"))
    peer.received()
    peer.send_raw(
        command(1, BasicAck(1))
        + command(2, BasicAck(1))
        + command(2, BasicAck(2, True))
        + command(1, BasicAck(2))
        + command(1, QueueDeclare(queue="q", passive=True))
    )
    assert peer.received() == [(1, QueueDeclareOk("q", 0, 0))]
    assert [len(channel.deliveries.unacked) for channel in peer.connection.channels.values()] == [0, 0]


# nack, reject, recover


@pytest.mark.parametrize("method", [BasicReject(1, True), BasicNack(1), BasicNack(1, True), BasicNack(0, True)])
def test_a_returned_message_is_redelivered_at_its_old_place(peer: Client, method: Method) -> None:
    peer.publish("q", b"1", b"2")
    peer.send(1, BasicGet(queue="q"))
    peer.send(1, method)
    peer.contents()
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(2, True, "", "q", 1)
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(3, False, "", "q", 0)
    assert peer.bodies() == [b"1", b"2"]


@pytest.mark.parametrize(
    "method", [BasicReject(1, False), BasicNack(1, False, False), BasicNack(1, True, False), BasicNack(0, True, False)]
)
def test_a_rejected_message_is_gone(harness: Harness, peer: Client, method: Method) -> None:
    peer.send(1, QueueDeclare(queue="d", durable=True))
    peer.publish("d", b"m", properties=BasicProperties(delivery_mode=2))
    harness.commit()
    peer.send(1, BasicGet(queue="d"))
    peer.send(1, method)
    harness.commit()
    assert peer.call(1, BasicGet(queue="d")) == BasicGetEmpty()
    assert harness.store.state.rows == {}


def test_messages_return_to_their_order_whatever_the_order_of_their_return(peer: Client) -> None:
    peer.publish("q", b"1", b"2", b"3", b"4")
    for _ in range(3):
        peer.send(1, BasicGet(queue="q"))
    for tag in (2, 3, 1):
        peer.send(1, BasicReject(tag, True))
    peer.contents()
    for _ in range(4):
        peer.send(1, BasicGet(queue="q"))
    assert peer.bodies() == [b"1", b"2", b"3", b"4"]


def test_recover_gives_back_everything_unacknowledged_on_the_channel(peer: Client) -> None:
    peer.publish("q", b"1", b"2")
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    peer.received()
    peer.send(1, BasicRecover(True))
    assert peer.received() == [
        (1, BasicRecoverOk()),
        (1, BasicDeliver("c", 3, True, "", "q")),
        (1, BasicDeliver("c", 4, True, "", "q")),
    ]
    assert peer.bodies() == [b"1", b"2"] * 2


def test_recover_async_is_not_answered(peer: Client) -> None:
    peer.publish("q", b"m")
    peer.send(1, BasicGet(queue="q"))
    peer.received()
    peer.send(1, BasicRecoverAsync(True))
    assert peer.received() == []
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(2, True, "", "q", 0)


@pytest.mark.parametrize("method", [BasicRecover(False), BasicRecoverAsync(False)])
def test_recover_without_requeue_is_not_implemented(peer: Client, method: Method) -> None:
    peer.send(1, method)
    assert peer.received() == [(0, ConnectionClose(540, "NOT_IMPLEMENTED - requeue=false", *method.ids))]


# Runs of acknowledgements in one read


def test_a_run_of_acks_gives_each_consumer_its_room_back(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="other", durable=True))
    peer.send(1, BasicQos(prefetch_count=2))
    for queue in ("q", "other"):
        peer.send(1, BasicConsume(queue=queue, consumer_tag=queue))
    for number in range(4):
        peer.publish("q", b"q%d" % number)
        peer.publish("other", b"o%d" % number)
    peer.bodies()
    peer.send_raw(b"".join(command(1, BasicAck(tag)) for tag in (1, 2, 3, 4)))
    assert sorted(peer.bodies()) == [b"o2", b"o3", b"q2", b"q3"]
    assert [queue.unacked_count for queue in harness.vhost.queues.values()] == [2, 2]


def test_what_was_got_and_what_was_delivered_may_be_acknowledged_in_one_run(harness: Harness, peer: Client) -> None:
    peer.publish("q", b"one", b"two", b"three")
    peer.call(1, BasicGet(queue="q"))
    peer.send(1, BasicConsume(queue="q"))
    peer.send_raw(b"".join(command(1, BasicAck(tag)) for tag in (2, 1, 3)))
    queue = harness.vhost.queues["q"]
    assert (queue.unacked_count, harness.broker.held_ids(queue)) == (0, [])


def test_a_run_of_acks_that_ends_with_an_unknown_tag_settles_what_came_before(harness: Harness, peer: Client) -> None:
    peer.publish("q", b"one", b"two")
    peer.send(1, BasicConsume(queue="q"))
    peer.received()
    peer.send_raw(b"".join(command(1, BasicAck(tag)) for tag in (1, 9)))
    assert peer.received() == [(1, soft(406, "PRECONDITION_FAILED - unknown delivery tag 9", BasicAck))]
    assert harness.vhost.queues["q"].ready_count == 1


def test_messages_that_need_no_ack_are_settled_as_they_are_delivered(harness: Harness, peer: Client) -> None:
    peer.publish("q", b"one", b"two")
    peer.send(1, BasicConsume(queue="q", no_ack=True))
    assert peer.bodies() == [b"one", b"two"]
    assert harness.vhost.queues["q"].unacked_count == 0


# Delivery count and limit (contract F10)


@pytest.fixture
def limited(harness: Harness) -> Client:
    peer = harness.peer()
    peer.send(1, QueueDeclare(queue="q", durable=True, arguments=FieldTable.of({"x-delivery-limit": 2})))
    peer.received()
    return peer


def counts(peer: Client) -> list[tuple[object, object]]:
    """Return the two headers of what has come."""
    tables = [content.properties.headers or EMPTY_TABLE for content in peer.contents()]
    return [(table.get("x-delivery-count"), table.get("x-acquired-count")) for table in tables]


GIVING_BACK: list[Callable[[int], list[Method]]] = [
    lambda tag: [BasicNack(tag)],
    lambda tag: [BasicNack(0, True)],
    lambda tag: [BasicReject(tag, True)],
    lambda tag: [BasicRecover(True)],
    lambda tag: [BasicRecoverAsync(True)],
    lambda tag: [ChannelClose(0, ""), ChannelOpen()],
    lambda tag: [TxSelect(), BasicNack(tag), TxCommit()],
]


@pytest.mark.parametrize("methods", GIVING_BACK)
def test_a_message_that_was_given_back_too_often_is_gone(
    harness: Harness, limited: Client, methods: Callable[[int], list[Method]]
) -> None:
    limited.publish("q", b"m", properties=BasicProperties(delivery_mode=2))
    harness.commit()
    for count in range(3):
        got = limited.call(1, BasicGet(queue="q"))
        assert isinstance(got, BasicGetOk)
        assert (got.redelivered, counts(limited)) == (count > 0, [(count or None, count or None)])
        for method in methods(got.delivery_tag):
            limited.send(1, method)
            harness.commit()
        limited.received()
    assert limited.call(1, BasicGet(queue="q")) == BasicGetEmpty()
    assert harness.store.state.rows == {}


@pytest.mark.parametrize("size", [0, 5, 20_000, 200_000])
def test_a_consumer_is_told_the_number_of_deliveries_after_the_first(limited: Client, size: int) -> None:
    limited.publish("q", b"x" * size, properties=BasicProperties(headers=FieldTable.of({"a": 1})))
    limited.send(1, BasicConsume(queue="q"))
    [first] = limited.contents()
    limited.send(1, BasicNack(1))
    [second] = limited.contents()
    assert (len(first.body), len(second.body)) == (size, size)
    assert first.properties.headers == FieldTable.of({"a": 1})
    assert second.properties.headers is not None
    assert second.properties.headers.values == {"a": 1, "x-delivery-count": 1, "x-acquired-count": 1}


def test_a_queue_without_a_limit_tells_no_number_and_writes_none(harness: Harness, peer: Client) -> None:
    peer.publish("q", b"m")
    peer.send(1, BasicConsume(queue="q"))
    peer.send(1, BasicNack(1))
    assert counts(peer) == [(None, None), (None, None)]


def test_a_disconnected_client_has_given_back_what_it_held(harness: Harness, limited: Client) -> None:
    limited.publish("q", b"m")
    for _ in range(3):
        peer = harness.peer()
        peer.send(1, BasicConsume(queue="q"))
        assert peer.bodies() == [b"m"]
        peer.lose()
    assert limited.call(1, BasicGet(queue="q")) == BasicGetEmpty()


def test_the_number_of_deliveries_is_stored_when_a_message_is_given_back(harness: Harness, limited: Client) -> None:
    limited.publish("q", b"m", properties=BasicProperties(delivery_mode=2))
    harness.commit()
    for count in (1, 2):
        limited.send(1, BasicGet(queue="q"))
        limited.send(1, BasicNack(count))
        harness.commit()
        assert [row.redelivered for row in harness.store.state.rows.values()] == [count]
