"""The class dtx in virtual hosts with the dialect of WSO2's broker: contract T5."""

from __future__ import annotations

import pytest

from broker.amqp.java_xids import serialized
from broker.codec.method import Method
from broker.codec.methods import (
    ConfirmSelect,
    DtxCommit,
    DtxEnd,
    DtxForget,
    DtxPrepare,
    DtxRecover,
    DtxRecoverOk,
    DtxRollback,
    DtxSelect,
    DtxSetTimeout,
    DtxStart,
    DtxStartOk,
    QueueDeclare,
    TxCommit,
    TxSelect,
)
from broker.ports.branches import Xid
from tests.support.harness import Client, Harness
from tests.support.stage import drive
from tests.unit.amqp.dtx_bench import (
    A,
    B,
    begin,
    closed,
    connect,
    end,
    key,
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


# In other virtual hosts


@pytest.mark.parametrize("method", [DtxSelect(), DtxStart(*A), DtxRecover()])
def test_elsewhere_the_methods_are_unknown(harness: Harness, method: Method) -> None:
    peer = harness.peer()
    peer.send(1, method)
    assert closed(peer) == f"NOT_IMPLEMENTED - unknown method 100,{method.ids[1]}"


@pytest.mark.parametrize("octets", [b"", b"\0\1\2"])
def test_elsewhere_nobody_reads_their_arguments(harness: Harness, octets: bytes) -> None:
    peer = harness.peer()
    payload = (100).to_bytes(2, "big") + (20).to_bytes(2, "big") + octets
    peer.send_raw(b"\1\0\1" + len(payload).to_bytes(4, "big") + payload + b"\xce")
    assert closed(peer) == "NOT_IMPLEMENTED - unknown method 100,20"


# Recover


def test_recover_lists_what_is_prepared_in_the_virtual_host(harness: Harness, peer: Client) -> None:
    assert peer.call(1, DtxRecover()) == DtxRecoverOk(serialized([]))
    for xid in (A, B):
        begin(peer, xid)
        end(peer, xid)
        peer.call(1, DtxPrepare(*xid))
    assert peer.call(1, DtxRecover()) == DtxRecoverOk(serialized(drive(harness.store.prepared_xids("carbon", 9))))
    peer.call(1, DtxRollback(*A))
    assert peer.call(1, DtxRecover()) == DtxRecoverOk(serialized([Xid(*B)]))


def test_recover_lists_as_many_as_a_frame_takes(harness: Harness) -> None:
    peer = harness.peer(vhost="carbon", frame_max=4096)
    peer.send(1, DtxSelect())
    for number in range(40):
        xid = (0xFFFF, bytes(63) + bytes([number]), bytes(64))
        begin(peer, xid)
        end(peer, xid)
        peer.call(1, DtxPrepare(*xid))
    answer = peer.call(1, DtxRecover())
    assert isinstance(answer, DtxRecoverOk)
    assert 3500 < len(answer.xids) <= 4096 - 8 - 8


# What is refused


@pytest.mark.parametrize(
    "method", [DtxStart(*A), DtxEnd(*A), DtxPrepare(*A), DtxCommit(*A), DtxRollback(*A), DtxForget(*A), DtxRecover()]
)
def test_nothing_is_done_before_dtx_select(harness: Harness, method: Method) -> None:
    peer = harness.peer(vhost="carbon")
    peer.send(1, method)
    assert closed(peer) == "NOT_ALLOWED - the channel has not selected distributed transactions"


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (DtxStart(*A, True), "NOT_ALLOWED - no such branch"),
        (DtxStart(*A, False, True), "NOT_ALLOWED - no such branch"),
        (DtxStart(*A, True, True), "COMMAND_INVALID - a branch is joined or resumed, not both"),
        (DtxEnd(*A), "NOT_ALLOWED - no such branch"),
        (DtxForget(*A), "NOT_ALLOWED - no such branch"),
        (DtxSetTimeout(*A, 1), "NOT_ALLOWED - no such branch"),
        (DtxPrepare(*A), "COMMAND_INVALID - no such branch"),
        (DtxCommit(*A), "NOT_FOUND - no such branch"),
        (DtxCommit(*A, True), "NOT_FOUND - no such branch"),
        (DtxRollback(*A), "NOT_FOUND - no such branch"),
        (DtxStart(1, bytes(65), b""), "SYNTAX_ERROR - dtx.start: more than 64 octets of a global id or branch id"),
        (TxSelect(), "PRECONDITION_FAILED - cannot switch from dtx to tx mode"),
        (ConfirmSelect(), "PRECONDITION_FAILED - cannot switch from dtx to confirm mode"),
        (DtxStartOk(), "COMMAND_INVALID - unimplemented method"),
    ],
)
def test_of_no_branch_nothing_can_be_asked(peer: Client, method: Method, text: str) -> None:
    peer.send(1, method)
    assert closed(peer) == text


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (DtxStart(*B), "COMMAND_INVALID - the channel works for another branch"),
        (DtxEnd(*A, True, True), "COMMAND_INVALID - a branch is suspended or has failed, not both"),
        (DtxPrepare(*A), "COMMAND_INVALID - the branch has not ended"),
        (DtxCommit(*A, True), "COMMAND_INVALID - the branch has not ended"),
        (DtxRollback(*A), "COMMAND_INVALID - the branch has not ended"),
        (DtxForget(*A), "COMMAND_INVALID - the branch was not decided heuristically"),
        (TxCommit(), "PRECONDITION_FAILED - channel is not transactional"),
    ],
)
def test_a_branch_that_is_started_has_to_end_first(peer: Client, method: Method, text: str) -> None:
    begin(peer)
    peer.send(1, method)
    assert closed(peer) == text


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (DtxStart(*A), "NOT_ALLOWED - the branch is started already"),
        (DtxStart(*A, False, True), "COMMAND_INVALID - the branch is not suspended"),
        (DtxEnd(*A), "COMMAND_INVALID - the channel does not work for the branch"),
        (DtxCommit(*A), "COMMAND_INVALID - the branch is not prepared"),
    ],
)
def test_what_makes_no_sense_after_the_end_is_refused(peer: Client, method: Method, text: str) -> None:
    begin(peer)
    end(peer)
    peer.send(1, method)
    assert closed(peer) == text


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (DtxStart(*A), "NOT_ALLOWED - the branch is prepared already"),
        (DtxStart(*A, True), "NOT_ALLOWED - no such branch"),
        (DtxCommit(*A, True), "COMMAND_INVALID - the branch is prepared"),
        (DtxForget(*A), "COMMAND_INVALID - the branch was not decided heuristically"),
    ],
)
def test_what_makes_no_sense_of_a_prepared_branch_is_refused(
    harness: Harness, peer: Client, method: Method, text: str
) -> None:
    worked(peer)
    peer.call(1, DtxPrepare(*A))
    peer.send(1, method)
    assert closed(peer) == text
    assert list(harness.store.state.branches) == [key()]


def test_a_transactional_channel_selects_no_branches(harness: Harness) -> None:
    peer = harness.peer(vhost="carbon")
    peer.send(1, TxSelect())
    peer.received()
    peer.send(1, DtxSelect())
    assert closed(peer) == "PRECONDITION_FAILED - cannot switch from tx or confirm to dtx mode"
