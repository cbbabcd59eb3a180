"""Priorities of messages, as clients see them (contract F9)."""

from __future__ import annotations

import pytest

from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicGet,
    BasicGetOk,
    BasicNack,
    BasicQos,
    ConfirmSelect,
    ExchangeDeclare,
    Method,
    QueueBind,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
    QueueDeleteOk,
    QueuePurge,
    QueuePurgeOk,
    TxCommit,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from tests.support.harness import Client, Harness
from tests.unit.amqp.test_channel_dead_letters import fetch
from tests.unit.amqp.test_channel_ttl import declare, everything, ready, stored


def publish(peer: Client, *messages: tuple[bytes, int | None], mode: int | None = None) -> None:
    for body, priority in messages:
        peer.publish("q", body, properties=BasicProperties(priority=priority, delivery_mode=mode))


@pytest.mark.parametrize("mode", [None, 2])
def test_the_highest_comes_first_and_a_level_keeps_its_order(harness: Harness, peer: Client, mode: int | None) -> None:
    declare(peer, max_priority=10)
    publish(peer, (b"a", 1), (b"b", 5), (b"c", None), (b"d", 5), (b"e", 200), (b"f", 10), mode=mode)
    harness.commit()
    assert ready(peer) == 6
    assert everything(peer) == [b"e", b"f", b"b", b"d", b"a", b"c"]
    harness.commit()
    assert stored(harness) == 0


def test_a_queue_without_the_argument_knows_no_priorities(harness: Harness, peer: Client) -> None:
    declare(peer)
    publish(peer, (b"a", 1), (b"b", 5))
    assert everything(peer) == [b"a", b"b"]


def test_priorities_may_be_none(harness: Harness, peer: Client) -> None:
    declare(peer, max_priority=0)
    publish(peer, (b"a", 1), (b"b", 5))
    assert everything(peer) == [b"a", b"b"]


def test_a_consumer_gets_the_next_of_the_highest_level_as_it_acknowledges(harness: Harness, peer: Client) -> None:
    declare(peer, max_priority=10)
    publish(peer, (b"a", 0), (b"b", 1), (b"c", 0))
    peer.send(1, BasicQos(0, 1))
    peer.send(1, BasicConsume(queue="q"))
    assert peer.bodies() == [b"b"]
    publish(peer, (b"d", 9), (b"e", 1))
    for tag in range(1, 5):
        peer.send(1, BasicAck(tag))
    assert peer.bodies() == [b"d", b"e", b"a", b"c"]
    peer.send(1, BasicAck(5))
    assert ready(peer) == 0


def test_what_is_given_back_has_its_place_in_its_level(harness: Harness, peer: Client) -> None:
    declare(peer, max_priority=10)
    publish(peer, (b"a", 5), (b"b", 5), (b"c", 1), (b"d", 5))
    peer.send(1, BasicQos(0, 2))
    peer.send(1, BasicConsume(queue="q"))
    assert peer.bodies() == [b"a", b"b"]
    peer.send(1, BasicNack(2, False, True))
    assert peer.bodies() == [b"b"], "it is the next again"
    peer.send(1, BasicAck(3))
    peer.send(1, BasicAck(1))
    assert peer.bodies() == [b"d", b"c"]


def test_confirms_come_for_every_level(harness: Harness, peer: Client) -> None:
    declare(peer, max_priority=10)
    peer.send(1, ConfirmSelect())
    peer.received()
    publish(peer, (b"a", 1), (b"b", 5), mode=2)
    harness.commit()
    assert _answers(peer) == [BasicAck(2, True)]


def test_a_fanout_puts_a_message_on_its_level_of_each_queue(harness: Harness, peer: Client) -> None:
    declare(peer, max_priority=10)
    declare(peer, "plain")
    peer.send(1, ExchangeDeclare(exchange="all", type="fanout"))
    for name in ("q", "plain"):
        peer.send(1, QueueBind(queue=name, exchange="all"))
    peer.received()
    for body, priority in ((b"a", 1), (b"b", 9)):
        peer.publish("", body, exchange="all", properties=BasicProperties(priority=priority, delivery_mode=2))
    harness.commit()
    assert everything(peer) == [b"b", b"a"]
    assert everything(peer, "plain") == [b"a", b"b"]


@pytest.mark.parametrize("mode", [None, 2])
def test_the_messages_of_a_transaction_have_their_levels(harness: Harness, peer: Client, mode: int | None) -> None:
    declare(peer, max_priority=10)
    peer.send(1, TxSelect())
    publish(peer, (b"a", 1), (b"b", 5), (b"c", 1), mode=mode)
    peer.send(1, TxCommit())
    harness.commit()
    peer.received()
    other = harness.peer()
    assert everything(other) == [b"b", b"a", b"c"]


def test_a_dead_letter_keeps_its_priority(harness: Harness, peer: Client) -> None:
    declare(peer, max_priority=10)
    declare(peer, "dying", dead_letter_exchange="", dead_letter_routing_key="q", max_length=0)
    for body, priority in ((b"a", 1), (b"b", 9)):
        peer.publish("dying", body, properties=BasicProperties(priority=priority, delivery_mode=2))
    harness.commit()
    harness.commit()
    assert everything(peer) == [b"b", b"a"]


def test_drop_head_drops_what_would_come_next(harness: Harness, peer: Client) -> None:
    declare(peer, "dead")
    declare(peer, max_priority=10, max_length=2, dead_letter_exchange="", dead_letter_routing_key="dead")
    publish(peer, (b"low", 1), (b"high", 9), (b"new", 1))
    harness.commit()
    assert fetch(peer, "dead")[1].body == b"high"
    assert everything(peer) == [b"low", b"new"]


def test_a_full_queue_refuses_messages_of_every_priority(harness: Harness, peer: Client) -> None:
    declare(peer, max_priority=10, max_length=1, overflow="reject-publish")
    peer.send(1, ConfirmSelect())
    peer.received()
    publish(peer, (b"a", 1), (b"b", 9))
    assert _answers(peer) == [BasicAck(1), BasicNack(2, False, False)]
    assert everything(peer) == [b"a"]


def test_all_levels_are_purged_and_deleted(harness: Harness, peer: Client) -> None:
    declare(peer, max_priority=3)
    publish(peer, (b"a", 1), (b"b", 3), mode=2)
    harness.commit()
    peer.send(1, QueuePurge(queue="q"))
    assert _answers(peer) == [QueuePurgeOk(2)]
    publish(peer, (b"a", 1), (b"b", 3), mode=2)
    harness.commit()
    peer.send(1, QueueDelete(queue="q"))
    assert _answers(peer) == [QueueDeleteOk(2)]
    harness.commit()
    assert stored(harness) == 0


def test_a_queue_takes_the_room_of_its_levels(harness: Harness, peer: Client) -> None:
    vhost = harness.vhost
    assert vhost.routing.level_count == len(vhost.queues)
    declare(peer, max_priority=9)
    assert vhost.routing.level_count == len(vhost.queues) + 9
    peer.send(1, QueueDelete(queue="q"))
    assert vhost.routing.level_count == len(vhost.queues)


def test_passive_declares_see_all_levels(peer: Client) -> None:
    declare(peer, max_priority=9)
    publish(peer, (b"a", 1), (b"b", 9))
    peer.send(1, QueueDeclare(queue="q", passive=True))
    assert _answers(peer) == [QueueDeclareOk("q", 2, 0)]
    peer.send(1, BasicGet(queue="q", no_ack=True))
    (answer,) = _answers(peer)
    assert isinstance(answer, BasicGetOk)
    assert answer.message_count == 1


def _answers(peer: Client) -> list[Method]:
    return [method for _, method in peer.received()]
