"""Members are called one call at a time each, and whoever cannot be reached is reported with what to look at."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from broker.coordination.contact_calls import ContactCalls
from broker.coordination.membership.contacts import Contacts
from broker.errors import StoreUnavailable
from broker.ports.cluster import SlotService
from broker.ports.cluster_rows import Incarnation, NodeRow, NodeState
from broker.ports.peer_calls import Caller, PeerUnreachable, Unavailable
from tests.support.clock import FakeClock
from tests.support.virtual_loop import in_virtual_time
from tests.unit.thrift.memory_service import MemorySlotService

BOB = Incarnation("bob", "b1")


class Bench:
    """Alice, whose only member is Bob."""

    def __init__(self, host: str = "localhost", port: int = 7612) -> None:
        self.clock = FakeClock()
        self.bob = MemorySlotService()
        self.contacts = Contacts(5.0)
        self.contacts.on_members({"bob": NodeRow("bob", "b1", 1, 0, NodeState.UP, host, port)}, self.clock.monotonic())
        self.noted: list[tuple[Incarnation, bool]] = []
        self.is_store_away = False
        service: SlotService = self.bob
        self.calls = ContactCalls(
            self.contacts,
            self.clock,
            address=("10.0.0.1", 7611),
            members=lambda: {BOB: service},
            last_beats=lambda: {"bob": self.clock.monotonic()},
            is_served=lambda: False,
            caller=lambda: Caller("alice", "a1"),
            note=self._note,
            interval=2.5,
        )

    async def _note(self, member: Incarnation, is_reached: bool) -> None:
        if self.is_store_away:
            raise StoreUnavailable("away")
        self.noted.append((member, is_reached))

    async def round(self) -> list[str]:
        """Call and report once; return the lines of the log."""
        async with asyncio.TaskGroup() as tasks:
            self.calls.call_all(tasks)
        with structlog.testing.capture_logs() as lines:
            await self.calls.report()
        return [" ".join(map(str, line.values())) for line in lines]


async def test_a_member_that_does_not_answer_is_reported_with_its_address_and_written_into_the_membership() -> None:
    it = Bench()
    it.bob.failure = PeerUnreachable("connection refused")
    it.contacts.on_call(BOB, it.clock.monotonic() + 9.0, is_served=True)
    it.clock.advance(10.0)
    [line] = await it.round()

    for part in ("warning", "Member cannot be reached", "bob", "localhost:7612", "connection refused", "clusterSecret"):
        assert part in line
    assert "thriftServerHost ('localhost' is reached on its own machine only)" in line
    assert it.noted == [(BOB, False)]
    it.bob.failure = None
    [line] = await it.round()
    assert "Member is reached again" in line
    assert it.noted == [(BOB, False), (BOB, True)]


async def test_a_member_that_says_it_is_at_this_nodes_address_is_told_of() -> None:
    it = Bench("10.0.0.1", 7611)
    it.bob.failure = PeerUnreachable("has come to 'alice', which is another")
    it.clock.advance(10.0)
    line, _ = await it.round()
    assert "thriftServerHost ('10.0.0.1:7611' is this node's own address; one of the two must name its own" in line


async def test_a_member_that_does_not_call_is_reported_with_the_address_it_was_told() -> None:
    it = Bench()
    it.clock.advance(10.0)
    [line] = await it.round()

    assert it.bob.contacts == [("alice", False)]
    for part in ("warning", "Member does not reach this node", "bob", "10.0.0.1:7611", "thriftServerHost,"):
        assert part in line
    it.contacts.on_call(BOB, it.clock.monotonic(), is_served=False)
    [line] = await it.round()
    assert "Member reaches this node again" in line
    assert it.noted == []


async def test_a_store_that_is_away_keeps_nothing_from_the_log() -> None:
    it = Bench("10.0.0.2")
    it.bob.failure = PeerUnreachable("no route")
    it.is_store_away = True
    it.clock.advance(10.0)
    out, _ = await it.round()
    assert "no route" in out
    assert "own machine" not in out


async def test_a_member_is_not_called_while_a_call_to_it_is_under_way() -> None:
    it = Bench()
    going = asyncio.Event()

    async def contact(is_served: bool, caller: Caller, last_event_id: int = 0) -> None:
        it.bob.callers.append(caller)
        await going.wait()

    it.bob.contact = contact  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as tasks:
        it.calls.call_all(tasks)
        it.calls.call_all(tasks)
        await asyncio.sleep(0)
        it.calls.call_all(tasks)
        going.set()
    assert len(it.bob.callers) == 1


async def test_run_calls_until_it_is_cancelled() -> None:
    it = Bench()
    has_called = it.bob.changed
    task = asyncio.get_running_loop().create_task(it.calls.run())
    await has_called.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_introduction_ends_when_every_member_knows_this_node() -> None:
    it = Bench()
    it.bob.failure = Unavailable("not known yet")
    has_called = it.bob.changed
    async with asyncio.TaskGroup() as tasks:
        introduction = tasks.create_task(it.calls.introduce(60.0))
        await has_called.wait()
        assert not introduction.done()
        it.bob.failure = None
    assert it.bob.contacts[-1:] == [("alice", False)]


@in_virtual_time
async def test_an_introduction_to_a_member_that_cannot_be_reached_ends_when_it_has_read_all_nodes() -> None:
    it = Bench()
    it.bob.failure = PeerUnreachable("nothing passes")
    loop = asyncio.get_running_loop()
    began = loop.time()
    await it.calls.introduce(4.0)
    assert 3.99 <= loop.time() - began <= 4.1
