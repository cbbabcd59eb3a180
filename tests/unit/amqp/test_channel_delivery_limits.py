"""Limits of deliveries as clients see them: `x-max-unacked` and `x-max-rate` (ADR 84)."""

from __future__ import annotations

from decimal import Decimal

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.methods import BasicAck, BasicConsume, BasicNack, BasicQos, ChannelClose, QueueDeclare
from broker.codec.properties import BasicProperties
from broker.ports.records import Drop, PolicyKey, PolicyRecord, Put
from tests.support.harness import Client, Harness


def declare(peer: Client, **arguments: object) -> None:
    table = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    peer.send(1, QueueDeclare(queue="q", durable=True, arguments=FieldTable.of(table)))
    peer.received()


def consume(peer: Client, *, no_ack: bool = False, prefetch: int = 0) -> None:
    peer.send(1, BasicQos(0, prefetch))
    peer.send(1, BasicConsume(queue="q", no_ack=no_ack))
    peer.received()


def publish(peer: Client, count: int, priority: int | None = None) -> None:
    peer.publish("q", *[b"%d" % number for number in range(count)], properties=BasicProperties(priority=priority))


def test_all_consumers_together_hold_no_more_than_the_limit(harness: Harness, peer: Client) -> None:
    declare(peer, max_unacked=3)
    other = harness.peer()
    consume(peer)
    consume(other)
    publish(peer, 10)
    mine, others = peer.bodies(), other.bodies()
    assert len(mine) + len(others) == 3
    assert min(len(mine), len(others)) == 1
    peer.send(1, BasicAck(0, multiple=True))
    assert len(peer.bodies()) + len(other.bodies()) == len(mine)


def test_what_is_given_back_makes_room_for_others(harness: Harness, peer: Client) -> None:
    declare(peer, max_unacked=1)
    consume(peer)
    publish(peer, 2)
    assert peer.bodies() == [b"0"]
    peer.send(1, BasicNack(1, requeue=True))
    assert peer.bodies() == [b"0"]


def test_messages_come_at_the_rate_of_the_queue(harness: Harness, peer: Client) -> None:
    declare(peer, max_rate=10)
    consume(peer)
    publish(peer, 30)
    got = [len(peer.bodies())]
    for _ in range(10):
        harness.pass_time(0.1)
        got.append(len(peer.bodies()))
    assert got == [1] * 11


@pytest.mark.parametrize("rate", [2.5, Decimal("2.5")])
def test_a_rate_holds_for_consumers_that_acknowledge_nothing(harness: Harness, peer: Client, rate: object) -> None:
    declare(peer, max_rate=rate)
    consume(peer, no_ack=True)
    publish(peer, 30)
    for _ in range(40):
        harness.pass_time(0.1)
    assert len(peer.bodies()) == 11


def test_a_rate_holds_for_all_levels_of_a_queue_with_priorities(harness: Harness, peer: Client) -> None:
    declare(peer, max_rate=10, max_priority=5, max_unacked=4)
    for priority in (1, 5, 3):
        publish(peer, 2, priority)
    consume(peer)
    for _ in range(20):
        harness.pass_time(0.1)
    assert len(peer.bodies()) == 4
    peer.send(1, BasicAck(0, multiple=True))
    for _ in range(20):
        harness.pass_time(0.1)
    assert len(peer.bodies()) == 2


def test_the_smaller_rate_of_policy_and_argument_holds(harness: Harness, peer: Client) -> None:
    declare(peer, max_rate=Decimal("2.5"))
    queue = harness.vhost.queues["q"]
    for of_policy, holds in ((b"9", 2.5), (b"0.5", 0.5)):
        harness.live.apply(Put(PolicyRecord("/", "p", pattern=".*", definition=b'{"max-rate": %s}' % of_policy)))
        assert queue.settings.max_rate == holds


def test_a_policy_limits_a_queue_that_is_there_and_frees_it_again(harness: Harness, peer: Client) -> None:
    declare(peer)
    harness.live.apply(Put(PolicyRecord("/", "slow", pattern=".*", definition=b'{"max-unacked": 2}')))
    consume(peer)
    publish(peer, 5)
    assert peer.bodies() == [b"0", b"1"]
    harness.live.apply(Put(PolicyRecord("/", "slow", pattern=".*", definition=b'{"max-unacked": 4}')))
    harness.run()
    assert peer.bodies() == [b"2", b"3"]
    harness.live.apply(Drop(PolicyKey("/", "slow")))
    harness.run()
    assert peer.bodies() == [b"4"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"x-max-unacked": 0}, "a whole number from 1 on is needed, not 0"),
        ({"x-max-unacked": "3"}, "a whole number from 1 on is needed, not '3'"),
        ({"x-max-rate": 0}, "a number of messages per second, 0.000001 to 1000000000, is needed, not 0"),
        (
            {"x-max-rate": Decimal("-0.5")},
            "a number of messages per second, 0.000001 to 1000000000, is needed, not -0.5",
        ),
        ({"x-max-rate": 1e-320}, "a number of messages per second, 0.000001 to 1000000000, is needed, not 1e-320"),
        ({"x-max-rate": True}, "a number of messages per second, 0.000001 to 1000000000, is needed, not true"),
        ({"x-max-rate": "fast"}, "a number of messages per second, 0.000001 to 1000000000, is needed, not 'fast'"),
    ],
)
def test_limits_that_are_none_are_refused(peer: Client, arguments: dict[str, object], text: str) -> None:
    answer = peer.call(1, QueueDeclare(queue="q", arguments=FieldTable.of(arguments)))
    assert isinstance(answer, ChannelClose)
    assert answer.reply_code == 406
    assert text in answer.reply_text
