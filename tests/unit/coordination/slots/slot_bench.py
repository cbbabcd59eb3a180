"""A coordinator in virtual time, over a table of slots in memory, and the nodes around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from broker.coordination.slots.coordinator import SlotManager
from broker.ports.cluster import SlotService
from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Caller, Demand, Fence, NotCoordinator, QueueName, Supply, Unavailable
from broker.ports.slot import Slot
from tests.support.ids import message_id
from tests.support.memory_slots import FailingSlots, MemoryCluster
from tests.support.virtual_loop import VirtualLoop

ORDERS = QueueName("orders", 1)
ALICE = Incarnation("alice", "a")
BOB = Incarnation("bob", "b")
FENCE = Fence(1, "term 1")


@dataclass
class Node:
    """A node that gives what it has when it is asked to; `released` is how often it was."""

    give: Callable[[], Coroutine[Any, Any, int]] | None = None
    released: int = 0

    async def release(self, queue: QueueName, messages: int, caller: Caller) -> int:
        self.released += 1
        return await self.give() if self.give else 0


@dataclass
class Bench:
    """A coordinator and a store in which Alice and Bob live; Alice has messages in her lane."""

    cluster: MemoryCluster = field(default_factory=MemoryCluster)
    nodes: dict[str, Node] = field(default_factory=lambda: {"alice": Node(), "bob": Node()})
    fenced: list[str] = field(default_factory=list)
    expired: Callable[[int], int] = lambda queue_id: 0
    due: dict[int, int] = field(default_factory=dict)
    """Of messages of the queue, by id: when they expire."""
    asked: int = 0

    def __post_init__(self) -> None:
        self.store = FailingSlots(self.cluster.slots)
        self.cluster.claim(FENCE)
        for incarnation in (ALICE, BOB):
            self.cluster.join(incarnation)
        self.manager = SlotManager(
            self.store,
            cast(VirtualLoop, asyncio.get_running_loop()),
            others=lambda: cast(Mapping[str, SlotService], self.nodes),
            caller=lambda: Caller("alice", "a", fence=FENCE),
            window_size=10,
            on_fenced=self.fenced.append,
            expired=self.expired,
            due=self._find_due,
        )
        self.manager.set_living([ALICE, BOB])

    async def _find_due(self, queue_id: int) -> tuple[Sequence[int], int | None]:
        self.asked += 1
        now = asyncio.get_running_loop().wall_ms()  # type: ignore[attr-defined]
        return [each for each, due in self.due.items() if due <= now], min(self.due.values(), default=None)

    async def give(self, number: int) -> Slot:
        """Alice puts a message into the store and makes a slot of it."""
        start = message_id(0, number)
        self.cluster.put(ORDERS.queue_id, start)
        slot = Slot(ORDERS.queue_id, 0, start, start, 1, row=start)
        await self.cluster.slots.cut([], [], [slot], ALICE)
        return slot

    async def give_and_submit(self, number: int) -> Slot:
        slot = await self.give(number)
        await self.manager.submit_slot(ORDERS, slot, caller(ALICE, f"submit {number}"))
        return slot

    async def begin(self, incarnation: Incarnation, demand: int) -> Supply:
        return await self.manager.await_slots(
            [Demand(ORDERS, demand)] if demand else [], 0, caller(incarnation, "begin")
        )

    async def poll(self, incarnation: Incarnation, request_id: str = "poll", wait_ms: int = 5000) -> Supply:
        return await self.manager.await_slots([], wait_ms, caller(incarnation, request_id))


def caller(incarnation: Incarnation, request_id: str = "", fence: Fence = FENCE) -> Caller:
    return Caller(incarnation.node_id, incarnation.id, request_id, fence)


@asynccontextmanager
async def serving(expired: Callable[[int], int] = lambda queue_id: 0) -> AsyncIterator[Bench]:
    bench = Bench(expired=expired)
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(bench.manager.run(FENCE))
        await asyncio.sleep(0)
        yield bench
        run.cancel()


async def outcome(call: Coroutine[Any, Any, object]) -> object:
    """Return what a call answers or raises."""
    try:
        return await call
    except (NotCoordinator, Unavailable) as error:
        return error
