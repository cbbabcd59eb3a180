"""Deliveries that are not answered in time: contract B30."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from broker.codec.field_table import FieldTable
from broker.codec.method import Method
from broker.codec.methods import (
    BasicAck,
    BasicCancel,
    BasicConsume,
    BasicDeliver,
    BasicGet,
    BasicGetEmpty,
    BasicGetOk,
    BasicNack,
    BasicQos,
    BasicReject,
    ChannelClose,
    TxCommit,
    TxRollback,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from tests.support.harness import Client, Harness
from tests.unit.amqp.test_channel_ttl import declare, stored

PERSISTENT = BasicProperties(delivery_mode=2)
LATE = 1.1


@pytest.fixture
def peer(harness: Harness) -> Client:
    return declare(harness.peer(), consumer_timeout=1000)


def say(peer: Client, *methods: Method) -> None:
    for method in methods:
        peer.send(1, method)


def tags(peer: Client) -> list[tuple[int, bool]]:
    return [
        (method.delivery_tag, method.redelivered)
        for _, method in peer.received()
        if isinstance(method, (BasicDeliver, BasicGetOk))
    ]


def test_a_delivery_without_an_answer_is_taken_back_alone_and_its_channel_lives(harness: Harness, peer: Client) -> None:
    peer.publish("q", b"one")
    peer.call(1, BasicGet(queue="q"))
    harness.pass_time(0.6)
    peer.publish("q", b"two")
    peer.call(1, BasicGet(queue="q"))
    harness.pass_time(0.5)
    peer.contents()
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(3, True, "", "q", 0)
    assert peer.bodies() == [b"one"]


def test_nothing_is_taken_back_before_its_time(harness: Harness, peer: Client) -> None:
    peer.publish("q", b"m")
    peer.call(1, BasicGet(queue="q"))
    harness.pass_time(0.999)
    assert peer.call(1, BasicGet(queue="q")) == BasicGetEmpty()


def test_a_queue_without_a_timeout_waits_for_ever(harness: Harness) -> None:
    peer = declare(harness.peer())
    peer.publish("q", b"m")
    peer.call(1, BasicGet(queue="q"))
    harness.pass_time(1e7)
    assert peer.call(1, BasicGet(queue="q")) == BasicGetEmpty()


def test_what_was_answered_or_needs_no_answer_is_not_taken_back(harness: Harness, peer: Client) -> None:
    peer.publish("q", b"1", b"2", b"3")
    for no_ack in (False, True, False):
        peer.call(1, BasicGet(queue="q", no_ack=no_ack))
    say(peer, BasicAck(1), BasicReject(3, False))
    harness.pass_time(LATE)
    assert peer.call(1, BasicGet(queue="q")) == BasicGetEmpty()


def test_a_consumer_has_room_again_and_another_one_may_get_the_message(harness: Harness, peer: Client) -> None:
    say(peer, BasicQos(0, 1, False), BasicConsume(queue="q", consumer_tag="stuck"))
    other = harness.peer()
    say(other, BasicQos(0, 1, False), BasicConsume(queue="q", consumer_tag="other"))
    peer.publish("q", b"1", b"2", b"3")
    assert (tags(peer), tags(other)) == ([(1, False)], [(1, False)])
    other.send(1, BasicAck(1))
    assert tags(other) == [(2, False)]
    harness.pass_time(0.5)
    other.send(1, BasicAck(2))
    harness.pass_time(0.6)
    assert tags(peer) + tags(other) in ([(2, True)], [(3, True)])


LATE_ANSWERS: list[Callable[[], list[Method]]] = [
    lambda: [BasicAck(1)],
    lambda: [BasicAck(1, True)],
    lambda: [BasicAck(0, True)],
    lambda: [BasicReject(1, True)],
    lambda: [BasicReject(1, False)],
    lambda: [BasicNack(1, True, False)],
    lambda: [TxSelect(), BasicAck(1), TxCommit()],
    lambda: [TxSelect(), BasicAck(1, True), TxCommit()],
]


@pytest.mark.parametrize("answers", LATE_ANSWERS)
def test_a_late_answer_is_ignored_and_a_second_one_is_not(
    harness: Harness, peer: Client, answers: Callable[[], list[Method]]
) -> None:
    peer.publish("q", b"m", properties=PERSISTENT)
    harness.commit()
    peer.call(1, BasicGet(queue="q"))
    harness.pass_time(LATE)
    say(peer, *answers())
    harness.commit()
    assert peer.call(1, BasicGet(queue="q", no_ack=True)) == BasicGetOk(2, True, "", "q", 0)
    harness.commit()
    assert stored(harness) == 0
    peer.received()
    peer.send(1, BasicAck(1))
    assert [type(method) for _, method in peer.received()] == [ChannelClose]


def test_a_run_of_answers_goes_on_behind_a_late_one(harness: Harness, peer: Client) -> None:
    peer.publish("q", b"1", properties=PERSISTENT)
    peer.send(1, BasicConsume(queue="q"))
    harness.pass_time(0.9)
    peer.publish("q", b"2", properties=PERSISTENT)
    harness.pass_time(0.2)
    assert tags(peer) == [(1, False), (2, False), (3, True)]
    say(peer, BasicAck(1), BasicAck(2), BasicAck(3))
    harness.commit()
    assert (peer.received(), stored(harness)) == ([], 0)


def test_one_answer_to_late_and_other_deliveries_settles_the_others(harness: Harness, peer: Client) -> None:
    peer.publish("q", b"1", properties=PERSISTENT)
    peer.send(1, BasicConsume(queue="q"))
    harness.pass_time(LATE)
    assert tags(peer) == [(1, False), (2, True)]
    peer.send(1, BasicAck(2, True))
    harness.commit()
    assert (peer.received(), stored(harness)) == ([], 0)


def test_what_a_transaction_has_settled_is_not_taken_back(harness: Harness, peer: Client) -> None:
    peer.publish("q", b"1", b"2", properties=PERSISTENT)
    harness.commit()
    for _ in range(2):
        peer.call(1, BasicGet(queue="q"))
    say(peer, TxSelect(), BasicAck(1))
    harness.pass_time(LATE)
    peer.send(1, TxCommit())
    harness.commit()
    peer.received()
    assert stored(harness) == 1
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(3, True, "", "q", 0)


def test_a_rollback_leaves_what_is_late_with_the_channel(harness: Harness, peer: Client) -> None:
    peer.publish("q", b"m")
    peer.call(1, BasicGet(queue="q"))
    say(peer, TxSelect(), BasicAck(1))
    harness.pass_time(LATE)
    say(peer, TxRollback(), BasicAck(1), TxCommit())
    assert not [method for _, method in peer.received() if isinstance(method, ChannelClose)]


def test_a_delivery_that_is_taken_back_counts(harness: Harness) -> None:
    peer = declare(harness.peer(), consumer_timeout=1000, delivery_limit=1)
    peer.publish("q", b"m")
    for _ in range(2):
        assert isinstance(peer.call(1, BasicGet(queue="q")), BasicGetOk)
        harness.pass_time(LATE)
    assert peer.call(1, BasicGet(queue="q")) == BasicGetEmpty()


def test_a_closed_channel_is_asked_for_nothing(harness: Harness, peer: Client) -> None:
    peer.publish("q", b"m")
    other = harness.peer()
    other.call(1, BasicGet(queue="q"))
    other.lose()
    harness.pass_time(LATE)
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(1, True, "", "q", 0)


def test_a_consumer_may_ask_for_a_timeout_of_its_own(harness: Harness) -> None:
    peer = declare(harness.peer())
    arguments = FieldTable.of({"x-consumer-timeout": 500})
    peer.call(1, BasicConsume(queue="q", consumer_tag="quick", arguments=arguments))
    peer.publish("q", b"one")
    assert tags(peer) == [(1, False)]
    peer.call(1, BasicCancel(consumer_tag="quick"))
    harness.pass_time(0.6)
    peer.send(1, BasicConsume(queue="q", consumer_tag="slow"))
    assert tags(peer) == [(2, True)]
    harness.pass_time(10)
    assert tags(peer) == []


def test_the_timeout_of_a_consumer_comes_before_that_of_its_queue(harness: Harness, peer: Client) -> None:
    arguments = FieldTable.of({"x-consumer-timeout": 5000})
    peer.call(1, BasicConsume(queue="q", arguments=arguments))
    peer.publish("q", b"one")
    harness.pass_time(2)
    assert tags(peer) == [(1, False)]
    harness.pass_time(3.5)
    assert tags(peer) == [(2, True)]
