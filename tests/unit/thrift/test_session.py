"""One peer's connection: one call at a time, and what becomes of anything that is no call."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from broker.ports.peer_calls import Caller, Demand, Grant, QueueName
from broker.ports.slot import Slot
from tests.unit.thrift.memory_service import MemorySlotService
from tests.unit.thrift.network import calling, raw_peer, serving
from tests.unit.thrift.octets import (
    A_SLOT,
    ALICE_HEX,
    BOB_HEX,
    GET_SLOT,
    NO_SLOT,
    SUBMIT,
    exchange,
    message,
)

QUEUE = QueueName("orders", 42)
ALICE = Caller("alice", "incarnation-a", "r-1")
BOB = Caller("bob")


async def test_a_call_that_comes_octet_by_octet_is_answered() -> None:
    async with serving(MemorySlotService()) as served, raw_peer(served.port) as peer:
        for octet in GET_SLOT:
            peer.send(bytes([octet]))
            await peer.writer.drain()

        assert await peer.receive(len(NO_SLOT)) == NO_SLOT


async def test_calls_that_come_together_are_answered_one_after_the_other() -> None:
    async with serving(MemorySlotService()) as served, raw_peer(served.port) as peer:
        peer.send(SUBMIT + GET_SLOT + GET_SLOT)

        answers = message(2, "updateMessageId", 3, "00") + A_SLOT + NO_SLOT
        assert await peer.receive(len(answers)) == answers


async def test_a_call_that_comes_during_another_waits() -> None:
    service = MemorySlotService()
    async with serving(service) as served, raw_peer(served.port) as peer:
        changed = service.changed
        push = message(1, "pushEvents", 1, f"0b 0001 {ALICE_HEX} 0a 0002 0000000000000001 00")
        peer.send(push)
        await changed.wait()
        peer.send(GET_SLOT)
        await peer.writer.drain()
        service.apply_events(1)

        answers = message(2, "pushEvents", 1, "0a 0000 0000000000000001 00") + NO_SLOT
        assert await peer.receive(len(answers)) == answers


async def test_a_peer_that_does_not_read_is_not_served_on_and_on() -> None:
    class Verbose(MemorySlotService):
        async def get_slot(self, queue: QueueName, caller: Caller) -> Grant:
            self.callers.append(caller)
            return Grant(QueueName("q" * 500_000), Slot(0, 0, 1, 2, 2), caller.node_id)

    service = Verbose()
    async with serving(service) as served, raw_peer(served.port) as peer, calling(served.port) as client:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        peer.send(GET_SLOT * 60)
        for _ in range(100):
            await client.push_events(0, ALICE)
        assert 0 < service.callers.count(BOB) < 60

        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(60):
            await peer.receive(500_000)
        assert service.callers.count(BOB) == 60


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "a method name of 1195725856 octets; 1 to 128 are allowed"),
        (bytes.fromhex("80010001 7fffffff"), "a method name of 2147483647 octets; 1 to 128 are allowed"),
        (message(1, "getSlotInfo", 1, "0b 0001 7fffffff"), "a length of 2147483647; at most 1048576 is allowed"),
        (message(2, "getSlotInfo", 1, "00"), "a message of type 2; only calls are answered"),
        (message(4, "getSlotInfo", 1, "00"), "a message of type 4; only calls are answered"),
        (
            message(1, "getSlotInfo", 1, f"0b 0001 00000001 ff 0b 0002 {BOB_HEX} 00"),
            "a struct that cannot be read: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        ),
    ],
)
async def test_garbage_closes_the_connection_with_one_line_in_the_log(data: bytes, reason: str) -> None:
    async with serving(MemorySlotService()) as served, raw_peer(served.port) as peer:
        with capture_logs() as logs:
            peer.send(data)
            assert await peer.receive_to_the_end() == b""

        address = "{}:{}".format(*peer.writer.get_extra_info("sockname"))
        assert logs == [
            {
                "event": "thrift peer sent a malformed message",
                "log_level": "warning",
                "peer": address,
                "reason": reason,
            }
        ]
        async with raw_peer(served.port) as other:
            await exchange(other, (GET_SLOT, NO_SLOT))


async def test_a_peer_that_leaves_in_the_middle_of_a_call_disturbs_nobody() -> None:
    async with serving(MemorySlotService()) as served:
        async with raw_peer(served.port) as peer:
            peer.send(GET_SLOT[:-3])
            await peer.writer.drain()
        async with raw_peer(served.port) as other:
            await exchange(other, (GET_SLOT, NO_SLOT))


@pytest.mark.parametrize("said", [b"", GET_SLOT[:10]])
async def test_a_silent_connection_is_closed_after_the_idle_timeout(said: bytes) -> None:
    async with serving(MemorySlotService(), idle_timeout=0.2) as served, raw_peer(served.port) as peer:
        await exchange(peer, (GET_SLOT, NO_SLOT))
        peer.send(said)

        assert await peer.receive_to_the_end() == b""


async def test_a_call_that_takes_long_is_not_idle() -> None:
    async with serving(MemorySlotService(), idle_timeout=0.15) as served, calling(served.port) as client:
        supply = await client.await_slots([Demand(QUEUE, 1)], 300, ALICE)

        assert supply.grants == ()


async def test_a_long_poll_ends_with_its_connection() -> None:
    service = MemorySlotService()
    async with serving(service) as served:
        async with calling(served.port) as client, asyncio.TaskGroup() as tasks:
            changed = service.changed
            poll = tasks.create_task(client.await_slots([Demand(QUEUE, 1)], 60_000, ALICE))
            await changed.wait()
            changed = service.changed
            poll.cancel()
        await changed.wait()

        assert service.cancelled_polls == 1
