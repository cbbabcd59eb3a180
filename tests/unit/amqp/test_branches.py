"""Branches of several channels, their times and limits: contract T5."""

from __future__ import annotations

import pytest

from broker.amqp.dtx_methods import Status
from broker.broker import Limits
from broker.codec.methods import (
    BasicAck,
    BasicConsume,
    ChannelClose,
    ChannelOpen,
    DtxCommit,
    DtxCommitOk,
    DtxEnd,
    DtxEndOk,
    DtxPrepare,
    DtxPrepareOk,
    DtxRollback,
    DtxRollbackOk,
    DtxSelect,
    DtxSetTimeout,
    DtxSetTimeoutOk,
    DtxStart,
    DtxStartOk,
    QueueDeclare,
)
from tests.support.harness import Client, Harness
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
    open_channel,
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


# Joining, suspending, failing


def test_channels_work_for_one_branch(peer: Client, other: Client) -> None:
    begin(peer)
    peer.publish("q", b"0", properties=PERSISTENT)
    end(peer)
    assert other.call(1, DtxStart(*A, True)) == DtxStartOk(Status.OK)
    other.publish("q", b"1", properties=PERSISTENT)
    end(other)
    assert ready(peer) == 0
    assert peer.call(1, DtxCommit(*A, True)) == DtxCommitOk(Status.OK)
    assert ready(peer) == 2


def test_when_one_of_them_ends_the_branch_cannot_be_committed(peer: Client, other: Client) -> None:
    worked(peer)
    other.call(1, DtxStart(*A, True))
    other.publish("q", b"1")
    peer.lose()
    assert get(other) == (b"in", True)
    other.publish("q", b"2")
    assert other.call(1, DtxEnd(*A)) == DtxEndOk(Status.ROLLBACK)
    assert other.call(1, DtxPrepare(*A)) == DtxPrepareOk(Status.ROLLBACK)
    assert ready(other) == 0


def test_a_suspended_branch_goes_on_when_it_is_resumed(peer: Client, other: Client) -> None:
    begin(peer)
    peer.publish("q", b"0")
    assert peer.call(1, DtxEnd(*A, False, True)) == DtxEndOk(Status.OK)
    begin(peer, B)
    peer.publish("q", b"of B")
    end(peer, B)
    peer.publish("q", b"of none")
    assert peer.call(1, DtxStart(*A, False, True)) == DtxStartOk(Status.OK)
    peer.publish("q", b"1")
    end(peer)
    peer.call(1, DtxCommit(*A, True))
    assert [get(other)[0] for _ in range(ready(other))] == [b"of none", b"0", b"1"]


def test_a_suspended_branch_can_be_ended(peer: Client) -> None:
    begin(peer)
    peer.call(1, DtxEnd(*A, False, True))
    end(peer)
    assert peer.call(1, DtxCommit(*A, True)) == DtxCommitOk(Status.OK)


def test_a_branch_that_has_failed_is_rolled_back(peer: Client, other: Client) -> None:
    peer.publish("q", b"in")
    begin(peer)
    get(peer)
    peer.send(1, BasicAck(1))
    assert peer.call(1, DtxEnd(*A, True)) == DtxEndOk(Status.ROLLBACK)
    assert get(other) == (b"in", True)
    assert peer.call(1, DtxCommit(*A, True)) == DtxCommitOk(Status.ROLLBACK)


# Timeouts


def test_a_branch_is_rolled_back_when_its_time_is_over(harness: Harness, peer: Client, other: Client) -> None:
    worked(peer)
    assert peer.call(1, DtxSetTimeout(*A, 30)) == DtxSetTimeoutOk(Status.OK)
    harness.pass_time(29)
    assert ready(other) == 0
    other.received()
    other.send(1, BasicConsume(queue="q", consumer_tag="c"))
    harness.pass_time(2)
    assert other.bodies() == [b"in"]
    assert peer.call(1, DtxPrepare(*A)) == DtxPrepareOk(Status.TIMEOUT)
    peer.send(1, DtxPrepare(*A))
    assert closed(peer) == "COMMAND_INVALID - no such branch"


def test_a_branch_whose_time_is_over_learns_it_at_its_end(harness: Harness, peer: Client, other: Client) -> None:
    begin(peer)
    peer.publish("q", b"0")
    peer.call(1, DtxSetTimeout(*A, 1))
    harness.pass_time(2)
    peer.publish("q", b"1")
    assert peer.call(1, DtxEnd(*A)) == DtxEndOk(Status.TIMEOUT)
    assert peer.call(1, DtxRollback(*A)) == DtxRollbackOk(Status.TIMEOUT)
    assert ready(other) == 0
    begin(peer)


def test_a_timeout_of_0_is_none(harness: Harness, peer: Client) -> None:
    worked(peer)
    peer.call(1, DtxSetTimeout(*A, 1))
    peer.call(1, DtxSetTimeout(*A, 0))
    harness.pass_time(100)
    assert peer.call(1, DtxCommit(*A, True)) == DtxCommitOk(Status.OK)


# Limits


def test_so_many_channels_have_distributed_transactions() -> None:
    harness = Harness(limits=Limits(max_dtx_channels=2))
    peer = connect(harness)
    open_channel(peer, 2)
    peer.send(2, ChannelClose())
    open_channel(peer, 3)
    peer.received()
    peer.send(4, ChannelOpen())
    peer.send(4, DtxSelect())
    assert closed(peer).startswith("INTERNAL_ERROR - 2 channels have distributed transactions already")


def test_a_channel_works_for_so_many_branches(peer: Client) -> None:
    for number in range(20):
        begin(peer, (1, b"g", bytes([number])))
        end(peer, (1, b"g", bytes([number])))
    peer.send(1, DtxStart(1, b"g", b"\x20"))
    assert closed(peer) == "RESOURCE_ERROR - the channel works for 20 branches, which is the maximum"


def test_what_branches_publish_counts_as_unfinished(harness: Harness, peer: Client) -> None:
    [connection] = harness.broker.open_connections
    begin(peer)
    peer.publish("q", bytes(5000))
    end(peer)
    begin(peer, B)
    peer.publish("q", bytes(5000))
    assert 10_000 < connection.unfinished_octets < 15_000
    end(peer, B)
    for xid in (A, B):
        peer.call(1, DtxRollback(*xid))
    assert connection.unfinished_octets == 0


def test_the_branches_of_a_channel_share_the_octets_of_a_transaction() -> None:
    harness = Harness(limits=Limits(max_uncommitted_bytes=10_000))
    peer = connect(harness)
    peer.call(1, QueueDeclare(queue="q"))
    begin(peer)
    peer.publish("q", bytes(6000))
    end(peer)
    begin(peer, B)
    peer.publish("q", bytes(6000))
    assert closed(peer).startswith("RESOURCE_ERROR - transaction larger than")


def test_a_branch_that_is_too_large_to_be_kept_is_rolled_back_but_committed_in_one_phase() -> None:
    harness = Harness(limits=Limits(max_uncommitted_bytes=10_000))
    peer = connect(harness)
    peer.call(1, QueueDeclare(queue="q", durable=True))
    peer.publish("q", bytes(20_000), properties=PERSISTENT)
    for method, answer in ((DtxPrepare(*A), Status.ROLLBACK), (DtxCommit(*A, True), Status.OK)):
        begin(peer)
        get(peer)
        peer.send(1, BasicAck(0, True))
        end(peer)
        assert getattr(peer.call(1, method), "status", None) == answer
    assert (ready(peer), crash(harness)) == (0, [])
