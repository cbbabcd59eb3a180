"""Queues with a length: contract F6 to F8, P4, T4."""

from __future__ import annotations

import pytest

from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicGet,
    BasicNack,
    BasicQos,
    ChannelClose,
    ChannelCloseOk,
    ChannelOpen,
    ConfirmSelect,
    ExchangeDeclare,
    QueueBind,
    TxCommit,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from broker.queue.settings import QueueLimits
from tests.support.harness import Client, Harness
from tests.unit.amqp.test_channel_dead_letters import deaths, fetch
from tests.unit.amqp.test_channel_ttl import declare, everything, ready, stored

PERSISTENT = BasicProperties(delivery_mode=2)


@pytest.mark.parametrize("properties", [BasicProperties(), PERSISTENT])
def test_the_oldest_leave_a_queue_that_is_too_long(harness: Harness, peer: Client, properties: BasicProperties) -> None:
    declare(peer, max_length=3)
    peer.publish("q", *[b"%d" % number for number in range(10)], properties=properties)
    harness.commit()
    assert ready(peer) == 3
    assert everything(peer) == [b"7", b"8", b"9"]
    harness.commit()
    assert stored(harness) == 0


def test_a_queue_of_no_length_passes_messages_on(harness: Harness, peer: Client) -> None:
    declare(peer, max_length=0)
    peer.publish("q", b"lost")
    peer.send(1, BasicConsume(queue="q", no_ack=True))
    peer.publish("q", b"seen")
    assert peer.bodies() == [b"seen"]


def test_octets_of_bodies_are_counted_wherever_they_lie() -> None:
    harness = Harness(queue_limits=QueueLimits(memory=3000, transient_memory=3000, window_size=4, read_ahead=4))
    peer = declare(harness.peer(), max_length_bytes=1000)
    for number in range(30):
        peer.publish("q", b"%02d" % number * 50, properties=PERSISTENT)
        harness.commit()
    for _ in range(20):
        harness.commit()
    assert ready(peer) == 10
    assert harness.vhost.queues["q"].ready_octets == 1000
    assert everything(peer) == [b"%02d" % number * 50 for number in range(20, 30)]
    assert harness.vhost.queues["q"].ready_octets == 0


def test_octets_that_consumers_hold_do_not_count(harness: Harness, peer: Client) -> None:
    declare(peer, max_length_bytes=10)
    peer.send(1, BasicQos(0, 2))
    peer.send(1, BasicConsume(queue="q"))
    peer.publish("q", *[b"0123456789"] * 4)
    assert len(peer.bodies()) == 2
    assert ready(peer) == 1
    peer.send(1, BasicNack(0, True, True))
    assert (ready(peer), harness.vhost.queues["q"].ready_octets) == (1, 10), "two are with the consumer again"


def test_what_is_too_much_becomes_a_dead_letter(harness: Harness, peer: Client) -> None:
    declare(peer, "dead")
    declare(peer, max_length=1, dead_letter_exchange="", dead_letter_routing_key="dead")
    peer.publish("q", b"a", b"b", properties=PERSISTENT)
    harness.commit()
    _, content = fetch(peer, "dead")
    assert content.body == b"a"
    assert deaths(content)[0]["reason"] == "maxlen"


def test_a_full_queue_refuses_publishes(harness: Harness, peer: Client) -> None:
    declare(peer, max_length=2, overflow="reject-publish")
    peer.call(1, ConfirmSelect())
    peer.publish("q", b"1", b"2", b"3", b"4")
    assert [method for _, method in peer.received()] == [
        BasicAck(1),
        BasicAck(2),
        BasicNack(3, False, False),
        BasicNack(4, False, False),
    ]
    peer.call(1, BasicGet(queue="q", no_ack=True))
    assert peer.bodies() == [b"1"]
    peer.publish("q", b"5")
    assert [method for _, method in peer.received()] == [BasicAck(5)]
    assert everything(peer) == [b"2", b"5"]


def test_a_refusal_comes_in_its_turn(harness: Harness, peer: Client) -> None:
    declare(peer, max_length=1, overflow="reject-publish")
    peer.call(1, ConfirmSelect())
    peer.publish("q", b"1", b"2", properties=PERSISTENT)
    assert peer.received() == []
    harness.commit()
    assert [method for _, method in peer.received()] == [BasicAck(1), BasicNack(2, False, False)]


def test_a_full_queue_refuses_silently_without_confirms(harness: Harness, peer: Client) -> None:
    declare(peer, max_length_bytes=10, overflow="reject-publish")
    peer.publish("q", b"12345678901", b"123456789", b"0", b"x")
    assert peer.received() == []
    assert everything(peer) == [b"123456789", b"0"]


def test_a_consumer_with_credit_makes_room(harness: Harness, peer: Client) -> None:
    declare(peer, max_length=0, overflow="reject-publish")
    peer.call(1, ConfirmSelect())
    peer.publish("q", b"1")
    assert [method for _, method in peer.received()] == [BasicNack(1, False, False)]


def test_a_publish_that_one_queue_refuses_is_in_the_others(harness: Harness, peer: Client) -> None:
    peer.call(1, ExchangeDeclare(exchange="x", type="fanout"))
    declare(peer, "full", max_length=0, overflow="reject-publish")
    declare(peer, "roomy")
    for name in ("full", "roomy"):
        peer.call(1, QueueBind(queue=name, exchange="x"))
    peer.call(1, ConfirmSelect())
    peer.publish("", b"m", exchange="x", properties=PERSISTENT)
    harness.commit()
    assert [method for _, method in peer.received()] == [BasicNack(1, False, False)]
    assert ready(peer, "roomy") == 1


def test_what_is_refused_can_become_a_dead_letter(harness: Harness, peer: Client) -> None:
    declare(peer, "dead")
    declare(
        peer,
        max_length=1,
        overflow="reject-publish-dlx",
        dead_letter_exchange="",
        dead_letter_routing_key="dead",
    )
    peer.call(1, ConfirmSelect())
    peer.publish("q", b"a", b"b", properties=PERSISTENT)
    harness.commit()
    assert [method for _, method in peer.received()] == [BasicAck(1), BasicNack(2, False, False)]
    _, content = fetch(peer, "dead")
    assert content.body == b"b"
    assert deaths(content)[0]["reason"] == "maxlen"


def test_a_commit_that_a_queue_refuses_in_part_fails(harness: Harness, peer: Client) -> None:
    declare(peer, max_length=0, overflow="reject-publish")
    declare(peer, "other")
    peer.call(1, TxSelect())
    peer.publish("q", b"m", properties=PERSISTENT)
    peer.publish("other", b"m", properties=PERSISTENT)
    answer = peer.call(1, TxCommit())
    assert isinstance(answer, ChannelClose)
    assert (answer.reply_code, answer.reply_text) == (406, "PRECONDITION_FAILED - partial tx completion")
    assert harness.vhost.queues["other"].ready_count == 1


@pytest.mark.parametrize("properties", [BasicProperties(), PERSISTENT])
def test_the_publishes_of_one_commit_meet_the_limit_together(peer: Client, properties: BasicProperties) -> None:
    declare(peer, max_length=2, overflow="reject-publish")
    peer.call(1, TxSelect())
    peer.publish("q", b"1", b"2", b"3", b"4", properties=properties)
    assert isinstance(peer.call(1, TxCommit()), ChannelClose)
    peer.send(1, ChannelCloseOk())
    peer.send(1, ChannelOpen())
    peer.received()
    assert everything(peer) == [b"1", b"2"]


def test_many_queues_that_refuse_a_publish_are_looked_at_once(harness: Harness, peer: Client) -> None:
    peer.call(1, ExchangeDeclare(exchange="x", type="fanout"))
    for number in range(60):
        declare(peer, f"q{number}", max_length=0 if number % 2 else 1, overflow="reject-publish")
        peer.call(1, QueueBind(queue=f"q{number}", exchange="x"))
    peer.call(1, ConfirmSelect())
    peer.publish("", b"m", exchange="x")
    assert [method for _, method in peer.received()] == [BasicNack(1, False, False)]
    assert sum(queue.ready_count for queue in harness.vhost.queues.values()) == 30
