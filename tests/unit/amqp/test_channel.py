"""The channel and access classes: contract H1 to H8, contract G4 to G9."""

from __future__ import annotations

import pytest

from broker.codec.methods import (
    AccessRequest,
    AccessRequestOk,
    BasicAck,
    BasicCancelOk,
    BasicConsume,
    BasicConsumeOk,
    BasicGet,
    BasicGetOk,
    ChannelClose,
    ChannelCloseOk,
    ChannelFlow,
    ChannelFlowOk,
    ChannelOpen,
    ChannelOpenOk,
    QueueDeclare,
    QueueDeclareOk,
    TxSelect,
)
from tests.support.harness import Client, Harness
from tests.support.peer import command


def test_open_is_answered_with_an_empty_channel_id(peer: Client) -> None:
    assert peer.call(2, ChannelOpen()) == ChannelOpenOk(b"")


def test_close_is_answered_and_the_number_is_free_again(peer: Client) -> None:
    peer.send_raw(command(1, ChannelClose(200, "OK")) + command(1, ChannelOpen()))
    assert peer.received() == [(1, ChannelCloseOk()), (1, ChannelOpenOk())]


def test_a_closed_channel_gives_its_messages_back_as_redelivered(harness: Harness, peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.publish("q", b"one", b"two", b"three")
    peer.send(2, ChannelOpen())
    peer.send(2, BasicConsume(queue="q", consumer_tag="c"))
    peer.send(2, BasicAck(2))
    peer.send(2, ChannelClose(200, "OK"))
    peer.received()
    peer.contents()
    assert peer.call(1, QueueDeclare(queue="q", passive=True)) == QueueDeclareOk("q", 2, 0)
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(1, True, "", "q", 1)
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(2, True, "", "q", 0)
    assert peer.bodies() == [b"one", b"three"]


def test_a_channel_error_gives_messages_back_when_the_close_is_sent(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.publish("q", b"m")
    peer.send(2, ChannelOpen())
    peer.send(2, BasicConsume(queue="q"))
    peer.send(2, BasicAck(9))
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(1, True, "", "q", 0)


def test_closing_a_channel_takes_acks_of_an_open_transaction_back(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.publish("q", b"m")
    peer.send(2, ChannelOpen())
    peer.send(2, TxSelect())
    peer.send(2, BasicGet(queue="q"))
    peer.send(2, BasicAck(1))
    peer.publish("q", b"never", channel=2)
    peer.send(2, ChannelClose(200, "OK"))
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(1, True, "", "q", 0)


def test_closing_a_channel_frees_an_exclusive_consumer_but_keeps_exclusive_queues(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="mine", exclusive=True))
    peer.send(1, BasicConsume(queue="mine", exclusive=True))
    peer.send(1, ChannelClose(200, "OK"))
    peer.send(2, ChannelOpen())
    assert peer.call(2, BasicConsume(queue="mine", consumer_tag="c", exclusive=True)) == BasicConsumeOk("c")


def test_flow_true_is_answered(peer: Client) -> None:
    assert peer.call(1, ChannelFlow(True)) == ChannelFlowOk(True)


def test_flow_false_stops_deliveries_of_the_channel_until_flow_true(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, BasicConsume(queue="q"))
    assert peer.call(1, ChannelFlow(False)) == ChannelFlowOk(False)
    peer.publish("q", b"m")
    assert peer.bodies() == []
    peer.send(1, ChannelFlow(True))
    assert peer.received()[0] == (1, ChannelFlowOk(True))
    assert peer.bodies() == [b"m"]


def test_flow_false_leaves_get_and_other_channels_alone(peer: Client) -> None:
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, BasicConsume(queue="q", no_ack=True))
    peer.send(1, ChannelFlow(False))
    peer.send(2, ChannelOpen())
    peer.send(2, BasicConsume(queue="q", no_ack=True))
    peer.publish("q", b"m", b"n")
    assert peer.bodies() == [b"m", b"n"]


@pytest.mark.parametrize("realm", ["/data", ""])
def test_access_is_granted_with_ticket_1(peer: Client, realm: str) -> None:
    assert peer.call(1, AccessRequest(realm)) == AccessRequestOk(1)


def test_replies_nobody_waits_for_are_ignored(peer: Client) -> None:
    peer.send(1, ChannelFlowOk(True))
    peer.send(1, ChannelCloseOk())
    peer.send(1, BasicCancelOk("c"))
    assert peer.received() == []
