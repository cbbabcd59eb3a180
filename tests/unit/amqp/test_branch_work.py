"""What prepares, commits and rolls back branches does, in memory and in the store: contract T5."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.amqp.dtx_methods import Status
from broker.codec.field_table import FieldTable
from broker.codec.method import Method
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    BasicGet,
    BasicNack,
    BasicQos,
    BasicReject,
    BasicReturn,
    ChannelClose,
    DtxCommit,
    DtxCommitOk,
    DtxPrepare,
    DtxPrepareOk,
    DtxRollback,
    DtxRollbackOk,
    QueueDeclare,
    QueueDelete,
)
from broker.codec.properties import BasicProperties
from tests.support.harness import Client, Harness
from tests.support.stage import drive
from tests.unit.amqp.dtx_bench import (
    PERSISTENT,
    A,
    B,
    begin,
    closed,
    connect,
    crash,
    end,
    get,
    key,
    ready,
    worked,
)


@pytest.fixture
def peer(harness: Harness) -> Client:
    peer = connect(harness)
    peer.send(1, QueueDeclare(queue="q", durable=True))
    peer.send(1, QueueDeclare(queue="out", durable=True))
    peer.received()
    return peer


@pytest.fixture
def other(harness: Harness, peer: Client) -> Client:
    return connect(harness)


# One phase


def test_until_the_commit_nobody_sees_what_a_branch_does(peer: Client, other: Client) -> None:
    worked(peer)
    assert (ready(other, "out"), ready(other)) == (0, 0)
    assert peer.call(1, DtxCommit(*A, True)) == DtxCommitOk(Status.OK)
    assert get(other, "out") == (b"out", False)
    peer.lose()
    assert ready(other) == 0


def test_a_branch_is_committed_in_one_transaction_of_the_store(harness: Harness, peer: Client) -> None:
    worked(peer)
    before = crash(harness)
    peer.call(1, DtxCommit(*A, True))
    assert (harness.journal.transactions, len(before), len(crash(harness))) == (1, 1, 1)
    assert before != crash(harness)


def test_a_rollback_gives_back_what_was_acknowledged(peer: Client, other: Client) -> None:
    worked(peer)
    assert peer.call(1, DtxRollback(*A)) == DtxRollbackOk(Status.OK)
    assert (get(other), ready(other, "out")) == ((b"in", True), 0)


@pytest.mark.parametrize("how", ["close", "lose"])
def test_a_branch_that_is_not_prepared_ends_with_its_channel(peer: Client, other: Client, how: str) -> None:
    worked(peer)
    if how == "lose":
        peer.lose()
    else:
        peer.send(1, ChannelClose())
    assert (get(other), ready(other, "out")) == ((b"in", True), 0)
    other.send(1, DtxCommit(*A, True))
    assert closed(other) == "NOT_FOUND - no such branch"


def test_what_is_published_outside_of_branches_is_there_at_once(peer: Client, other: Client) -> None:
    begin(peer)
    end(peer)
    peer.publish("q", b"m")
    assert get(peer) == (b"m", False)
    peer.send(1, BasicAck(1))
    peer.lose()
    assert ready(other) == 0


def test_rejects_take_effect_at_once(peer: Client, other: Client) -> None:
    peer.publish("q", b"0", b"1")
    begin(peer)
    get(peer)
    get(peer)
    peer.send(1, BasicReject(1, False))
    peer.send(1, BasicNack(2, False, True))
    assert get(other) == (b"1", True)


def test_a_multiple_ack_belongs_to_the_branch(peer: Client, other: Client) -> None:
    peer.publish("q", b"0", b"1", b"2")
    begin(peer)
    for _ in range(3):
        get(peer)
    peer.send(1, BasicAck(2, True))
    end(peer)
    peer.send(1, BasicAck(3))  # of no branch
    peer.call(1, DtxRollback(*A))
    assert [get(other), get(other)] == [(b"0", True), (b"1", True)]
    assert ready(other) == 0


@pytest.mark.parametrize("is_shared", [False, True])
def test_what_a_branch_has_acknowledged_takes_up_the_prefetch(peer: Client, is_shared: bool) -> None:
    peer.publish("q", b"0", b"1")
    peer.send(1, BasicQos(0, 1, is_shared))
    begin(peer)
    peer.received()
    peer.send(1, BasicConsume(queue="q", consumer_tag="c"))
    peer.send(1, BasicAck(1))
    assert peer.bodies() == [b"0"]
    end(peer)
    peer.send(1, DtxCommit(*A, True))
    assert peer.bodies() == [b"1"]


def test_a_full_queue_rolls_the_whole_branch_back(harness: Harness, peer: Client, other: Client) -> None:
    arguments = FieldTable.of({"x-max-length": 1, "x-overflow": "reject-publish"})
    peer.call(1, QueueDeclare(queue="full", durable=True, arguments=arguments))
    for method, answer in (
        (DtxCommit(*A, True), DtxCommitOk(Status.ROLLBACK)),
        (DtxPrepare(*A), DtxPrepareOk(Status.ROLLBACK)),
    ):
        peer.publish("q", b"in", properties=PERSISTENT)
        begin(peer)
        assert get(peer)[0] == b"in"
        peer.send(1, BasicAck(0, True))
        peer.publish("full", b"0", b"1", properties=PERSISTENT)
        end(peer)
        assert peer.call(1, method) == answer
        assert (ready(other, "full"), ready(other)) == (0, 1)
        assert get(peer) == (b"in", True)
        peer.send(1, BasicAck(0, True))
    assert harness.store.state.branches == {}


def test_what_no_queue_takes_comes_back_when_it_is_decided(peer: Client) -> None:
    for method in (DtxCommit(*A, True), DtxPrepare(*A)):
        begin(peer)
        peer.publish("nowhere", b"m", mandatory=True)
        end(peer)
        peer.send(1, method)
        assert [type(each) for _, each in peer.received()] == [
            BasicReturn,
            *([DtxCommitOk] if method.ids[1] == 40 else [DtxPrepareOk]),
        ]


# Two phases


def test_a_prepared_branch_is_in_the_store_and_its_messages_in_no_queue(harness: Harness, peer: Client) -> None:
    worked(peer)
    assert len(crash(harness)) == 1
    assert peer.call(1, DtxPrepare(*A)) == DtxPrepareOk(Status.OK)
    assert (harness.journal.transactions, crash(harness)) == (1, [])
    assert list(harness.store.state.branches) == [key()]
    peer.lose()
    other = connect(harness)
    assert (ready(other), ready(other, "out")) == (0, 0)


def test_a_prepared_branch_is_committed_by_another_client(harness: Harness, peer: Client, other: Client) -> None:
    worked(peer)
    peer.call(1, DtxPrepare(*A))
    peer.lose()
    assert other.call(1, DtxCommit(*A)) == DtxCommitOk(Status.OK)
    assert (get(other, "out"), ready(other)) == ((b"out", False), 0)
    assert harness.store.state.branches == {}
    assert len(crash(harness)) == 1
    other.send(1, DtxCommit(*A))
    assert closed(other) == "NOT_FOUND - no such branch"


def test_a_prepared_branch_is_rolled_back_by_another_client(harness: Harness, peer: Client, other: Client) -> None:
    worked(peer)
    [before] = crash(harness)
    peer.call(1, DtxPrepare(*A))
    peer.lose()
    assert other.call(1, DtxRollback(*A)) == DtxRollbackOk(Status.OK)
    assert (get(other), ready(other, "out")) == ((b"in", True), 0)
    [after] = crash(harness)
    assert after > before
    assert harness.store.state.branches == {}


def taken(client: Client, queue: str) -> tuple[bytes, BasicProperties, object]:
    """Return body, properties as they were published, and the number of the delivery."""
    client.call(1, BasicGet(queue=queue))
    [content] = client.contents()
    headers = content.properties.headers or FieldTable.of({})
    number = headers.values["JMSXDeliveryCount"]
    for added in ("JMSXDeliveryCount", "x-delivery-count", "x-acquired-count"):
        headers = headers.without(added)
    return content.body, replace(content.properties, headers=headers), number


def test_everything_of_a_message_survives(harness: Harness, peer: Client, other: Client) -> None:
    properties = BasicProperties(
        content_type="text/plain", headers=FieldTable.of({"k": "v"}), delivery_mode=2, expiration="4000000000000"
    )
    bodies = [b"", b"x" * 200_000]
    peer.publish("q", *bodies, properties=properties)
    begin(peer)
    get(peer)
    get(peer)
    peer.send(1, BasicAck(0, True))
    peer.publish("out", *bodies, properties=properties)
    end(peer)
    peer.call(1, DtxPrepare(*A))
    stored = drive(harness.store.read_branch(key()))
    peer.call(1, DtxCommit(*A))
    for body in bodies:
        assert taken(other, "out") == (body, properties, 1)
    assert {message.due for message in harness.broker.vhosts["carbon"].queues["out"].ready} <= {4_000_000_000_000}
    harness.store.state.branches[key()] = stored  # type: ignore[assignment]
    peer.call(1, DtxRollback(*A))
    for body in bodies:
        assert taken(other, "q") == (body, properties, 2)


@pytest.mark.parametrize("method", [DtxCommit(*A), DtxRollback(*A)])
def test_messages_find_their_priority_again(peer: Client, other: Client, method: Method) -> None:
    for name in ("new", "old"):
        peer.call(1, QueueDeclare(queue=name, durable=True, arguments=FieldTable.of({"x-max-priority": 5})))
    begin(peer)
    for priority in (1, 4):
        peer.publish("old", b"%d" % priority, properties=BasicProperties(delivery_mode=2, priority=priority))
    end(peer)
    peer.call(1, DtxCommit(*A, True))
    begin(peer)
    assert [get(peer, "old")[0] for _ in range(2)] == [b"4", b"1"]
    peer.send(1, BasicAck(0, True))
    for priority in (1, 4):
        peer.publish("new", b"%d" % priority, properties=BasicProperties(delivery_mode=2, priority=priority))
    end(peer)
    peer.call(1, DtxPrepare(*A))
    peer.call(1, method)
    queue = "new" if isinstance(method, DtxCommit) else "old"
    assert [get(other, queue)[0] for _ in range(ready(other, queue))] == [b"4", b"1"]
    assert ready(other, "new") + ready(other, "old") == 0


def test_transient_messages_stay_transient(harness: Harness, peer: Client, other: Client) -> None:
    begin(peer)
    peer.publish("out", b"m")
    end(peer)
    peer.call(1, DtxPrepare(*A))
    peer.call(1, DtxCommit(*A))
    assert (get(other, "out"), crash(harness)) == ((b"m", False), [])


def test_a_queue_that_is_gone_gets_nothing(harness: Harness, peer: Client, other: Client) -> None:
    worked(peer)
    peer.call(1, DtxPrepare(*A))
    peer.call(1, QueueDelete(queue="out"))
    peer.call(1, QueueDeclare(queue="out", durable=True))
    assert peer.call(1, DtxCommit(*A)) == DtxCommitOk(Status.OK)
    assert (ready(other, "out"), crash(harness)) == (0, [])


def test_a_branch_without_work_is_prepared_too(harness: Harness, peer: Client) -> None:
    begin(peer)
    end(peer)
    assert peer.call(1, DtxPrepare(*A)) == DtxPrepareOk(Status.OK)
    assert peer.call(1, DtxCommit(*A)) == DtxCommitOk(Status.OK)


def test_two_that_resolve_a_branch_at_once_resolve_it_once(harness: Harness, peer: Client, other: Client) -> None:
    worked(peer)
    peer.call(1, DtxPrepare(*A))
    harness.gate.is_open = False
    peer.send(1, DtxCommit(*A))
    other.send(1, DtxRollback(*A))
    harness.gate.is_open = True
    harness.run()
    assert [each for _, each in peer.received()] == [DtxCommitOk(Status.OK)]
    assert closed(other) == "NOT_FOUND - no such branch"
    reader = connect(harness)
    assert (ready(reader), get(reader, "out")) == (0, (b"out", False))
    assert all(not queue._window.open_transactions for queue in harness.broker.vhosts["carbon"].queues.values())


def test_a_branch_that_another_node_has_prepared_is_not_prepared_again(harness: Harness, peer: Client) -> None:
    worked(peer)
    elsewhere = connect(harness)
    begin(elsewhere, B)
    end(elsewhere, B)
    elsewhere.call(1, DtxPrepare(*B))
    stored = drive(harness.store.read_branch(key(B)))
    harness.store.state.branches[key()] = stored  # type: ignore[assignment]
    peer.send(1, DtxPrepare(*A))
    assert closed(peer) == "COMMAND_INVALID - a branch of this name is prepared already"
    assert get(elsewhere) == (b"in", True)


def test_a_channel_that_ends_while_its_branch_is_prepared_takes_nothing_back(harness: Harness, peer: Client) -> None:
    worked(peer)
    harness.gate.is_open = False
    peer.send(1, DtxPrepare(*A))
    peer.lose()
    harness.gate.is_open = True
    harness.run()
    other = connect(harness)
    assert ready(other) == 0
    assert other.call(1, DtxRollback(*A)) == DtxRollbackOk(Status.OK)
    assert get(other) == (b"in", True)


def test_damaged_content_of_a_branch_is_an_error_and_stays(harness: Harness, peer: Client) -> None:
    worked(peer)
    peer.call(1, DtxPrepare(*A))
    stored = harness.store.state.branches[key()]
    object.__setattr__(stored, "content", stored.content[:-1] + b"!")
    peer.send(1, DtxCommit(*A))
    assert closed(peer).startswith("INTERNAL_ERROR - what is stored of the branch is damaged")
    assert list(harness.store.state.branches) == [key()]
