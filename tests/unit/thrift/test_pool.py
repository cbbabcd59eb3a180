"""Calls to one address: deadlines, repeats, kept connections and the breaker, on real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable

import pytest

from benchmarks.nodes.ports import quiet_port
from broker.ports.peer_calls import Caller, Demand, PeerUnreachable, QueueName, Unavailable
from broker.ports.slot import Slot
from broker.thrift.server import ThriftServer
from tests.support.clock import FakeClock
from tests.support.descriptors import no_descriptors_left
from tests.unit.thrift.memory_service import MemorySlotService
from tests.unit.thrift.network import HOST, RawPeer, calling, raw_server, read_request, serving
from tests.unit.thrift.octets import message

QUEUE = QueueName("orders", 42)
SLOT = Slot(42, 3, 100, 199, 100)
ALICE = Caller("alice", "incarnation-a", "r-1")
NO_SLOT = message(2, "getSlotInfo", 1, "0c 0000 0a 0002 0000000000000000 0a 0003 0000000000000000 02 0006 00 00 00")


class Silent:
    """Accepts, and never answers."""

    def __init__(self) -> None:
        self.connections = 0
        self.is_left = asyncio.Event()

    async def __call__(self, peer: RawPeer) -> None:
        self.connections += 1
        await peer.receive_to_the_end()
        self.is_left.set()


async def test_a_peer_that_never_answers_is_given_up_and_its_connection_dropped() -> None:
    silent = Silent()
    async with raw_server(silent) as port, calling(port, call_timeout=0.1) as client:
        with pytest.raises(
            PeerUnreachable, match=f"^thrift peer 127.0.0.1:{port} has not answered getSlotInfo in time$"
        ):
            await client.get_slot(QUEUE, ALICE)

        await silent.is_left.wait()


async def test_a_long_poll_has_its_wait_besides_the_deadline() -> None:
    async with serving(MemorySlotService()) as served, calling(served.port, call_timeout=0.5) as client:
        supply = await client.await_slots([Demand(QUEUE, 1)], 600, ALICE)

        assert supply.grants == ()


async def test_a_peer_that_does_not_accept_is_given_up_after_the_connect_timeout() -> None:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex((HOST, port))
            async with calling(port, connect_timeout=0.03) as client:
                with pytest.raises(PeerUnreachable, match=r"no connection within 0\.03 s"):
                    await client.get_slot(QUEUE, ALICE)
        finally:
            for each in waiting:
                each.close()


async def test_a_refused_connection_says_where() -> None:
    port = quiet_port()
    async with calling(port) as client:
        with pytest.raises(PeerUnreachable, match=f"^thrift peer 127.0.0.1:{port} has not answered getSlotInfo: "):
            await client.get_slot(QUEUE, ALICE)


async def test_a_machine_without_a_descriptor_for_the_connection_is_told_as_an_unreachable_peer() -> None:
    port = quiet_port()
    async with calling(port) as client:
        with no_descriptors_left(), pytest.raises(PeerUnreachable, match="Too many open files"):
            await client.get_slot(QUEUE, ALICE)


async def test_after_three_refusals_nothing_is_tried_until_the_reconnect_timeout_is_over() -> None:
    clock = FakeClock()
    silent = Silent()
    async with raw_server(silent) as port, calling(port, clock, call_timeout=0.1, reconnect_timeout=5.0) as client:
        for _ in range(3):
            with pytest.raises(PeerUnreachable, match="has not answered"):
                await client.get_slot(QUEUE, ALICE)
        for _ in range(10):
            with pytest.raises(PeerUnreachable, match="it is tried again soon"):
                await client.get_slot(QUEUE, ALICE)
        assert silent.connections == 3

        clock.advance(5.0)
        with pytest.raises(PeerUnreachable, match="has not answered"):
            await client.get_slot(QUEUE, ALICE)
        assert silent.connections == 4


async def test_the_breaker_closes_when_the_peer_is_back() -> None:
    clock = FakeClock()
    port = quiet_port()
    async with calling(port, clock, reconnect_timeout=5.0) as client:
        for _ in range(3):
            with pytest.raises(PeerUnreachable):
                await client.get_slot(QUEUE, ALICE)

        async with asyncio.TaskGroup() as tasks:
            server = _server(tasks)
            await server.listen(HOST, port)
            with pytest.raises(PeerUnreachable, match="it is tried again soon"):
                await client.get_slot(QUEUE, ALICE)
            clock.advance(5.0)
            assert [await client.get_slot(QUEUE, ALICE) for _ in range(3)] == [None, None, None]
            await server.stop()


async def test_a_refusal_by_the_service_opens_no_breaker() -> None:
    service = MemorySlotService()
    service.failure = Unavailable("not now")
    async with serving(service) as served, calling(served.port) as client:
        for _ in range(5):
            with pytest.raises(Unavailable, match=r"^not now$"):
                await client.get_slot(QUEUE, ALICE)
        assert len(served.server.sessions) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        bytes.fromhex("80010002 7fffffff"),
        NO_SLOT[:-1] + b"\x0b\x00\x01\x7f\xff\xff\xff",
        NO_SLOT[:10],
        NO_SLOT[:15] + b"K" + NO_SLOT[16:],
        NO_SLOT[:19] + b"\0\0\0\x02" + NO_SLOT[23:],
        NO_SLOT[:3] + b"\x01" + NO_SLOT[4:],
        NO_SLOT[:23] + b"\0",
        NO_SLOT[:3] + b"\x03" + NO_SLOT[4:23] + bytes.fromhex("0b 0001 00000002 6e6f 08 0002 00000006 00"),
        NO_SLOT + NO_SLOT,
    ],
    ids=[
        "not thrift",
        "huge name",
        "huge string",
        "half an answer",
        "another method",
        "another call",
        "a call",
        "empty",
        "libthrift's error",
        "two answers",
    ],
)
async def test_an_answer_that_is_none_fails_the_call_and_drops_the_connection(answer: bytes) -> None:
    ended = asyncio.Event()

    async def serve(peer: RawPeer) -> None:
        await read_request(peer)
        peer.send(answer)
        if answer != NO_SLOT[:10]:
            await peer.receive_to_the_end()
        ended.set()

    async with raw_server(serve) as port, calling(port) as client:
        with pytest.raises(PeerUnreachable, match="has not answered getSlotInfo: "):
            await client.get_slot(QUEUE, ALICE)

        await ended.wait()


async def test_a_call_whose_connection_ends_is_repeated_once_under_the_same_request_id() -> None:
    requests: list[bytes] = []

    async def serve(peer: RawPeer) -> None:
        await read_request(peer)
        requests.append(await peer.reader.read(4096))

    async with raw_server(serve) as port, calling(port, new_request_id=lambda: "request-77") as client:
        with pytest.raises(PeerUnreachable, match="the peer closed the connection"):
            await client.get_slot(QUEUE, Caller("alice"))

    assert len(requests) == 2
    assert b"request-77" in requests[0]
    assert requests[0] == requests[1]


async def test_a_server_that_is_killed_in_a_call_and_comes_back_answers_the_repeat() -> None:
    service = MemorySlotService()
    async with asyncio.TaskGroup() as tasks:
        first, second = _server(tasks, service), _server(tasks, service)
        port = await first.listen(HOST, 0)
        async with calling(port) as client:
            changed = service.changed
            push = tasks.create_task(client.push_events(1, ALICE))
            await changed.wait()
            changed = service.changed
            stop = tasks.create_task(first.stop())
            await asyncio.sleep(0)  # its port is free now
            await second.listen(HOST, port)
            await changed.wait()
            service.apply_events(1)

            assert await push == 1
            assert service.callers == [ALICE, ALICE]
        await stop
        await second.stop()


async def test_a_kept_connection_that_the_server_closed_is_replaced_in_silence() -> None:
    async with serving(MemorySlotService()) as served, calling(served.port) as client:
        await client.get_slot(QUEUE, ALICE)
        for session in tuple(served.server.sessions):
            session.abort()

        assert await client.get_slot(QUEUE, ALICE) is None


async def test_a_cancelled_call_drops_its_connection_and_no_other() -> None:
    service = MemorySlotService()
    async with serving(service) as served, calling(served.port) as client, asyncio.TaskGroup() as tasks:
        changed = service.changed
        push = tasks.create_task(client.push_events(1, ALICE))
        await changed.wait()
        assert await client.get_slot(QUEUE, ALICE) is None
        push.cancel()
        await asyncio.wait([push])
        service.apply_events(5)

        assert await client.push_events(2, ALICE) == 5
        assert len(served.server.sessions) <= 2


async def test_a_call_waits_for_a_connection_when_all_are_busy() -> None:
    service = MemorySlotService()
    async with serving(service) as served, calling(served.port, pool_size=2) as client, asyncio.TaskGroup() as tasks:
        pushes = [tasks.create_task(client.push_events(1, Caller("alice", request_id=str(i)))) for i in range(5)]
        while len(service.callers) < 2:
            await service.changed.wait()
        assert len(served.server.sessions) == 2
        service.apply_events(1)

        assert [await push for push in pushes] == [1] * 5
        assert len(served.server.sessions) == 2


async def test_a_call_that_finds_no_free_connection_in_time_says_so_and_blames_no_peer() -> None:
    service = MemorySlotService()
    async with serving(service) as served, calling(served.port, pool_size=1, call_timeout=0.15) as client:
        async with asyncio.TaskGroup() as tasks:
            changed = service.changed
            polls = [tasks.create_task(client.await_slots([], 60_000, ALICE)) for _ in range(2)]
            await changed.wait()
            for _ in range(4):
                with pytest.raises(PeerUnreachable, match=r"^all 2 connections to thrift peer .* are busy$"):
                    await client.get_slot(QUEUE, ALICE)
            for poll in polls:
                poll.cancel()

        assert await client.get_slot(QUEUE, ALICE) is None


async def test_two_clients_are_served_side_by_side() -> None:
    async with (
        serving(MemorySlotService()) as served,
        calling(served.port) as one,
        calling(served.port) as other,
        asyncio.TaskGroup() as tasks,
    ):
        poll = tasks.create_task(one.await_slots([Demand(QUEUE, 1)], 60_000, ALICE))
        await other.submit_slot(QUEUE, SLOT, Caller("bob"))

        assert [grant.slot for grant in (await poll).grants] == [SLOT]


async def test_a_closed_client_ends_its_calls() -> None:
    service = MemorySlotService()
    async with serving(service) as served, calling(served.port) as client, asyncio.TaskGroup() as tasks:
        changed = service.changed
        poll = tasks.create_task(_failing(client.await_slots([], 60_000, ALICE)))
        await changed.wait()
        client.close()

        assert "the connection was closed" in await poll
        with pytest.raises(PeerUnreachable, match="the pool is closed"):
            await client.get_slot(QUEUE, ALICE)


async def _failing(call: Awaitable[object]) -> str:
    try:
        await call
    except PeerUnreachable as error:
        return str(error)
    return ""


def _server(tasks: asyncio.TaskGroup, service: MemorySlotService | None = None) -> ThriftServer:
    return ThriftServer(service or MemorySlotService(), tasks)
