"""Calling the coordinator, wherever it is."""

from __future__ import annotations

import asyncio

import pytest

from broker.ports.peer_calls import Caller, Hint, NotCoordinator, QueueName
from broker.ports.slot import Slot
from tests.unit.thrift.memory_service import MemorySlotService
from tests.unit.thrift.network import HOST, calling, serving

QUEUE = QueueName("orders", 42)
SLOT = Slot(42, 3, 100, 199, 100)
ALICE = Caller("alice", "incarnation-a", "r-1")


async def test_a_request_id_of_the_caller_is_kept() -> None:
    service = MemorySlotService()
    async with serving(service) as served, calling(served.port, new_request_id=lambda: "another") as client:
        await client.push_events(0, ALICE)
        await client.push_events(0, Caller("alice"))

    assert [caller.request_id for caller in service.callers] == ["r-1", "another"]


async def test_a_hint_is_followed_and_remembered() -> None:
    deposed, coordinator = MemorySlotService(), MemorySlotService()
    async with serving(deposed) as old, serving(coordinator) as new, calling(old.port) as client:
        deposed.failure = NotCoordinator("not me", Hint(HOST, new.port, 8))
        await client.submit_slot(QUEUE, SLOT, ALICE)
        await client.get_slot(QUEUE, ALICE)

        assert client.address == (HOST, new.port)
        assert (len(deposed.callers), len(coordinator.callers)) == (1, 2)


async def test_a_hint_is_followed_once_in_a_call() -> None:
    one, other = MemorySlotService(), MemorySlotService()
    async with serving(one) as here, serving(other) as there, calling(here.port) as client:
        one.failure = NotCoordinator("not one", Hint(HOST, there.port, 8))
        other.failure = NotCoordinator("not other", Hint(HOST, here.port, 8))

        with pytest.raises(NotCoordinator, match=r"^not other$"):
            await client.get_slot(QUEUE, ALICE)
        assert (len(one.callers), len(other.callers)) == (1, 1)


async def test_a_hint_at_an_earlier_coordinator_is_not_followed() -> None:
    service = MemorySlotService()
    async with serving(service) as served, calling(served.port) as client:
        client.move_to(HOST, served.port, epoch=9)
        service.failure = NotCoordinator("not me", Hint("192.0.2.1", 7611, 8))

        with pytest.raises(NotCoordinator, match=r"^not me$"):
            await client.get_slot(QUEUE, ALICE)
        assert client.address == (HOST, served.port)


async def test_a_call_under_way_ends_at_the_old_address_and_the_next_goes_to_the_new() -> None:
    one, other = MemorySlotService(), MemorySlotService()
    other.applied = 9
    async with (
        serving(one) as here,
        serving(other) as there,
        calling(here.port) as client,
        asyncio.TaskGroup() as tasks,
    ):
        changed = one.changed
        push = tasks.create_task(client.push_events(1, ALICE))
        await changed.wait()
        client.move_to(HOST, there.port)
        assert await client.push_events(0, ALICE) == 9
        one.apply_events(1)

        assert await push == 1
