"""The listener: who may connect, how many, where, and how it ends."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack

import pytest
import uvloop
from structlog.testing import capture_logs

from broker.errors import ConfigError
from broker.machine.listener import Room
from broker.machine.own_address import own_address
from broker.ports.peer_calls import Caller, QueueName
from broker.ports.slot import Slot
from broker.thrift.server import ThriftServer
from tests.unit.thrift.memory_service import MemorySlotService
from tests.unit.thrift.network import HOST, SECRET, calling, raw_peer, serving
from tests.unit.thrift.octets import (
    ALICE_HEX,
    GET_SLOT,
    NO_SLOT,
    exchange,
    message,
)

QUEUE = QueueName("orders", 42)
ALICE = Caller("alice", "incarnation-a", "r-1")


async def test_one_connection_too_many_is_closed_and_said_once() -> None:
    async with serving(MemorySlotService(), max_connections=1) as served, raw_peer(served.port) as first:
        await exchange(first, (GET_SLOT, NO_SLOT))
        with capture_logs() as logs:
            for _ in range(2):
                async with raw_peer(served.port) as other:
                    assert await other.receive_to_the_end() == b""

        assert logs == [{"event": "too many thrift connections", "log_level": "warning", "limit": 1}]
        await exchange(first, (GET_SLOT, NO_SLOT))


async def test_peers_that_prove_nothing_keep_no_node_out() -> None:
    room = Room(strangers=2, stranger_timeout=0.0)
    options = {"secret": SECRET, "max_connections": 4, "room": room}
    async with serving(MemorySlotService(), **options) as served, AsyncExitStack() as stack:
        for _ in range(8):
            await stack.enter_async_context(raw_peer(served.port))
        async with calling(served.port, secret=SECRET) as client:
            assert await client.get_slot(QUEUE, ALICE) is None
        assert len(served.server.sessions) <= 3


async def test_a_server_that_stops_gives_up_its_calls_and_frees_its_port() -> None:
    service = MemorySlotService()
    async with serving(service) as served, raw_peer(served.port) as peer:
        changed = service.changed
        peer.send(message(1, "pushEvents", 1, f"0b 0001 {ALICE_HEX} 0a 0002 0000000000000001 00"))
        await changed.wait()
        await served.server.stop()

        assert await peer.receive_to_the_end() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, served.port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "*", "0", ""])
async def test_an_address_that_nobody_can_reach_is_refused(host: str) -> None:
    async with asyncio.TaskGroup() as tasks:
        server = ThriftServer(MemorySlotService(), tasks)

        with pytest.raises(ConfigError, match=rf"thriftServerHost '{host.replace('*', '[*]')}' cannot be reached"):
            await server.listen(host, 0)


async def test_an_address_beyond_loopback_needs_a_secret() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        host = probe.getsockname()[0]
    async with asyncio.TaskGroup() as tasks:
        server = ThriftServer(MemorySlotService(), tasks)

        with pytest.raises(ConfigError, match=r"is not loopback, so the nodes need .* set coordination/clusterSecret"):
            await server.listen(host, 0)


async def test_a_port_that_is_taken_is_named() -> None:
    async with serving(MemorySlotService()) as served, asyncio.TaskGroup() as tasks:
        other = ThriftServer(MemorySlotService(), tasks)

        with pytest.raises(ConfigError, match=f"cannot listen for nodes on 127.0.0.1:{served.port}: "):
            await other.listen(HOST, served.port)


async def test_the_address_of_another_machine_is_refused_with_this_ones() -> None:
    async with asyncio.TaskGroup() as tasks:
        server = ThriftServer(MemorySlotService(), tasks)

        with pytest.raises(ConfigError, match=f"set .*thriftServerHost to an address of .*, such as {own_address()}"):
            await server.listen("192.0.2.1", 0)


def test_it_works_on_uvloop_too() -> None:
    async def session() -> object:
        async with serving(MemorySlotService()) as served, calling(served.port) as client:
            await client.submit_slot(QUEUE, Slot(42, 1, 5, 9, 5), ALICE)
            return await client.get_slot(QUEUE, ALICE)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert getattr(runner.run(session()), "slot", None) == Slot(42, 1, 5, 9, 5)
