"""Consumers, credit and deliveries: contract B9 to B20, B27 to B31."""

from __future__ import annotations

import pytest

from broker.broker import Limits
from broker.cache_budget import CacheBudget
from broker.codec.field_table import FieldTable
from broker.codec.method import Method
from broker.codec.methods import (
    BasicAck,
    BasicCancel,
    BasicCancelOk,
    BasicConsume,
    BasicConsumeOk,
    BasicDeliver,
    BasicGet,
    BasicGetOk,
    BasicNack,
    BasicPublish,
    BasicQos,
    BasicQosOk,
    ChannelClose,
    ChannelOpen,
    ConnectionClose,
    QueueBind,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
    QueueDeleteOk,
)
from broker.codec.properties import BasicProperties
from broker.queue.settings import QueueLimits
from tests.support.harness import Client, Harness
from tests.support.peer import command


def tags(client: Client) -> list[str]:
    """Return whose deliveries came since the last call."""
    return [method.consumer_tag for _, method in client.received() if isinstance(method, BasicDeliver)]


@pytest.fixture
def peer(harness: Harness) -> Client:
    peer = harness.peer()
    peer.send(1, QueueDeclare(queue="q"))
    peer.received()
    return peer


# consume


def test_consume_ok_comes_before_the_first_delivery(peer: Client) -> None:
    peer.publish("q", b"m")
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    assert peer.received() == [(1, BasicConsumeOk("c")), (1, BasicDeliver("c", 1, False, "", "q"))]
    assert peer.bodies() == [b"m"]


def test_a_consumer_without_a_tag_gets_one(peer: Client) -> None:
    assert peer.call(1, BasicConsume(queue="q")) == BasicConsumeOk("amq.ctag-1")


def test_no_wait_is_not_answered(peer: Client) -> None:
    peer.publish("q", b"m")
    peer.send(1, BasicConsume(queue="q", consumer_tag="c", no_wait=True))
    assert peer.received() == [(1, BasicDeliver("c", 1, False, "", "q"))]


def test_no_local_has_no_effect(peer: Client) -> None:
    peer.send(1, BasicConsume(queue="q", no_local=True))
    peer.publish("q", b"m")
    assert peer.bodies() == [b"m"]


def test_a_tag_can_be_used_once_on_a_channel(peer: Client) -> None:
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    peer.received()
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    assert peer.received() == [(0, ConnectionClose(530, "NOT_ALLOWED - attempt to reuse consumer tag 'c'", 60, 20))]


def test_a_tag_can_be_used_again_after_cancel_and_on_other_channels(peer: Client) -> None:
    peer.send(2, ChannelOpen())
    assert peer.call(1, BasicConsume(queue="q", consumer_tag="c")) == BasicConsumeOk("c")
    assert peer.call(2, BasicConsume(queue="q", consumer_tag="c")) == BasicConsumeOk("c")
    peer.send(1, BasicCancel("c"))
    assert peer.call(1, BasicConsume(queue="q", consumer_tag="c")) == BasicConsumeOk("c")


def test_a_channel_has_room_for_so_many_consumers() -> None:
    peer = Harness(limits=Limits(max_consumers_per_channel=2)).peer()
    peer.send(1, QueueDeclare(queue="q"))
    for tag in ("a", "b", "c"):
        peer.send(1, BasicConsume(queue="q", consumer_tag=tag))
    text = "NOT_ALLOWED - number of consumers on channel 1 has reached the maximum allowed of 2"
    assert peer.received()[-1] == (0, ConnectionClose(530, text, 60, 20))


def test_a_channel_has_room_for_any_number_of_consumers_by_default(peer: Client) -> None:
    peer.send_raw(b"".join(command(1, BasicConsume(queue="q", no_wait=True)) for _ in range(3000)))
    assert peer.call(1, QueueDeclare(queue="q", passive=True)) == QueueDeclareOk("q", 0, 3000)


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (True, True)])
def test_an_exclusive_consumer_is_alone(harness: Harness, peer: Client, first: bool, second: bool) -> None:
    peer.send(1, BasicConsume(queue="q", exclusive=first))
    other = harness.peer()
    assert other.call(1, BasicConsume(queue="q", exclusive=second)) == ChannelClose(
        403, "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use", 60, 20
    )


def test_a_queue_is_free_again_when_its_exclusive_consumer_has_cancelled(harness: Harness, peer: Client) -> None:
    peer.send(1, BasicConsume(queue="q", consumer_tag="c", exclusive=True))
    peer.send(1, BasicCancel("c"))
    assert harness.peer().call(1, BasicConsume(queue="q", consumer_tag="d")) == BasicConsumeOk("d")


def test_consuming_from_a_missing_queue_closes_the_channel(peer: Client) -> None:
    assert peer.call(1, BasicConsume(queue="p")) == ChannelClose(404, "NOT_FOUND - no queue 'p' in vhost '/'", 60, 20)


# deliver


def test_tags_count_up_from_one_across_the_consumers_of_a_channel(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="p"))
    peer.send(1, BasicConsume(queue="q", consumer_tag="a"))
    peer.send(1, BasicConsume(queue="p", consumer_tag="b"))
    peer.received()
    peer.publish("q", b"1")
    peer.publish("p", b"2")
    peer.publish("q", b"3")
    assert peer.received() == [
        (1, BasicDeliver("a", 1, False, "", "q")),
        (1, BasicDeliver("b", 2, False, "", "p")),
        (1, BasicDeliver("a", 3, False, "", "q")),
    ]


def test_messages_of_one_publisher_keep_their_order(peer: Client) -> None:
    peer.send(1, BasicConsume(queue="q", no_ack=True))
    bodies = [b"%d" % number for number in range(50)]
    peer.publish("q", *bodies)
    assert peer.bodies() == bodies


def test_consumers_take_turns(harness: Harness, peer: Client) -> None:
    for tag in ("a", "b", "c"):
        peer.send(1, BasicConsume(queue="q", consumer_tag=tag))
    peer.received()
    peer.publish("q", *[b"m"] * 6)
    assert tags(peer) == ["a", "b", "c", "a", "b", "c"]


def test_consumers_take_turns_in_a_backlog_too(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    peer.publish("q", *[b"m"] * 6)
    for client in (peer, other):
        client.send(1, BasicQos(0, 1))
        client.send(1, BasicConsume(queue="q", consumer_tag="c"))
    assert len(tags(peer)) == len(tags(other)) == 1


def test_a_consumer_without_credit_is_passed_over(peer: Client) -> None:
    peer.send(1, BasicQos(0, 1))
    peer.send(1, BasicConsume(queue="q", consumer_tag="a"))
    peer.send(2, ChannelOpen())
    peer.send(2, BasicConsume(queue="q", consumer_tag="b"))
    peer.received()
    peer.publish("q", *[b"m"] * 4)
    assert sorted(tags(peer)) == ["a", "b", "b", "b"]


def test_deliveries_without_ack_are_settled_at_once(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="d", durable=True))
    peer.send(1, BasicQos(0, 1))
    peer.send(1, BasicConsume(queue="d", no_ack=True))
    peer.publish("d", b"1", b"2", b"3", properties=BasicProperties(delivery_mode=2))
    harness.commit()
    assert peer.bodies() == [b"1", b"2", b"3"]
    assert harness.store.state.rows == {}


def test_a_message_whose_consumer_was_lost_is_redelivered(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    other.send(1, BasicConsume(queue="q", consumer_tag="o"))
    peer.publish("q", b"m")
    other.lose()
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    assert peer.received()[-1] == (1, BasicDeliver("c", 1, True, "", "q"))


def test_a_backlog_in_the_store_is_delivered_in_order() -> None:
    harness = Harness(queue_limits=QueueLimits(memory=2000, transient_memory=2000, window_size=4, read_ahead=3))
    peer = harness.peer()
    peer.send(1, QueueDeclare(queue="q", durable=True))
    bodies = [b"%d" % number for number in range(40)]
    peer.publish("q", *bodies[:20], properties=BasicProperties(delivery_mode=2))
    peer.publish("q", *bodies[20:])
    peer.send(1, BasicQos(0, 2))
    peer.send(1, BasicConsume(queue="q"))
    for tag in range(1, 41):
        peer.send(1, BasicAck(tag))
    assert peer.bodies() == bodies
    harness.commit()
    assert harness.store.state.rows == {}


# qos


def test_a_prefetch_size_is_not_implemented(peer: Client) -> None:
    peer.send(1, BasicQos(100, 1))
    assert peer.received() == [(0, ConnectionClose(540, "NOT_IMPLEMENTED - prefetch_size!=0 (100)", 60, 10))]


def test_a_prefetch_limits_each_consumer_by_itself(peer: Client) -> None:
    assert peer.call(1, BasicQos(0, 2)) == BasicQosOk()
    peer.send(1, BasicConsume(queue="q", consumer_tag="a"))
    peer.send(1, BasicConsume(queue="q", consumer_tag="b"))
    peer.received()
    peer.publish("q", *[b"m"] * 6)
    assert tags(peer) == ["a", "b", "a", "b"]
    peer.send(1, BasicAck(1))
    assert tags(peer) == ["a"]


def test_a_global_prefetch_is_shared_by_the_consumers_of_a_channel(peer: Client) -> None:
    peer.send(1, BasicConsume(queue="q", consumer_tag="a"))
    peer.send(1, BasicConsume(queue="q", consumer_tag="b"))
    peer.send(1, BasicQos(0, 3, True))
    peer.received()
    peer.publish("q", *[b"m"] * 6)
    assert tags(peer) == ["a", "b", "a"]
    peer.send(1, BasicAck(2, True))
    assert len(tags(peer)) == 2


def test_both_limits_hold_at_once(peer: Client) -> None:
    peer.send(1, BasicQos(0, 3, True))
    peer.send(1, BasicQos(0, 2))
    for tag in ("a", "b"):
        peer.send(1, BasicConsume(queue="q", consumer_tag=tag))
    peer.received()
    peer.publish("q", *[b"m"] * 6)
    assert tags(peer) == ["a", "b", "a"]


@pytest.mark.parametrize("is_global", [False, True])
def test_a_prefetch_can_be_raised_and_lifted_while_consuming(peer: Client, is_global: bool) -> None:
    peer.send(1, BasicQos(0, 1, is_global))
    peer.send(1, BasicConsume(queue="q", consumer_tag="a"))
    peer.publish("q", *[b"m"] * 5)
    assert len(tags(peer)) == 1
    peer.send(1, BasicQos(0, 3, is_global))
    assert len(tags(peer)) == 2
    peer.send(1, BasicQos(0, 0, is_global))
    assert len(tags(peer)) == 2


def test_a_lowered_prefetch_holds_until_enough_is_acknowledged(peer: Client) -> None:
    peer.send(1, BasicConsume(queue="q", consumer_tag="a"))
    peer.publish("q", *[b"m"] * 3)
    peer.send(1, BasicQos(0, 1))
    peer.received()
    peer.publish("q", b"m")
    peer.send(1, BasicAck(2, True))
    assert tags(peer) == []
    peer.send(1, BasicAck(3))
    assert tags(peer) == ["a"]


def test_a_returned_message_gives_its_credit_back(peer: Client) -> None:
    peer.send(1, BasicQos(0, 1))
    peer.send(1, BasicConsume(queue="q", consumer_tag="a"))
    peer.publish("q", b"1", b"2")
    peer.contents()
    peer.send(1, BasicNack(1))
    assert peer.bodies() == [b"1"]
    peer.send(1, BasicAck(2))
    assert peer.bodies() == [b"2"]


def test_a_prefetch_of_another_channel_does_not_matter(peer: Client) -> None:
    peer.send(2, ChannelOpen())
    peer.send(2, BasicQos(0, 1))
    peer.send(1, BasicConsume(queue="q", consumer_tag="a"))
    peer.received()
    peer.publish("q", *[b"m"] * 3)
    assert tags(peer) == ["a", "a", "a"]


# cancel


def test_cancel_is_answered_even_for_an_unknown_tag(peer: Client) -> None:
    assert peer.call(1, BasicCancel("nobody")) == BasicCancelOk("nobody")


def test_a_cancelled_consumer_gets_nothing_more_and_keeps_what_it_has(peer: Client) -> None:
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    peer.publish("q", b"1")
    assert peer.call(1, BasicCancel("c")) == BasicCancelOk("c")
    peer.publish("q", b"2")
    assert peer.bodies() == [b"1"]
    assert peer.call(1, QueueDeclare(queue="q", passive=True)) == QueueDeclareOk("q", 1, 0)
    peer.send(1, BasicAck(1))
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(2, False, "", "q", 0)


def test_cancel_without_wait_is_not_answered(peer: Client) -> None:
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    peer.received()
    peer.send(1, BasicCancel("c", True))
    assert peer.received() == []


def test_consumers_of_a_deleted_queue_are_told_if_they_understand_it(harness: Harness, peer: Client) -> None:
    capable, other = harness.peer(["consumer_cancel_notify"]), harness.peer([])
    for client in (capable, other):
        client.send(1, BasicConsume(queue="q", consumer_tag="c"))
        client.received()
    peer.publish("q", b"m")
    capable.received()
    assert peer.call(1, QueueDelete(queue="q")) == QueueDeleteOk(0)
    assert capable.received() == [(1, BasicCancel("c", True))]
    assert other.received() == []
    capable.send(1, BasicAck(1))
    assert capable.call(1, BasicCancel("c")) == BasicCancelOk("c")


def test_who_deletes_the_queue_of_its_own_consumer_is_answered_before_it_is_told(harness: Harness) -> None:
    peer = harness.peer(["consumer_cancel_notify"])
    for queue, tag in (("q", "c"), ("r", "d")):
        peer.call(1, QueueDeclare(queue=queue))
        peer.call(1, BasicConsume(queue=queue, consumer_tag=tag))
    peer.send(1, QueueDelete(queue="q"))
    peer.send(1, QueueDelete(queue="r", no_wait=True))
    peer.send(1, BasicQos())
    assert [method for _, method in peer.received()] == [
        QueueDeleteOk(0),
        BasicCancel("c", True),
        BasicCancel("d", True),
        BasicQosOk(),
    ]


@pytest.mark.parametrize("end", [ChannelClose(), BasicAck(9)])
def test_an_ended_channel_leaves_no_consumer_behind(harness: Harness, peer: Client, end: Method) -> None:
    peer.send(1, BasicConsume(queue="q"))
    peer.send(1, end)
    assert harness.peer().call(1, QueueDeclare(queue="q")) == QueueDeclareOk("q", 0, 0)


# What consumers remember


def test_what_all_consumers_remember_of_routing_keys_is_bounded_together(harness: Harness) -> None:
    harness.broker.caches = CacheBudget(50_000)
    peer = harness.peer()
    for name in ("a", "b", "c"):
        peer.send(1, QueueDeclare(queue=name))
        peer.send(1, QueueBind(queue=name, exchange="amq.fanout"))
        peer.send(1, BasicConsume(queue=name, consumer_tag=name, no_ack=True))
    peer.received()
    keys = [str(number).rjust(245, "k") for number in range(100)]
    for key in keys:
        peer.publish(key, b"m", exchange="amq.fanout")
        assert harness.broker.caches.spent <= 50_000
    delivered = [(method.consumer_tag, method.routing_key) for _, method in peer.received()]
    assert sorted(delivered) == sorted((name, key) for name in ("a", "b", "c") for key in keys)


# What messages weigh


def test_headers_count_in_what_is_put_into_the_output_at_once(harness: Harness) -> None:
    peer, slow = harness.peer(), harness.peer()
    peer.send(1, QueueDeclare(queue="q"))
    large = BasicProperties(headers=FieldTable.of({"large": "x" * 100_000}))
    for _ in range(40):
        peer.send(1, BasicPublish(routing_key="q"), large, b"")
    slow.reads = False
    slow.send(1, BasicConsume(queue="q", no_ack=True))
    assert 1_000_000 < sum(map(len, slow.connection.output.buffer)) < 1_300_000
    assert harness.vhost.queues["q"].ready_count > 25


def test_headers_count_in_what_of_a_queue_lies_in_memory() -> None:
    harness = Harness(queue_limits=QueueLimits(memory=300_000, transient_memory=300_000, window_size=10))
    peer = harness.peer()
    peer.send(1, QueueDeclare(queue="q"))
    large = BasicProperties(headers=FieldTable.of({"large": "x" * 50_000}))
    for _ in range(100):
        peer.send(1, BasicPublish(routing_key="q"), large, b"")
    queue = harness.vhost.queues["q"]
    assert queue.ready_count == 100
    assert sum(message.weight for message in queue.ready) < 400_000


# Priorities


def consume(client: Client, tag: str, priority: int, *, channel: int = 1, no_ack: bool = False) -> None:
    arguments = FieldTable.of({"x-priority": priority})
    client.send(channel, BasicConsume(queue="q", consumer_tag=tag, no_ack=no_ack, arguments=arguments))


def test_consumers_of_a_higher_priority_come_first_while_they_have_credit(harness: Harness, peer: Client) -> None:
    other = harness.peer()
    for client, tag, priority in ((peer, "low", 0), (other, "high", 10)):
        client.send(1, BasicQos(0, 2))
        consume(client, tag, priority)
        client.received()
    peer.publish("q", *[b"m"] * 5)
    assert (tags(peer), tags(other)) == (["low", "low"], ["high", "high"])
    other.send(1, BasicAck(2, True))
    assert (tags(peer), tags(other)) == ([], ["high"])


def test_consumers_of_one_channel_that_share_a_prefetch_are_served_by_priority(peer: Client) -> None:
    peer.send(1, BasicQos(0, 1, True))
    for tag, priority in (("low", 1), ("high", 2)):
        consume(peer, tag, priority)
    peer.received()
    for number in range(4):
        peer.publish("q", b"m", b"m")
        assert tags(peer) == (["high"] if number == 0 else [])
        peer.send(1, BasicAck(number + 1, False))
        assert tags(peer) == ["high"]


def test_a_priority_that_is_no_integer_is_refused(peer: Client) -> None:
    peer.send(1, BasicConsume(queue="q", arguments=FieldTable.of({"x-priority": "high"})))
    text = (
        "PRECONDITION_FAILED - invalid arg 'x-priority' for queue 'q' in vhost '/': \"expected integer, got longstr\""
    )
    assert peer.received() == [(1, ChannelClose(406, text, 60, 20))]


# Single active consumer


@pytest.fixture
def single(harness: Harness) -> Client:
    """Channel 1 has declared the classic queue q, and the quorum queue qq, with a single active consumer."""
    peer = harness.peer()
    for name, type in (("q", "classic"), ("qq", "quorum")):
        table = FieldTable.of({"x-single-active-consumer": True, "x-queue-type": type})
        peer.send(1, QueueDeclare(queue=name, durable=True, arguments=table))
    peer.send(2, ChannelOpen())
    peer.received()
    return peer


def test_a_single_active_consumer_is_followed_by_the_highest_priority(harness: Harness, single: Client) -> None:
    for tag, priority in (("first", 0), ("low", 1), ("high", 2)):
        consume(single, tag, priority)
    single.received()
    single.publish("q", b"1")
    assert tags(single) == ["first"]
    single.send(1, BasicCancel("first"))
    single.publish("q", b"2")
    assert tags(single) == ["high"]
    single.send(1, BasicCancel("high"))
    single.publish("q", b"3")
    assert tags(single) == ["low"]


def test_in_a_quorum_queue_a_higher_priority_takes_over_when_the_active_one_holds_nothing(single: Client) -> None:
    single.send(1, BasicConsume(queue="qq", consumer_tag="first"))
    single.received()
    single.publish("qq", b"1", b"2")
    assert tags(single) == ["first", "first"]
    single.send(2, BasicConsume(queue="qq", consumer_tag="high", arguments=FieldTable.of({"x-priority": 1})))
    single.publish("qq", b"3")
    assert tags(single) == []
    single.send(1, BasicAck(1, False))
    assert tags(single) == []
    single.send(1, BasicNack(2, False, True))
    assert tags(single) == ["high", "high"]


def test_an_exclusive_consumer_is_refused_beside_a_single_active_one(single: Client) -> None:
    single.send(1, BasicConsume(queue="q", exclusive=True))
    text = "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"
    assert single.received() == [(1, ChannelClose(403, text, 60, 20))]
