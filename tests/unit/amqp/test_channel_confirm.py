"""The confirm class: contract P1 to P5, contract B2."""

from __future__ import annotations

from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicDeliver,
    BasicGet,
    BasicPublish,
    BasicReject,
    BasicReturn,
    ChannelClose,
    ChannelOpen,
    ConfirmSelect,
    ConfirmSelectOk,
    QueueBind,
    QueueDeclare,
    QueuePurge,
    TxSelect,
)
from broker.codec.properties import BasicProperties
from tests.support.harness import Client, Harness
from tests.support.peer import command

PERSISTENT = BasicProperties(delivery_mode=2)


def acks(client: Client) -> list[BasicAck]:
    """Return the confirms since the last call."""
    return [method for _, method in client.received() if isinstance(method, BasicAck)]


def confirming(peer: Client) -> Client:
    peer.send(1, QueueDeclare(queue="d", durable=True))
    peer.send(1, QueueDeclare(queue="t"))
    peer.send(1, ConfirmSelect())
    peer.received()
    return peer


def test_select_may_be_repeated_and_does_not_start_the_count_again(peer: Client) -> None:
    assert peer.call(1, ConfirmSelect()) == ConfirmSelectOk()
    peer.publish("nobody", b"m")
    assert peer.call(1, ConfirmSelect()) == ConfirmSelectOk()
    peer.publish("nobody", b"m")
    assert peer.received() == [(1, BasicAck(2))]


def test_select_without_wait_is_not_answered(peer: Client) -> None:
    peer.send(1, ConfirmSelect(True))
    assert peer.received() == []
    peer.publish("nobody", b"m")
    assert peer.received() == [(1, BasicAck(1))]


def test_publishes_before_select_are_not_counted(peer: Client) -> None:
    peer.publish("nobody", b"m")
    peer.send(1, ConfirmSelect())
    peer.received()
    peer.publish("nobody", b"m")
    assert peer.received() == [(1, BasicAck(1))]


def test_a_persistent_message_is_confirmed_when_it_is_stored(harness: Harness, peer: Client) -> None:
    confirming(peer).publish("d", b"m", properties=PERSISTENT)
    assert acks(peer) == []
    harness.commit()
    assert acks(peer) == [BasicAck(1)]


def test_a_transient_message_is_confirmed_when_it_is_queued(peer: Client) -> None:
    confirming(peer).publish("d", b"m")
    assert acks(peer) == [BasicAck(1)]
    peer.publish("t", b"m", properties=PERSISTENT)
    assert acks(peer) == [BasicAck(2)]


def test_an_unroutable_message_is_confirmed_after_its_return(peer: Client) -> None:
    confirming(peer).publish("nobody", b"m", mandatory=True, properties=PERSISTENT)
    assert peer.received() == [(1, BasicReturn(312, "NO_ROUTE", "", "nobody")), (1, BasicAck(1))]


def test_a_message_acknowledged_before_it_is_written_is_confirmed_and_never_written(
    harness: Harness, peer: Client
) -> None:
    confirming(peer).publish("d", b"m", properties=PERSISTENT)
    peer.send(2, ChannelOpen())
    peer.send(2, BasicGet(queue="d"))
    assert acks(peer) == []
    peer.send(2, BasicAck(1))
    assert acks(peer) == [BasicAck(1)]
    harness.commit()
    assert harness.store.state.rows == {}


def test_a_message_delivered_without_ack_is_confirmed_at_once(peer: Client) -> None:
    confirming(peer).send(1, BasicConsume(queue="d", consumer_tag="c", no_ack=True))
    peer.received()
    peer.publish("d", b"m", properties=PERSISTENT)
    assert peer.received() == [(1, BasicDeliver("c", 1, False, "", "d")), (1, BasicAck(1))]


def test_rejected_and_purged_messages_are_confirmed(peer: Client) -> None:
    confirming(peer).publish("d", b"1", b"2", properties=PERSISTENT)
    peer.send(2, ChannelOpen())
    peer.send(2, BasicGet(queue="d"))
    peer.send(2, BasicReject(1, False))
    peer.send(2, QueuePurge(queue="d"))
    assert acks(peer) == [BasicAck(1), BasicAck(2)]


def test_a_batch_is_confirmed_with_one_multiple_ack(harness: Harness, peer: Client) -> None:
    confirming(peer).publish("d", b"1", b"2", b"3", properties=PERSISTENT)
    harness.commit()
    assert acks(peer) == [BasicAck(3, True)]
    peer.send_raw(command(1, BasicPublish(routing_key="t"), body=b"m") * 4)
    assert acks(peer) == [BasicAck(7, True)]


def test_confirms_come_in_the_order_of_the_publishes(harness: Harness, peer: Client) -> None:
    confirming(peer).publish("d", b"1", properties=PERSISTENT)
    peer.publish("t", b"2")
    assert acks(peer) == []
    harness.commit()
    assert acks(peer) == [BasicAck(2, True)]


def test_a_message_is_confirmed_when_it_is_safe_in_every_queue(harness: Harness, peer: Client) -> None:
    confirming(peer).send(1, QueueDeclare(queue="e", durable=True))
    for queue in ("d", "e", "t"):
        peer.send(1, QueueBind(queue=queue, exchange="amq.fanout"))
    peer.publish("", b"m", exchange="amq.fanout", properties=PERSISTENT)
    peer.send(2, ChannelOpen())
    peer.send(2, BasicGet(queue="d", no_ack=True))
    assert acks(peer) == []
    harness.commit()
    assert acks(peer) == [BasicAck(1)]


def test_each_channel_counts_for_itself(peer: Client) -> None:
    peer.send(2, ChannelOpen())
    for channel in (1, 2):
        peer.send(channel, ConfirmSelect())
        peer.received()
        peer.publish("nobody", b"m", channel=channel)
        assert peer.received() == [(channel, BasicAck(1))]


def test_a_failed_publish_is_not_confirmed(peer: Client) -> None:
    confirming(peer).publish("k", b"m", exchange="nope")
    assert [type(method) for _, method in peer.received()] == [ChannelClose]


def test_a_closed_channel_is_sent_no_confirms(harness: Harness, peer: Client) -> None:
    confirming(peer).publish("d", b"m", properties=PERSISTENT)
    peer.send(1, ChannelClose())
    peer.received()
    harness.commit()
    assert peer.received() == []


def test_a_lost_connection_needs_no_confirms(harness: Harness, peer: Client) -> None:
    confirming(peer).publish("d", b"m", properties=PERSISTENT)
    peer.lose()
    harness.commit()
    assert len(harness.store.state.rows) == 1


def test_confirm_and_tx_exclude_each_other(peer: Client) -> None:
    peer.send(2, ChannelOpen())
    peer.send(1, TxSelect())
    peer.send(2, ConfirmSelect())
    text = "PRECONDITION_FAILED - cannot switch from {} to {} mode"
    assert peer.call(1, ConfirmSelect()) == ChannelClose(406, text.format("tx", "confirm"), 85, 10)
    assert peer.call(2, TxSelect()) == ChannelClose(406, text.format("confirm", "tx"), 90, 10)
