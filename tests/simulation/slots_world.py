"""Nodes that share slots through a store and a coordinator, on one simulated clock; what must hold is checked always.

A run is a function of its schedule. Who coordinates and who lives is said by the schedule: how that comes about is
simulated elsewhere. The slot managers are the real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from random import Random
from typing import Any, TypeVar, cast

from broker.coordination.slots.coordinator import SlotManager
from broker.errors import Evicted
from broker.ports.cluster import SlotService
from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Caller, Fence, PeerUnreachable, QueueName
from tests.simulation.schedule import Fault
from tests.simulation.slots_history import History
from tests.simulation.slots_link import StoreLink
from tests.simulation.slots_node import QUEUES, Member
from tests.simulation.slots_schedule import NODES, SlotSchedule
from tests.support.memory_slots import SlotTable, Violation
from tests.support.virtual_loop import VirtualLoop

T = TypeVar("T")

DRAIN_SECONDS = 40.0


class Releasing:
    """What a coordinator can ask of another node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def release(self, queue: QueueName, messages: int, caller: Caller) -> int:
        await self._node.world.travel()
        member = self._node.member
        if member is None:
            raise PeerUnreachable("nobody answers")
        # Whoever asked may stop waiting; what was taken out of memory must reach the store all the same.
        return await asyncio.shield(self._node.spawn(self._give(member, queue, messages)))

    @staticmethod
    async def _give(member: Member, queue: QueueName, messages: int) -> int:
        try:
            return await member.give(queue.queue_id, messages)
        except Evicted:
            return 0


class Node:
    """One node: its process, its present incarnation, and its slot manager."""

    def __init__(self, world: SlotWorld, index: int) -> None:
        self.world = world
        self.name = f"node {index}"
        self.member: Member | None = None
        self.known: tuple[Node, Fence] = (self, Fence())
        self.manager = self._new_manager()
        self._incarnations = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._reign: asyncio.Task[Any] | None = None
        self._epoch = 0

    def live(self) -> None:
        """Begin a new incarnation."""
        self.die()
        self._incarnations += 1
        incarnation = Incarnation(self.name, str(self._incarnations))
        lane = self.world.table.join(incarnation)
        self.member = Member(self.world, incarnation, lane)
        for queue in QUEUES:
            self.member.consuming[queue.queue_id] = self.world.is_healing or self.world.random.random() < 0.5
        self.world.on_incarnations_changed()
        for loop in (self.member.work, self.member.poll):
            self.spawn(self._run(self.member, loop))

    def die(self) -> None:
        """All that is in memory is gone."""
        for task in self._tasks:
            task.cancel()
        self._tasks = []
        self.member = None

    def end_incarnation(self, incarnation: Incarnation, *, in_order: bool = False) -> None:
        """The store is told that an incarnation is over, if it is not yet."""
        self.world.table.end(incarnation, in_order=in_order)
        self.world.on_incarnations_changed()

    def spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        """Start something that ends with this incarnation."""
        task = self.world.spawn(coroutine)
        self._tasks.append(task)
        return task

    def reign(self, fence: Fence) -> None:
        self.depose(fence.epoch)
        self._epoch = fence.epoch
        self._reign = self.world.spawn(self.manager.run(fence))

    def depose(self, epoch: int) -> None:
        """This node learns, if it does not know, that it has no power since `epoch`."""
        if self._reign is not None and self._epoch < epoch:
            self._reign.cancel()
            self._reign = None

    def restart_manager(self) -> None:
        self.depose(self._epoch + 1)
        self.manager = self._new_manager()

    def _new_manager(self) -> SlotManager:
        world = self.world
        return SlotManager(
            cast(Any, StoreLink(world)),
            world.loop,
            others=lambda: {node.name: cast(SlotService, Releasing(node)) for node in world.nodes},
            caller=lambda: Caller(self.name, "process"),
            window_size=5,
            on_fenced=lambda _: None,
            rescan_interval=1e6 if "no rescan" in world.bugs else 1.0,
        )

    async def _run(self, member: Member, loop: Callable[[], Awaitable[None]]) -> None:
        try:
            await loop()
        except Evicted:
            if self.member is member:
                self.world.loop.call_soon(self.live)
        except Violation as violation:
            self.world.end(violation)


class SlotWorld:
    """Runs a schedule to its end, or to the first violation."""

    def __init__(self, schedule: SlotSchedule, loop: VirtualLoop, bugs: Collection[str] = ()) -> None:
        self.loop = loop
        self.random = Random(schedule.seed)
        self.bugs = bugs
        self.table = SlotTable(bugs)
        self.history = History(self.table)
        self.is_healing = False
        self.is_store_down = self.is_doubtful = self.is_lossy = False
        self.nodes: list[Node] = []
        self._schedule = schedule
        self._epoch = 0
        self._leader: Node | None = None
        self._number = 0
        self._began = loop.time()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ended: asyncio.Future[None] = loop.create_future()

    async def run(self) -> None:
        """Run until all faults are over and every message is settled."""
        try:
            await self._run()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        self.nodes = [Node(self, index) for index in range(NODES)]
        for node in self.nodes:
            node.live()
        self._elect(self.nodes[0], 0.0)
        for fault in self._schedule.faults:
            self.loop.call_later(fault.at, self._strike, fault)
        self.loop.call_later(self._schedule.healed_at + 0.5, self._heal)
        self.loop.call_later(self._schedule.healed_at + DRAIN_SECONDS, self._give_up)
        await self._ended
        self.history.check_end()

    def end(self, violation: Violation | None = None) -> None:
        """The run is over."""
        if self._ended.done():
            return
        if violation is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(violation)

    def link(self, incarnation: Incarnation) -> StoreLink:
        return StoreLink(self, incarnation)

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def on_incarnations_changed(self) -> None:
        """Every node learns of it, some earlier than others."""
        incarnations = [
            Incarnation(name, node.incarnation) for name, node in self.table.nodes.items() if node.incarnation
        ]
        for node in self.nodes:
            self.loop.call_later(self.random.uniform(0.0, 0.2), node.manager.set_living, incarnations)

    async def ask_coordinator(
        self, incarnation: Incarnation, request_id: str, call: Callable[[SlotService, Caller], Awaitable[T]]
    ) -> T:
        """Call whom this node takes for the coordinator."""
        node = next(node for node in self.nodes if node.name == incarnation.node_id)
        coordinator, fence = node.known
        is_answer_lost = await self.travel()
        answer = await call(cast(SlotService, coordinator.manager), Caller(*_names(incarnation), request_id, fence))
        if is_answer_lost:
            await asyncio.sleep(0.2)
            raise PeerUnreachable("no answer came")
        return answer

    async def travel(self) -> bool:
        """Let a call be under way; return whether its answer will be lost."""
        fate = self.random.random() if self.is_lossy else 1.0
        if fate < 0.15:
            await asyncio.sleep(0.2)
            raise PeerUnreachable("the call was lost")
        if self.random.random() < 0.3:
            await asyncio.sleep(self.random.uniform(0.0, 0.02))
        return fate < 0.4

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._ended.done():
            self._ended.set_exception(error)

    def _heal(self) -> None:
        self.is_healing = True
        self.is_store_down = self.is_doubtful = self.is_lossy = False
        for node in self.nodes:
            for queue in QUEUES:
                if node.member is not None:
                    node.member.consuming[queue.queue_id] = True
        self._look()

    def _look(self) -> None:
        if not self.table.messages and not self.table.rows and self.history.confirmed <= self.history.settled:
            self.end()
        else:
            self.loop.call_later(0.5, self._look)

    def _give_up(self) -> None:
        left = len(self.table.messages), len(self.table.rows)
        self.end(
            Violation(f"L3: {left[0]} messages and {left[1]} slots are left {DRAIN_SECONDS:.0f} s after the last fault")
        )

    # Faults

    def _strike(self, fault: Fault) -> None:
        node = self.nodes[fault.node]
        if fault.kind in ("elect", "rival"):
            self._elect(node, fault.seconds if fault.kind == "rival" else 0.0)
        elif fault.kind in ("crash", "stop"):
            self._crash(node, fault.seconds, in_order=False)
        elif fault.kind == "evict":
            self._evict(node, fault.seconds)
        elif fault.kind == "consumers":
            self._move_consumers(node)
        else:
            name = {"lossy": "is_lossy", "doubtful": "is_doubtful", "outage": "is_store_down"}[fault.kind]
            setattr(self, name, True)
            self.loop.call_later(fault.seconds, setattr, self, name, False)

    def _elect(self, node: Node, linger: float) -> None:
        """`node` takes over; the former coordinator learns it after `linger`, or from the store."""
        self._epoch += 1
        self._leader = node
        fence = Fence(self._epoch, f"term {self._epoch}")
        self.table.claim(fence)
        for other in self.nodes:
            if other is not node:
                self.loop.call_later(linger, other.depose, fence.epoch)
            self.loop.call_later(self.random.uniform(0.0, linger + 0.2), self._learn, other, node, fence)
        node.reign(fence)

    @staticmethod
    def _learn(node: Node, coordinator: Node, fence: Fence) -> None:
        if fence.epoch > node.known[1].epoch:
            node.known = coordinator, fence

    def _crash(self, node: Node, seconds: float, *, in_order: bool) -> None:
        member = node.member
        if member is None:
            return
        node.die()
        node.restart_manager()
        self.loop.call_later(self.random.uniform(0.0, seconds), node.end_incarnation, member.incarnation)
        self.loop.call_later(seconds, node.live)
        if self._leader is node:
            successor = self.nodes[(self.nodes.index(node) + 1) % NODES]
            self.loop.call_later(0.3, self._elect, successor, 0.0)

    def _evict(self, node: Node, seconds: float) -> None:
        """A node has lost its trust, and others end its incarnation; it goes on in the belief that it lives."""
        member = node.member
        if member is None:
            return
        member.is_trusted = False
        self.loop.call_later(seconds / 2, node.end_incarnation, member.incarnation)
        self.loop.call_later(seconds, self._notice_eviction, node, member)

    @staticmethod
    def _notice_eviction(node: Node, member: Member) -> None:
        if node.member is member:
            node.live()

    def _move_consumers(self, node: Node) -> None:
        for queue in QUEUES:
            if node.member is not None:
                if node.member.consuming[queue.queue_id]:
                    node.member.stop_consuming(queue.queue_id)
                else:
                    node.member.consuming[queue.queue_id] = True


def _names(incarnation: Incarnation) -> tuple[str, str]:
    return incarnation.node_id, incarnation.id
