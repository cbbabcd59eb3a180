"""Clients that come and go with the members, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from broker.coordination.peers import Peers
from broker.ports.cluster_rows import Incarnation, NodeRow, NodeState
from broker.ports.peer_calls import (
    Caller,
    Demand,
    Fence,
    NotCoordinator,
    PeerUnreachable,
    QueueName,
    Supply,
)
from broker.ports.slot import Slot
from tests.support.clock import FakeClock
from tests.unit.coordination.membership.fake_agent import FakeAgent
from tests.unit.thrift.memory_service import MemorySlotService
from tests.unit.thrift.network import HOST, SECRET, serving

QUEUE = QueueName("/ orders", 42)
SLOT = Slot(42, 3, 100, 199, 100)


def row(node_id: str, port: int, incarnation: str = "1") -> NodeRow:
    return NodeRow(node_id, f"{node_id}-{incarnation}", 1, 0, NodeState.UP, HOST, port)


@asynccontextmanager
async def new_peers(agent: FakeAgent, local: MemorySlotService | None = None) -> AsyncIterator[Peers]:
    peers = Peers(
        agent,  # type: ignore[arg-type]
        local or MemorySlotService(),
        FakeClock(),
        pool_size=2,
        reconnect_timeout=5.0,
        secret=SECRET,
    )
    try:
        yield peers
    finally:
        peers.close()


async def test_every_living_member_has_a_client() -> None:
    b, c = MemorySlotService(), MemorySlotService()
    b.applied, c.applied = 2, 3
    async with (
        serving(b, secret=SECRET) as at_b,
        serving(c, secret=SECRET) as at_c,
        new_peers(FakeAgent(), local := MemorySlotService()) as peers,
    ):
        assert peers.others() == {}
        peers.on_members({"b": row("b", at_b.port), "c": row("c", at_c.port)})

        caller = peers.caller()
        assert [await peers.others()[name].push_events(0, caller) for name in ("b", "c")] == [2, 3]
        assert peers.everybody() == {"a": local, **peers.others()}


async def test_calls_to_a_member_are_for_its_incarnation_and_those_to_the_coordinator_for_whoever_answers() -> None:
    b, agent = MemorySlotService(), FakeAgent()
    async with serving(b, secret=SECRET) as at_b, new_peers(agent) as peers:
        peers.on_members({"b": row("b", at_b.port)})
        assert peers.members() == {Incarnation("b", "b-1"): peers.others()["b"]}
        await peers.others()["b"].contact(True, peers.caller())
        agent.coordinator = (HOST, at_b.port, Fence(7, "t"))
        service = peers.coordinator()
        assert service is not None
        await service.push_events(0, peers.caller())
        assert [caller.callee for caller in b.callers] == ["b-1", ""]


async def test_a_member_that_stays_keeps_its_client_and_one_that_has_gone_loses_it() -> None:
    b = MemorySlotService()
    async with serving(b, secret=SECRET) as at_b, new_peers(FakeAgent()) as peers:
        peers.on_members({"b": row("b", at_b.port), "c": row("c", 1)})
        to_b, to_c = peers.others()["b"], peers.others()["c"]
        peers.on_members({"b": row("b", at_b.port)})

        assert peers.others() == {"b": to_b}
        with pytest.raises(PeerUnreachable, match="the pool is closed"):
            await to_c.push_events(0, peers.caller())


async def test_a_new_incarnation_of_a_member_gets_a_new_client() -> None:
    async with new_peers(FakeAgent()) as peers:
        peers.on_members({"b": row("b", 1)})
        before = peers.others()["b"]
        peers.on_members({"b": row("b", 1, "2")})
        assert peers.others()["b"] is not before


async def test_the_caller_is_this_incarnation_and_whom_it_takes_for_the_coordinator() -> None:
    agent = FakeAgent()
    async with new_peers(agent) as peers:
        assert peers.caller() == Caller("a", "incarnation-a", "", Fence(7, "t"))
        agent.incarnation = None
        assert peers.caller() == Caller("a", "", "", Fence(7, "t"))


async def test_the_coordinator_is_this_node_itself_while_it_has_the_power() -> None:
    agent = FakeAgent()
    async with new_peers(agent, local := MemorySlotService()) as peers:
        assert peers.coordinator() is None
        agent.fence = Fence(7, "t")
        agent.coordinator = (*agent.address, agent.fence)
        assert peers.coordinator() is local
        agent.fence = None
        assert peers.coordinator() is None


async def test_the_coordinators_client_moves_when_another_is_known_and_not_before() -> None:
    b, c = MemorySlotService(), MemorySlotService()
    b.applied, c.applied = 2, 3
    agent = FakeAgent()
    async with (
        serving(b, secret=SECRET) as at_b,
        serving(c, secret=SECRET) as at_c,
        new_peers(agent) as peers,
    ):
        agent.coordinator = (HOST, at_b.port, Fence(7, "t"))
        service = peers.coordinator()
        assert service is not None
        assert await service.push_events(0, peers.caller()) == 2
        assert peers.coordinator() is service

        agent.coordinator = (HOST, at_c.port, Fence(5, "after a fail-over with loss"))
        assert peers.coordinator() is service
        assert await service.push_events(0, peers.caller()) == 3


async def test_a_node_that_is_not_the_coordinator_makes_the_agent_look() -> None:
    b, agent = MemorySlotService(), FakeAgent()
    b.failure = NotCoordinator("not me")
    async with serving(b, secret=SECRET) as at_b, new_peers(agent) as peers:
        agent.coordinator = (HOST, at_b.port, Fence(7, "t"))
        service = peers.coordinator()
        assert service is not None
        with pytest.raises(NotCoordinator):
            await service.get_slot(QUEUE, peers.caller())
        assert agent.hints == 1


async def test_whoever_listens_is_told_of_a_resignation_and_nobody_is_waited_for() -> None:
    b = MemorySlotService()
    async with serving(b, secret=SECRET) as at_b, new_peers(FakeAgent()) as peers:
        peers.on_members({"b": row("b", at_b.port), "c": row("c", 1)})
        await peers.hint_resigned(Fence(7, "t"))
        await peers.hint_resigned(None)

        assert b.resigned == [Fence(7, "t"), Fence()]


async def test_a_long_poll_leaves_room_for_another_call() -> None:
    class Waiting(MemorySlotService):
        async def await_slots(self, demands: Sequence[Demand], wait_ms: int, caller: Caller) -> Supply:
            self._begin(caller)
            await self.changed.wait()
            return Supply()

    b, agent = Waiting(), FakeAgent()
    async with serving(b, secret=SECRET) as at_b, new_peers(agent) as peers, asyncio.TaskGroup() as tasks:
        agent.coordinator = (HOST, at_b.port, Fence(7, "t"))
        service = peers.coordinator()
        assert service is not None
        changed = b.changed
        poll = tasks.create_task(service.await_slots([], 10_000, peers.caller()))
        await changed.wait()
        await service.submit_slot(QUEUE, SLOT, peers.caller())

        assert await poll == Supply()


async def test_an_incarnation_answers_where_it_serves_and_no_other_does() -> None:
    b, agent = MemorySlotService(), FakeAgent()
    async with serving(b, secret=SECRET) as at_b, new_peers(agent) as peers:
        assert await peers.answers(row("b", at_b.port))
        assert [caller.callee for caller in b.callers] == ["b-1"]
        b.failure = PeerUnreachable("another incarnation is here")
        assert not await peers.answers(row("b", at_b.port, "2"))
    assert not await peers.answers(row("b", at_b.port))
