"""When a change of topology is known everywhere: a peer says so itself, or its cursor in the store, or it is dead."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
import structlog

from broker.coordination.replication.announcer import Announcer
from broker.errors import StoreUnavailable
from broker.ports.cluster import SlotService
from broker.ports.cluster_rows import Cursor, Incarnation
from broker.ports.peer_calls import Caller, PeerUnreachable
from tests.support.virtual_loop import VirtualLoop, in_virtual_time
from tests.unit.thrift.memory_service import MemorySlotService

ALICE, BOB, CAROL = Incarnation("alice", "1"), Incarnation("bob", "1"), Incarnation("carol", "1")


class Bench:
    """A node that announces events to Bob, who cannot be reached, and Carol, who can."""

    def __init__(self) -> None:
        self.loop = cast(VirtualLoop, asyncio.get_running_loop())
        self.bob, self.carol = MemorySlotService(), MemorySlotService()
        self.bob.failure = PeerUnreachable("nothing passes")
        self.carol.applied = 99
        self.peers: dict[Incarnation, SlotService] = {BOB: self.bob, CAROL: self.carol}
        self.cursors = [Cursor(ALICE, 0, ""), Cursor(BOB, 6, ""), Cursor(CAROL, 5, "")]
        self.reads: list[float] = []
        self.apart: frozenset[Incarnation] = frozenset()
        self.is_store_away = False
        self.announcer = Announcer(
            ALICE,
            lambda: self.peers,
            lambda: Caller("alice", "1"),
            self._read,
            self.loop.monotonic,
            timeout=1.0,
            pause=1.0,
            apply_timeout=15.0,
            apart=lambda: self.apart,
        )

    async def _read(self) -> Sequence[Cursor]:
        self.reads.append(self.loop.monotonic())
        if self.is_store_away:
            raise StoreUnavailable("away")
        return self.cursors

    def announce(self, event_id: int, *, is_certain: bool = True) -> asyncio.Task[Any]:
        return self.loop.create_task(self.announcer.announce(event_id, is_certain=is_certain))


@in_virtual_time
async def test_nothing_is_read_when_every_peer_answers() -> None:
    it = Bench()
    del it.peers[BOB]
    await it.announce(7)
    assert it.reads == []


@in_virtual_time
async def test_a_change_waits_for_a_node_that_lives_by_the_store_and_is_not_seen_among_the_peers() -> None:
    """A purge was answered before such a node had heard of it, and took with it what clients published there later."""
    it = Bench()
    del it.peers[BOB]
    it.apart = frozenset([BOB])
    task = it.announce(7)
    await asyncio.sleep(2.0)
    assert not task.done()
    it.cursors = [Cursor(BOB, 7, "")]
    await asyncio.sleep(0.15)
    assert task.done()


@in_virtual_time
async def test_a_change_waits_until_the_cursor_of_a_peer_that_cannot_be_told_says_that_it_is_applied() -> None:
    it = Bench()
    task = it.announce(7)
    await asyncio.sleep(2.0)
    assert not task.done()
    it.cursors = [Cursor(BOB, 7, "")]
    await asyncio.sleep(0.15)
    assert task.done()
    assert all(later - sooner >= 0.099 for sooner, later in zip(it.reads, it.reads[1:], strict=False))


@in_virtual_time
async def test_a_node_that_nobody_knows_yet_and_that_serves_clients_is_waited_for() -> None:
    it = Bench()
    dave = Incarnation("dave", "1")
    it.cursors = [Cursor(BOB, 7, ""), Cursor(dave, 6, "")]
    task = it.announce(7)
    await asyncio.sleep(2.0)
    assert not task.done()
    it.cursors = [Cursor(BOB, 7, ""), Cursor(dave, 7, "")]
    await asyncio.sleep(0.15)
    assert task.done()


@in_virtual_time
async def test_a_peer_that_is_dead_or_has_no_cursor_because_it_is_starting_is_not_waited_for() -> None:
    it = Bench()
    task = it.announce(7)
    await asyncio.sleep(2.0)
    it.cursors = [Cursor(CAROL, 5, "")]
    await asyncio.sleep(0.15)
    assert task.done()


@in_virtual_time
async def test_cursors_that_were_read_before_the_change_do_not_count() -> None:
    it = Bench()
    it.cursors = []
    await it.announce(7)
    it.cursors = [Cursor(BOB, 7, "")]
    task = it.announce(8)
    await asyncio.sleep(2.0)
    assert not task.done()
    task.cancel()


@pytest.mark.parametrize("is_store_away", [False, True])
@in_virtual_time
async def test_a_peer_that_lives_and_does_not_apply_it_is_given_up_and_named(is_store_away: bool) -> None:
    it = Bench()
    it.is_store_away = is_store_away
    began = it.loop.monotonic()
    with structlog.testing.capture_logs() as lines:
        late = await it.announce(7)
    assert 15.0 <= it.loop.monotonic() - began <= 15.2
    [line] = [line for line in lines if line["log_level"] == "warning"]
    assert line["nodes"] == late == ["bob"]


@in_virtual_time
async def test_a_node_that_is_not_seen_is_named_too_when_the_store_does_not_tell_of_it() -> None:
    it = Bench()
    del it.peers[BOB]
    it.apart, it.is_store_away = frozenset([BOB]), True
    assert await it.announce(7) == ["bob"]


@in_virtual_time
async def test_changes_that_nobody_waits_for_are_told_and_not_looked_for() -> None:
    it = Bench()
    await it.announce(7, is_certain=False)
    assert it.reads == []
    assert len(it.bob.callers) == 1


@in_virtual_time
async def test_many_changes_that_wait_share_what_is_read() -> None:
    it = Bench()
    tasks = [it.announce(event_id) for event_id in range(1, 51)]
    await asyncio.sleep(1.0)
    it.cursors = [Cursor(BOB, 50, "")]
    await asyncio.gather(*tasks)
    assert len(it.reads) <= 12


@in_virtual_time
async def test_what_is_known_of_a_peer_is_forgotten_when_it_is_gone() -> None:
    it = Bench()
    it.cursors = []
    await it.announce(7)
    it.peers = {}
    await it.announce(8)
    assert it.announcer._applied == {}
    assert it.announcer._turns == {}
