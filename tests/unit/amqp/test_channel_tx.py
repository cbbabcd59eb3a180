"""The tx class: contract T1 to T3."""

from __future__ import annotations

import pytest

from broker.broker import Limits
from broker.codec.field_table import FieldTable
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
    BasicReject,
    BasicReturn,
    ChannelClose,
    ChannelOpen,
    ConnectionClose,
    QueueDeclare,
    QueueDeclareOk,
    QueueDelete,
    TxCommit,
    TxCommitOk,
    TxRollback,
    TxRollbackOk,
    TxSelect,
    TxSelectOk,
)
from broker.codec.properties import BasicProperties
from tests.support.harness import Client, Harness

PERSISTENT = BasicProperties(delivery_mode=2)


def ready(client: Client, queue: str = "q") -> int:
    answer = client.call(1, QueueDeclare(queue=queue, passive=True))
    assert isinstance(answer, QueueDeclareOk)
    return answer.message_count


@pytest.fixture
def other(harness: Harness) -> Client:
    return harness.peer()


@pytest.fixture
def peer(harness: Harness) -> Client:
    """A client whose channel 1 is transactional."""
    peer = harness.peer()
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.send(1, TxSelect())
    peer.received()
    return peer


def test_select_may_be_repeated(peer: Client) -> None:
    assert peer.call(1, TxSelect()) == TxSelectOk()


@pytest.mark.parametrize("method", [TxCommit(), TxRollback()])
def test_a_channel_that_is_not_transactional_has_nothing_to_end(other: Client, method: Method) -> None:
    text = "PRECONDITION_FAILED - channel is not transactional"
    assert other.call(1, method) == ChannelClose(406, text, *method.ids)


def test_an_empty_transaction_can_be_committed_and_rolled_back(peer: Client) -> None:
    assert peer.call(1, TxCommit()) == TxCommitOk()
    assert peer.call(1, TxRollback()) == TxRollbackOk()


def test_publishes_are_seen_at_commit_all_at_once(harness: Harness, peer: Client, other: Client) -> None:
    peer.publish("q", b"1", b"2", properties=PERSISTENT)
    assert ready(other) == 0
    harness.gate.is_open = False
    peer.send(1, TxCommit())
    assert peer.received() == []
    assert ready(other) == 0
    harness.gate.is_open = True
    harness.run()
    assert peer.received() == [(1, TxCommitOk())]
    assert ready(other) == 2
    assert len(harness.store.state.rows) == 2


def test_publishes_of_a_transaction_are_delivered_in_order(peer: Client, other: Client) -> None:
    other.send(1, BasicConsume(queue="q", consumer_tag="c"))
    other.publish("q", b"0")
    peer.publish("q", b"1", b"2", properties=PERSISTENT)
    peer.publish("q", b"3")
    peer.send(1, TxCommit())
    assert other.bodies() == [b"0", b"1", b"2", b"3"]


def test_a_rollback_discards_publishes(harness: Harness, peer: Client, other: Client) -> None:
    peer.publish("q", b"m", properties=PERSISTENT)
    assert peer.call(1, TxRollback()) == TxRollbackOk()
    peer.send(1, TxCommit())
    harness.commit()
    assert ready(other) == 0
    assert harness.store.state.rows == {}


def test_acks_take_effect_at_commit(harness: Harness, peer: Client, other: Client) -> None:
    other.publish("q", b"m", properties=PERSISTENT)
    harness.commit()
    peer.send(1, BasicGet(queue="q"))
    peer.send(1, BasicAck(1))
    harness.commit()
    assert len(harness.store.state.rows) == 1
    peer.send(1, TxCommit())
    assert harness.store.state.rows == {}
    peer.lose()
    assert ready(other) == 0


def test_publishes_and_acks_are_one_store_transaction(harness: Harness, peer: Client, other: Client) -> None:
    other.publish("q", b"in", properties=PERSISTENT)
    harness.commit()
    peer.send(1, BasicGet(queue="q"))
    peer.publish("q", b"out", properties=PERSISTENT)
    peer.send(1, BasicAck(1))
    harness.gate.is_open = False
    peer.send(1, TxCommit())
    harness.commit()
    assert [row.payload for row in harness.store.state.rows.values()] == [b"in"]
    harness.gate.is_open = True
    harness.run()
    assert [row.payload for row in harness.store.state.rows.values()] == [b"out"]


def test_a_rollback_leaves_messages_unacknowledged_and_does_not_redeliver_them(peer: Client, other: Client) -> None:
    other.publish("q", b"1", b"2", b"3")
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    peer.send(1, BasicAck(1))
    peer.send(1, BasicReject(2, True))
    peer.send(1, BasicNack(3, False, False))
    peer.received()
    peer.send(1, TxRollback())
    assert peer.received() == [(1, TxRollbackOk())]
    assert ready(other) == 0
    peer.send(1, BasicAck(3, True))
    peer.send(1, TxCommit())
    peer.lose()
    assert ready(other) == 0


def test_what_was_rolled_back_is_redelivered_by_recover_and_close(peer: Client, other: Client) -> None:
    other.publish("q", b"1", b"2")
    peer.send(1, BasicGet(queue="q"))
    peer.send(1, BasicGet(queue="q"))
    peer.send(1, BasicAck(2, True))
    peer.send(1, TxRollback())
    peer.send(1, BasicRecover(True))
    assert peer.call(1, BasicGet(queue="q")) == BasicGetOk(3, True, "", "q", 1)
    peer.send(1, BasicAck(3))
    peer.send(1, ChannelClose())
    assert ready(other) == 2


def test_rejects_take_effect_at_commit(peer: Client, other: Client) -> None:
    other.publish("q", b"1", b"2")
    peer.send(1, BasicGet(queue="q"))
    peer.send(1, BasicGet(queue="q"))
    peer.send(1, BasicReject(1, True))
    peer.send(1, BasicReject(2, False))
    assert ready(other) == 0
    peer.send(1, TxCommit())
    assert other.call(1, BasicGet(queue="q")) == BasicGetOk(1, True, "", "q", 0)
    assert other.call(1, BasicGet(queue="q")) == BasicGetEmpty()


def test_an_unknown_tag_is_told_when_it_is_acknowledged(peer: Client, other: Client) -> None:
    other.publish("q", b"1")
    peer.send(1, BasicGet(queue="q"))
    peer.send(1, BasicAck(1))
    assert peer.call(1, BasicAck(1)) == ChannelClose(406, "PRECONDITION_FAILED - unknown delivery tag 1", 60, 80)
    assert ready(other) == 1


def test_credit_comes_back_at_commit(peer: Client, other: Client) -> None:
    peer.send(1, BasicQos(0, 1))
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    other.publish("q", b"1", b"2")
    peer.send(1, BasicAck(1))
    assert peer.bodies() == [b"1"]
    peer.received()
    peer.send(1, TxCommit())
    assert peer.received() == [(1, TxCommitOk()), (1, BasicDeliver("c", 2, False, "", "q"))]


def test_unroutable_mandatory_messages_come_back_before_commit_ok(peer: Client) -> None:
    peer.publish("nobody", b"m", mandatory=True)
    assert peer.received() == []
    peer.send(1, TxCommit())
    assert peer.received() == [(1, BasicReturn(312, "NO_ROUTE", "", "nobody")), (1, TxCommitOk())]


def test_an_unknown_exchange_is_told_when_it_is_published_to(peer: Client, other: Client) -> None:
    peer.publish("q", b"m")
    peer.publish("k", b"m", exchange="nope")
    assert peer.received() == [(1, ChannelClose(404, "NOT_FOUND - no exchange 'nope' in vhost '/'", 60, 40))]
    assert ready(other) == 0


@pytest.mark.parametrize("when", ["before", "during"])
def test_messages_to_a_queue_that_goes_away_go_with_it(
    harness: Harness, peer: Client, other: Client, when: str
) -> None:
    other.send(1, QueueDeclare(queue="gone"))
    peer.publish("gone", b"1", properties=PERSISTENT)
    peer.publish("q", b"2", properties=PERSISTENT)
    if when == "before":
        other.send(1, QueueDelete(queue="gone"))
        peer.send(1, TxCommit())
    else:
        harness.gate.is_open = False
        peer.send(1, TxCommit())
        other.send(1, QueueDelete(queue="gone"))
        harness.gate.is_open = True
        harness.run()
    assert peer.received() == [(1, TxCommitOk())]
    harness.commit()
    assert [row.payload for row in harness.store.state.rows.values()] == [b"2"]


def test_what_is_published_meanwhile_keeps_its_order(harness: Harness, peer: Client, other: Client) -> None:
    peer.publish("q", b"tx", properties=PERSISTENT)
    harness.gate.is_open = False
    peer.send(1, TxCommit())
    other.publish("q", b"later", properties=PERSISTENT)
    harness.gate.is_open = True
    harness.run()
    assert peer.received() == [(1, TxCommitOk())]
    other.send(1, BasicConsume(queue="q"))
    assert other.bodies() == [b"tx", b"later"]


def test_a_transaction_cannot_grow_without_end(harness: Harness) -> None:
    peer = Harness(limits=Limits(max_uncommitted_bytes=10_000)).peer()
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, TxSelect())
    peer.received()
    peer.publish("q", b"x" * 9000)
    assert peer.received() == []
    peer.publish("q", b"x" * 500)
    assert peer.received() == [
        (0, ConnectionClose(506, "RESOURCE_ERROR - transaction larger than 10000 octets", 60, 40))
    ]


def test_what_a_publish_costs_beside_its_body_counts_in_a_transaction() -> None:
    peer = Harness(limits=Limits(max_uncommitted_bytes=100_000)).peer()
    peer.send(1, QueueDeclare(queue="q"))
    peer.send(1, TxSelect())
    peer.publish("q", *[b""] * 150)
    peer.received()
    peer.publish("q", b"", properties=BasicProperties(headers=FieldTable.of({"large": "x" * 50_000})))
    ((_, close),) = peer.received()
    assert isinstance(close, ConnectionClose)
    assert close.reply_code == 506


def test_a_transaction_belongs_to_its_channel(peer: Client, other: Client) -> None:
    peer.send(2, ChannelOpen())
    peer.publish("q", b"m", channel=2)
    assert ready(other) == 1
