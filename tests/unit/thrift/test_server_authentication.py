"""What a shared secret changes, on real sockets (ADR 18)."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from broker.ports.peer_calls import Caller, QueueName, Unauthorized
from broker.ports.slot import Slot
from broker.thrift import convert, idl
from broker.thrift.secret import SharedSecret
from broker.thrift.wire import CALL, MessageReader
from tests.support.clock import FakeClock
from tests.unit.thrift.memory_service import MemorySlotService
from tests.unit.thrift.network import OTHER_SECRET, SECRET, RawPeer, calling, raw_peer, raw_server, serving

QUEUE = QueueName("orders", 42)
ALICE = Caller("alice", "incarnation-a", "r-1")
CLIENT_NONCE = b"c" * 32


def call(method: str, **arguments: object) -> bytes:
    struct = idl.arguments(method)
    for name, value in arguments.items():
        setattr(struct, name, value)
    return idl.encode(method, CALL, 1, struct)


async def answer(peer: RawPeer, method: str) -> object:
    """Return the struct that answers `method`, or the text of an error that it does not declare."""
    reader = MessageReader()
    while (message := reader.take()) is None:
        reader.feed(await peer.receive(1))
    return idl.decode_error(message.body) if message.kind == 3 else idl.decode(idl.result(method), message.body)


async def challenged(peer: RawPeer) -> bytes:
    """Return the server's nonce."""
    peer.send(call("challenge", clientNonce=CLIENT_NONCE))
    nonce = getattr(await answer(peer, "challenge"), "success", None)
    assert isinstance(nonce, bytes)
    return nonce


async def test_nodes_that_share_a_secret_work_together_on_every_connection() -> None:
    service = MemorySlotService()
    async with serving(service, secret=SECRET) as served, calling(served.port, secret=SECRET) as client:
        await client.submit_slot(QUEUE, Slot(42, 1, 5, 9, 5), ALICE)
        for session in tuple(served.server.sessions):
            session.abort()

        grant = await client.get_slot(QUEUE, ALICE)
        assert grant is not None
        assert grant.slot == Slot(42, 1, 5, 9, 5)


async def test_a_wrong_secret_is_refused_with_one_line_in_the_log() -> None:
    service = MemorySlotService()
    async with serving(service, secret=SECRET) as served, calling(served.port, secret=OTHER_SECRET) as client:
        with capture_logs() as logs, pytest.raises(Unauthorized, match="the shared secret is another one"):
            await client.get_slot(QUEUE, ALICE)

    assert [(line["event"], line["log_level"], line["reason"]) for line in logs] == [
        ("thrift peer is not authorized", "warning", "the shared secret is another one")
    ]
    assert service.callers == []


async def test_a_caller_without_a_secret_is_refused() -> None:
    service = MemorySlotService()
    async with serving(service, secret=SECRET) as served, calling(served.port) as client:
        with pytest.raises(Unauthorized, match="the first call must be a challenge: this node has a shared secret"):
            await client.get_slot(QUEUE, ALICE)

    assert service.callers == []


@pytest.mark.parametrize("method", ["getSlotInfo", "healthCheck", "noSuchMethod"])
async def test_a_stranger_learns_nothing_but_that_it_failed(method: str) -> None:
    known = method if method in idl.METHODS else "getSlotInfo"
    data = call(known).replace(known.encode(), method.encode()).replace(bytes([0, len(known)]), bytes([0, len(method)]))
    async with serving(MemorySlotService(), secret=SECRET) as served, raw_peer(served.port) as peer:
        peer.send(data + data)

        assert await answer(peer, known) == f"Internal error processing {method}"
        assert await peer.receive_to_the_end() == b""


async def test_a_wrong_proof_closes_the_connection_and_what_follows_is_not_read() -> None:
    service = MemorySlotService()
    async with serving(service, secret=SECRET) as served, raw_peer(served.port) as peer:
        nonce = await challenged(peer)
        proof = OTHER_SECRET.client_proof(CLIENT_NONCE, nonce)
        peer.send(call("authenticate", clientProof=proof) + call("pushEvents", nodeId="mallory", lastEventId=0))

        refusal = await answer(peer, "authenticate")
        assert str(convert.error_of(refusal)) == "the shared secret is another one"
        assert await peer.receive_to_the_end() == b""
    assert service.callers == []


async def test_a_recorded_session_cannot_be_replayed() -> None:
    service = MemorySlotService()
    async with serving(service, secret=SECRET) as served:
        async with raw_peer(served.port) as peer:
            proof = SECRET.client_proof(CLIENT_NONCE, await challenged(peer))
            recorded = call("authenticate", clientProof=proof) + call("pushEvents", nodeId="alice", lastEventId=0)
            peer.send(recorded)
            await answer(peer, "authenticate")
            await answer(peer, "pushEvents")

        async with raw_peer(served.port) as replayer:
            await challenged(replayer)
            replayer.send(recorded)
            refusal = await answer(replayer, "authenticate")
            assert str(convert.error_of(refusal)) == "the shared secret is another one"
            assert await replayer.receive_to_the_end() == b""

    assert len(service.callers) == 1


async def test_a_stranger_may_not_send_much() -> None:
    async with serving(MemorySlotService(), secret=SECRET) as served, raw_peer(served.port) as peer:
        with capture_logs() as logs:
            peer.send(call("challenge", clientNonce=bytes(2000)))
            assert await peer.receive_to_the_end() == b""

    assert [line["reason"] for line in logs] == ["a length of 2000; at most 1024 is allowed"]


async def test_a_stranger_that_waits_is_closed_and_a_node_that_waits_is_not() -> None:
    async with (
        serving(MemorySlotService(), secret=SECRET, admission_timeout=0.25) as served,
        raw_peer(served.port) as node,
        raw_peer(served.port) as stranger,
    ):
        proof = SECRET.client_proof(CLIENT_NONCE, await challenged(node))
        node.send(call("authenticate", clientProof=proof))
        await answer(node, "authenticate")
        await challenged(stranger)
        assert await stranger.receive_to_the_end() == b""

        node.send(call("pushEvents", nodeId="alice", lastEventId=0))
        assert getattr(await answer(node, "pushEvents"), "success", None) == 0


async def test_an_admitted_node_may_send_much() -> None:
    async with serving(MemorySlotService(), secret=SECRET) as served, calling(served.port, secret=SECRET) as client:
        assert await client.get_slot(QueueName("q" * 100_000), ALICE) is None


async def test_a_node_without_a_secret_refuses_one_with_a_secret() -> None:
    async with serving(MemorySlotService()) as served, calling(served.port, secret=SECRET) as client:
        with pytest.raises(Unauthorized, match="this node has no shared secret; the caller has one"):
            await client.get_slot(QUEUE, ALICE)


async def test_a_server_that_only_pretends_to_know_the_secret_is_told_nothing() -> None:
    received = bytearray()

    async def pretend(peer: RawPeer) -> None:
        for method, success in (("challenge", b"s" * 32), ("authenticate", b"p" * 32)):
            reader = MessageReader()
            while (message := reader.take()) is None:
                octet = await peer.receive(1)
                received.extend(octet)
                reader.feed(octet)
            result = idl.result(method)
            result.success = success
            peer.send(idl.encode(method, 2, message.sequence_id, result))
        received.extend(await peer.receive_to_the_end())

    async with raw_server(pretend) as port, calling(port, FakeClock(), secret=SECRET) as client:
        with pytest.raises(Unauthorized, match="the server does not know the shared secret"):
            await client.get_slot(QUEUE, ALICE)

    assert b"orders" not in received
    assert b"a secret of the whole cluster" not in received


async def test_a_second_admission_is_refused() -> None:
    async with serving(MemorySlotService(), secret=SECRET) as served, raw_peer(served.port) as peer:
        proof = SECRET.client_proof(CLIENT_NONCE, await challenged(peer))
        peer.send(call("authenticate", clientProof=proof))
        await answer(peer, "authenticate")
        peer.send(call("challenge", clientNonce=CLIENT_NONCE))

        refusal = await answer(peer, "challenge")
        assert str(convert.error_of(refusal)) == "a second challenge on one connection"
        assert await peer.receive_to_the_end() == b""


async def test_the_same_secret_made_twice_is_the_same() -> None:
    same = SharedSecret("a secret of the whole cluster")
    async with serving(MemorySlotService(), secret=SECRET) as served, calling(served.port, secret=same) as client:
        assert await client.get_slot(QUEUE, ALICE) is None
