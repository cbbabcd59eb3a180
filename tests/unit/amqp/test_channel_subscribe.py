"""basic.consume and basic.cancel on a node of a cluster: other nodes know before the client does (contract B16, Q7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from broker.codec.methods import (
    BasicCancel,
    BasicCancelOk,
    BasicConsume,
    BasicConsumeOk,
    BasicDeliver,
    BasicQos,
    BasicQosOk,
    ChannelClose,
    ChannelCloseOk,
    ExchangeDeclare,
    ExchangeDeclareOk,
    QueueDeclare,
    QueueDeclareOk,
    QueuePurge,
    QueuePurgeOk,
)
from broker.ports.cluster_rows import Incarnation
from broker.ports.records import (
    Change,
    Drop,
    ExchangeRecord,
    Put,
    QueueKey,
    QueueRecord,
    SubscriptionKey,
    SubscriptionRecord,
)
from tests.support.composition import OneOfMany
from tests.support.harness import Client, Harness
from tests.support.stage import Gate


class ListeningRecorder:
    """Records nothing, and remembers all; not while the gate is shut."""

    def __init__(self, gate: Gate) -> None:
        self.changes: list[Change] = []
        self._gate = gate

    async def record(self, changes: Sequence[Change]) -> None:
        await self._gate.passed()
        self.changes += changes


@pytest.fixture
def recorder(harness: Harness) -> ListeningRecorder:
    recorder = ListeningRecorder(harness.gate)
    harness.parts.add_vhost("/", cluster=OneOfMany(Incarnation("a", "1"), recorder.record))
    return recorder


@pytest.fixture
def peer(harness: Harness, recorder: ListeningRecorder) -> Client:
    peer = harness.peer()
    peer.send(1, QueueDeclare(queue="q"))
    peer.publish("q", b"m")
    peer.received()
    recorder.changes.clear()
    return peer


ADDED = Put(SubscriptionRecord(1, "a", "1"))
REMOVED = Drop(SubscriptionKey(1, "a", "1"))


def opened(harness: Harness, peer: Client) -> list[object]:
    harness.gate.is_open = True
    harness.run()
    return [method for _, method in peer.received()]


def test_consume_ok_and_what_follows_it_wait_until_the_subscription_is_recorded(
    harness: Harness, peer: Client, recorder: ListeningRecorder
) -> None:
    harness.gate.is_open = False
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    peer.send(1, BasicQos())
    assert peer.received() == []
    assert opened(harness, peer) == [BasicConsumeOk("c"), BasicQosOk(), BasicDeliver("c", 1, False, "", "q")]
    assert recorder.changes == [ADDED]


def test_a_second_consumer_of_the_node_waits_for_nobody(peer: Client, recorder: ListeningRecorder) -> None:
    peer.send(1, BasicConsume(queue="q"))
    peer.received()
    assert peer.call(1, BasicConsume(queue="q", consumer_tag="c")) == BasicConsumeOk("c")
    assert recorder.changes == [ADDED]


def test_a_consumer_whose_channel_ends_before_it_has_begun_leaves_no_subscription(
    harness: Harness, peer: Client, recorder: ListeningRecorder
) -> None:
    harness.gate.is_open = False
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    peer.lose()
    opened(harness, peer)
    assert recorder.changes == [ADDED, REMOVED]
    assert not harness.vhost.queues["q"].consumers


def test_a_consumer_that_another_node_forbids_closes_the_channel(harness: Harness, peer: Client) -> None:
    other = Put(SubscriptionRecord(1, "b", "1", exclusive=True))
    harness.live.apply(other)
    text = "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"
    assert peer.call(1, BasicConsume(queue="q")) == ChannelClose(403, text, 60, 20)


def test_cancelling_the_last_consumer_is_recorded(peer: Client, recorder: ListeningRecorder) -> None:
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    peer.received()
    assert peer.call(1, BasicCancel("c")) == BasicCancelOk("c")
    assert recorder.changes == [ADDED, REMOVED]


def close_channel(peer: Client) -> None:
    assert peer.call(1, ChannelClose(200, "", 0, 0)) == ChannelCloseOk()


@pytest.mark.parametrize("end", [close_channel, Client.lose])
def test_the_end_of_the_last_consumer_of_an_auto_delete_queue_is_one_change(
    harness: Harness, peer: Client, recorder: ListeningRecorder, end: Callable[[Client], None]
) -> None:
    peer.send(1, QueueDeclare(queue="auto", auto_delete=True))
    peer.send(1, BasicConsume(queue="auto"))
    peer.received()
    recorder.changes.clear()
    end(peer)
    assert recorder.changes == [Drop(SubscriptionKey(2, "a", "1")), Drop(QueueKey("/", "auto", 2))]


def test_transient_things_are_recorded_too(peer: Client, recorder: ListeningRecorder) -> None:
    assert peer.call(1, ExchangeDeclare(exchange="x", type="fanout")) == ExchangeDeclareOk()
    assert peer.call(1, QueueDeclare(queue="mine", exclusive=True)) == QueueDeclareOk("mine", 0, 0)
    assert [type(change.record) for change in recorder.changes] == [ExchangeRecord, QueueRecord]


def test_declare_tells_what_lies_on_all_nodes(harness: Harness, peer: Client) -> None:
    queue = harness.vhost.queues["q"]
    queue.set_remote_counts(5, 2, 0)
    assert peer.call(1, QueueDeclare(queue="q", passive=True)) == QueueDeclareOk("q", 6, 2)


def test_a_purge_reaches_the_other_nodes(harness: Harness, peer: Client) -> None:
    cluster: Any = harness.vhost.cluster
    cluster.purged_elsewhere = 5
    assert peer.call(1, QueuePurge(queue="q")) == QueuePurgeOk(6)
