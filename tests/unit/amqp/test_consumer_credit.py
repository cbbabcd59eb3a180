"""Credit that several consumers share, and what consumers get when their connection ends (contract B11, C14)."""

from __future__ import annotations

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.method import frame
from broker.codec.methods import (
    BasicAck,
    BasicCancel,
    BasicConsume,
    BasicDeliver,
    BasicGet,
    BasicGetEmpty,
    BasicNack,
    BasicPublish,
    BasicQos,
    BasicReject,
    ChannelClose,
    ChannelOpen,
    ConnectionClose,
    QueueDeclare,
    QueueDeclareOk,
    TxCommit,
    TxSelect,
)
from tests.support.harness import Client, Harness
from tests.support.peer import command, raw_frame


@pytest.fixture
def harness() -> Harness:
    return Harness()


@pytest.fixture
def peer(harness: Harness) -> Client:
    client = harness.peer()
    for name in ("a", "b"):
        client.call(1, QueueDeclare(queue=name))
    client.send(1, BasicQos(prefetch_count=1, global_=True))
    return client


def test_an_ack_frees_the_shared_credit_for_every_queue_of_the_channel(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    for name in ("a", "b"):
        peer.send(1, BasicConsume(queue=name))
    other.publish("a", b"first")
    other.publish("b", b"second")
    assert peer.bodies() == [b"first"]
    peer.send(1, BasicAck(1))
    assert peer.bodies() == [b"second"]


def test_consumers_of_one_queue_that_share_a_credit_take_turns(harness: Harness, peer: Client) -> None:
    for tag in ("first", "second", "third"):
        peer.call(1, BasicConsume(queue="a", consumer_tag=tag))
    harness.peer().publish("a", *[b"m"] * 6)
    tags = []
    for number in range(1, 7):
        ((_, delivery),) = peer.received()
        assert isinstance(delivery, BasicDeliver)
        tags.append(delivery.consumer_tag)
        peer.send(1, BasicAck(number))
    assert tags == ["first", "second", "third"] * 2


def tags_of_deliveries(peer: Client) -> list[str]:
    return [method.consumer_tag for _, method in peer.received() if isinstance(method, BasicDeliver)]


def test_the_highest_consumer_of_a_queue_gets_what_all_of_them_wait_for(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    peer.call(1, BasicConsume(queue="b"))
    other.publish("b", b"first")
    assert peer.bodies() == [b"first"]
    peer.call(1, BasicConsume(queue="a", consumer_tag="low"))
    other.publish("a", b"second")
    peer.call(1, BasicConsume(queue="a", consumer_tag="high", arguments=FieldTable.of({"x-priority": 1})))
    peer.send(1, BasicAck(1))
    assert tags_of_deliveries(peer) == ["high"]


def test_priorities_of_one_queue_keep_no_other_queue_from_its_turn(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    peer.call(1, BasicConsume(queue="a", consumer_tag="a", arguments=FieldTable.of({"x-priority": 1})))
    peer.call(1, BasicConsume(queue="b", consumer_tag="b"))
    other.publish("a", *[b"m"] * 3)
    other.publish("b", *[b"m"] * 3)
    tags = []
    for number in range(1, 7):
        tags += tags_of_deliveries(peer)
        peer.send(1, BasicAck(number))
    assert sorted(tags) == ["a"] * 3 + ["b"] * 3


def test_gets_do_not_use_up_the_shared_credit(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    other.publish("a", b"got", b"got too", b"first", b"second")
    for _ in range(2):
        peer.send(1, BasicGet(queue="a"))
    peer.send(1, BasicConsume(queue="a"))
    assert peer.bodies() == [b"got", b"got too", b"first"]
    peer.send(1, BasicAck(1))
    peer.send(1, BasicNack(2, requeue=False))
    assert peer.bodies() == []
    peer.send(1, BasicAck(3))
    assert peer.bodies() == [b"second"]


def test_a_get_that_is_given_back_does_not_count_either(harness: Harness, peer: Client) -> None:
    harness.peer().publish("a", b"1", b"2")
    peer.send(1, BasicGet(queue="a"))
    peer.send(1, BasicReject(1))
    peer.send(1, BasicConsume(queue="a"))
    assert peer.bodies() == [b"1", b"1"]


def test_deliveries_without_ack_use_up_no_shared_credit_but_wait_for_it(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    peer.send(1, BasicConsume(queue="a"))
    peer.send(1, BasicConsume(queue="b", no_ack=True))
    other.publish("b", b"1", b"2")
    other.publish("a", b"held")
    other.publish("b", b"3", b"4")
    assert peer.bodies() == [b"1", b"2", b"held"]
    peer.send(1, BasicAck(3))
    assert peer.bodies() == [b"3", b"4"]


def test_a_shared_credit_goes_round_the_queues(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    peer.send(1, QueueDeclare(queue="c"))
    for name in ("a", "b", "c"):
        other.publish(name, *[name.encode()] * 20)
        peer.send(1, BasicConsume(queue=name))
    for tag in range(1, 31):
        peer.send(1, BasicAck(tag))
    assert peer.bodies() == [b"a", *[b"a", b"b", b"c"] * 10]


def test_a_shared_credit_goes_round_the_queues_while_they_are_published_to(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    for name in ("a", "b"):
        peer.send(1, BasicConsume(queue=name))
    for tag in range(1, 21):
        other.publish("a", b"a")
        other.publish("b", b"b")
        peer.send(1, BasicAck(tag))
    assert peer.bodies().count(b"b") in (10, 11)


def test_a_requeue_gives_its_room_to_other_queues(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    for name in ("a", "b"):
        other.publish(name, name.encode())
        peer.send(1, BasicConsume(queue=name))
    assert peer.bodies() == [b"a"]
    peer.send(1, BasicNack(1))
    assert peer.bodies() == [b"b"]


def test_the_end_of_a_consumer_leaves_the_turn_to_others(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    for name in ("a", "b"):
        other.publish(name, *[name.encode()] * 3)
        peer.send(1, BasicConsume(queue=name, consumer_tag=name))
    peer.send(1, BasicCancel("b"))
    for tag in (1, 2):
        peer.send(1, BasicAck(tag))
    assert peer.bodies() == [b"a"] * 3


def test_both_prefetches_hold_when_several_queues_share_one(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    peer.send(1, BasicQos(prefetch_count=3, global_=True))
    peer.send(1, BasicQos(prefetch_count=2))
    for name in ("a", "b"):
        other.publish(name, *[name.encode()] * 4)
        peer.send(1, BasicConsume(queue=name))
    assert peer.bodies() == [b"a", b"a", b"b"]
    peer.send(1, BasicAck(3))
    assert peer.bodies() == [b"b"]
    peer.send(1, BasicAck(2, multiple=True))
    assert peer.bodies() == [b"b", b"a"]
    peer.send(1, BasicAck(0, multiple=True))
    assert sorted(peer.bodies()) == [b"a", b"b"]


def test_what_a_transaction_is_to_give_back_uses_up_credit_until_the_commit(harness: Harness, peer: Client) -> None:
    peer.send(1, TxSelect())
    for name in ("a", "b"):
        harness.peer().publish(name, name.encode())
        peer.send(1, BasicConsume(queue=name))
    peer.send(1, BasicNack(1))
    assert peer.bodies() == [b"a"]
    peer.send(1, TxCommit())
    assert peer.bodies() == [b"b"]


def test_a_consumer_that_waits_gets_a_message_before_a_get_in_the_same_read(harness: Harness, peer: Client) -> None:
    harness.peer().send(1, BasicConsume(queue="a", no_ack=True))
    peer.received()
    publish = command(1, BasicPublish(routing_key="a"), body=b"m")
    peer.send_raw(publish + command(1, BasicGet(queue="a")))
    assert peer.received() == [(1, BasicGetEmpty())]


def test_a_get_takes_what_consumers_have_no_credit_for(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    other.send(1, BasicQos(prefetch_count=1))
    other.send(1, BasicConsume(queue="a"))
    publish = command(1, BasicPublish(routing_key="a"), body=b"m")
    peer.send_raw(2 * publish + command(1, BasicGet(queue="a")))
    assert (len(other.bodies()), len(peer.bodies())) == (1, 1)


def test_channels_take_turns_in_a_buffer_that_was_full(harness: Harness) -> None:
    peer, other = harness.peer(), harness.peer()
    peer.send(2, ChannelOpen())
    for channel in (1, 2):
        peer.call(channel, QueueDeclare(queue=f"q{channel}"))
        peer.send(channel, BasicConsume(queue=f"q{channel}", no_ack=True))
    peer.received()
    peer.reads = False
    for channel in (1, 2):
        other.publish(f"q{channel}", *[bytes(700_000)] * 6)
    peer.reads = True
    harness.run()
    channels = [channel for channel, method in peer.received() if isinstance(method, BasicDeliver)]
    assert sorted(channels[:6]) == [1, 1, 1, 2, 2, 2]
    assert len(channels) == 12


def test_an_ack_frees_the_shared_credit_when_it_is_committed(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    peer.send(1, TxSelect())
    peer.send(1, BasicConsume(queue="a"))
    other.publish("a", b"first", b"second")
    peer.send(1, BasicAck(1))
    assert peer.bodies() == [b"first"]
    peer.send(1, TxCommit())
    assert peer.bodies() == [b"second"]


def test_what_a_stopping_node_takes_back_goes_to_no_connection_that_is_told_to_close(harness: Harness) -> None:
    first, second, other = harness.peer(), harness.peer(), harness.peer()
    first.call(1, QueueDeclare(queue="q"))
    first.send(1, BasicConsume(queue="q"))
    other.publish("q", b"m")
    second.send(1, BasicConsume(queue="q", no_ack=True))
    for client in (first, second):
        client.connection.force_close("shutdown")
    harness.run()
    assert second.bodies() == []
    assert other.call(1, QueueDeclare(queue="q", passive=True)) == QueueDeclareOk("q", 1, 0)


@pytest.mark.parametrize("table", [b"\x01kZ", b"\x01kS\0\0\0\x09x"])
def test_headers_that_no_consumer_could_read_are_refused(harness: Harness, table: bytes) -> None:
    peer = harness.peer()
    peer.call(1, QueueDeclare(queue="q"))
    header = b"\0\x3c\0\0" + bytes(8) + b"\x20\0" + len(table).to_bytes(4, "big") + table
    peer.send_raw(frame(1, BasicPublish(routing_key="q").encode()) + raw_frame(2, 1, header))
    ((channel, close),) = peer.received()
    assert channel == 0
    assert isinstance(close, ConnectionClose | ChannelClose)
    assert close.reply_code == 502
