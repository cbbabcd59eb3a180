"""Nodes that share slots through a store and a coordinator, on one simulated clock; what must hold is checked always.

A run is a function of its schedule. Who coordinates and who lives is said by the schedule: how that comes about is
simulated elsewhere. All the slot logic is the real one, of the coordinator and of the nodes, and so is the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any, cast

from broker.coordination.slots.coordinator import SlotManager
from broker.errors import Evicted
from broker.message import PENDING
from broker.ports.cluster import SlotService
from broker.ports.cluster_rows import Incarnation
from broker.ports.peer_calls import Caller, Fence, PeerUnreachable, QueueName
from broker.ports.slot import Slot
from broker.queue.settings import QueueSettings
from tests.simulation.schedule import Fault
from tests.simulation.slots_faults import SOUND, Plant
from tests.simulation.slots_groups import Givers, GroupHistory
from tests.simulation.slots_history import History, Violation
from tests.simulation.slots_link import CoordinatorLink, StoreLink
from tests.simulation.slots_node import QUEUES, WINDOW_SIZE, Member
from tests.simulation.slots_schedule import NODES, SlotSchedule
from tests.support.memory_slots import MemoryCluster
from tests.support.stage import drive
from tests.support.virtual_loop import VirtualLoop

DRAIN_SECONDS = 40.0
_FILL_SECONDS = 20.0
"""Longer than a node waits for the answer of a long poll that is lost: until then it goes by what it heard before."""
CONDITIONS = {
    "lossy": "is_lossy",
    "late": "is_late",
    "headless": "is_headless",
    "outage": "is_store_down",
    "doubtful": "is_doubtful",
    "slow": "is_slow",
}
"""The faults that all nodes suffer, and the attributes of the world that say so."""


class Releasing:
    """What a coordinator can ask of another node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def release(self, queue: QueueName, messages: int, caller: Caller) -> int:
        if caller.node_id != self._node.name:
            await self._node.world.pass_cut()
        await self._node.world.travel()
        member = self._node.member
        if member is None:
            raise PeerUnreachable("nobody answers")
        return await member.runner.release(queue.queue_id, messages)


class Node:
    """One node: its process, its present incarnation, and its slot manager."""

    def __init__(self, world: SlotWorld, index: int) -> None:
        self.world = world
        self.index = index
        self.name = f"node {index}"
        self.member: Member | None = None
        self.known: tuple[Node, Fence] = (self, Fence())
        self.manager = self._new_manager()
        self._link = cast(SlotService, CoordinatorLink(world, self))
        self._incarnations = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._reign: asyncio.Task[Any] | None = None
        self._epoch = 0

    @property
    def service(self) -> SlotService:
        """What answers other nodes."""
        return cast(SlotService, self.manager)

    def coordinator(self) -> SlotService | None:
        """Return the way to whom this node takes for the coordinator."""
        return None if self.world.is_headless else self.known[0]._link

    def live(self) -> None:
        """Begin a new incarnation."""
        self.die()
        self._incarnations += 1
        self.member = member = Member(self, Incarnation(self.name, str(self._incarnations)))
        self.world.on_incarnations_changed()
        self.spawn(self._run(member))

    def die(self) -> None:
        """All that is in memory is gone."""
        for task in self._tasks:
            task.cancel()
        self._tasks = []
        if self.member is not None:
            self.member.is_serving = False
        self.member = None

    def end_incarnation(self, incarnation: Incarnation, *, in_order: bool = False) -> None:
        """The store is told that an incarnation is over, if it is not yet."""
        self.world.cluster.end(incarnation, in_order=in_order)
        self.world.on_incarnations_changed()

    def spawn(self, coroutine: Any) -> None:
        """Start something that ends with this incarnation."""
        self._tasks.append(self.world.spawn(coroutine))

    async def stop(self, member: Member) -> None:
        """Stop in order, if nothing comes between."""
        try:
            await member.stop()
        except Evicted:
            return
        self.end_incarnation(member.incarnation, in_order=True)
        self.world.loop.call_soon(self.die)

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
        return world.plant.manager(
            StoreLink(world),
            world.loop,
            others=lambda: {node.name: cast(SlotService, Releasing(node)) for node in world.nodes},
            caller=lambda: Caller(self.name, "process"),
            window_size=WINDOW_SIZE,
            on_fenced=lambda _: None,
            rescan_interval=world.plant.rescan_interval,
            keeper=world.keeper,
        )

    async def _run(self, member: Member) -> None:
        try:
            await member.run()
        except ExceptionGroup as errors:
            if self.member is not member:
                return  # a process that has gone
            if errors.subgroup(Evicted) is not None:
                self.world.loop.call_soon(self.live)
                return
            error = next(_leaves(errors))
            self.world.end(error if isinstance(error, Violation) else Violation(f"error: {error!r}"))


class SlotWorld:
    """The nodes of one run, and the store they share."""

    def __init__(
        self,
        schedule: SlotSchedule,
        loop: VirtualLoop,
        plant: Plant = SOUND,
        settings: QueueSettings | None = None,
    ) -> None:
        """`settings` are those of all queues."""
        self.loop = loop
        self.random = Random(schedule.seed)
        self.plant = plant
        self.cluster = MemoryCluster(plant.state(), plant.slots)
        self.history = History(self.cluster)
        self.settings = settings or QueueSettings()
        self.history.max_length = self.settings.max_length
        self.givers = Givers(lambda: self.members, self.cluster.living)
        concurrency = self.settings.group_concurrency
        self.groups = GroupHistory(concurrency, self.history, self.cluster) if concurrency else None
        """What clients hold of groups, if queues have any."""
        self.is_healing = self.is_filling = self.is_scripted = False
        self.is_store_down = self.is_doubtful = self.is_slow = self.is_lossy = self.is_headless = self.is_late = False
        self.is_cut = schedule.is_cut
        self.is_ranked = False
        """Have consumers of different nodes different priorities?"""
        self.nodes: list[Node] = []
        self._schedule = schedule
        self._drains = Random(~schedule.seed).sample(range(NODES), k=1 + schedule.seed % NODES)
        self._epoch = 0
        self._leader: Node | None = None
        self._requests = 0
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._ended: asyncio.Future[None] = loop.create_future()

    async def run(self) -> None:
        """Run until all faults are over and every message is settled."""
        self.loop.set_exception_handler(self._on_error)
        try:
            await self._run()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def play(self, script: Callable[[SlotWorld], Awaitable[None]]) -> None:
        """Run without faults while `script` does what clients do."""
        self.is_scripted = True
        self.loop.set_exception_handler(self._on_error)
        self._begin()
        playing = self.spawn(self._play(script))
        try:
            await asyncio.wait((playing, self._ended), return_when=asyncio.FIRST_COMPLETED)
            if self._ended.done():
                self._ended.result()
            playing.result()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _play(self, script: Callable[[SlotWorld], Awaitable[None]]) -> None:
        await asyncio.sleep(0.5)
        self._tell_living()
        await asyncio.sleep(1.5)
        await script(self)

    def _tell_living(self) -> None:
        """Tell the managers who lives: what they heard last may be what was said before."""
        for node in self.nodes:
            node.manager.set_living(self.cluster.living())

    def _begin(self) -> None:
        self.nodes = [Node(self, index) for index in range(NODES)]
        for node in self.nodes:
            node.live()
        self._elect(self.nodes[0], 0.0)

    async def _run(self) -> None:
        self._begin()
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

    def read_window(self, lane: int) -> Sequence[Slot]:
        """Return what a node that starts goes on with."""
        return drive(self.cluster.slots.window(lane, WINDOW_SIZE))

    def consumers_beside(self, member: Member, queue_id: int) -> Sequence[Incarnation]:
        """Return the other nodes that have consumers of the queue."""
        return [other.incarnation for other in self.members_beside(member) if other.is_consuming(queue_id)]

    def keeper(self, queue_id: int) -> Incarnation | None:
        """Return the node that keeps the length of a queue."""
        if self.settings.is_given_by_one_node:
            return self.givers.of(queue_id)
        if not (self.settings.has_length and self.plant.knows_keeper):
            return None
        living = self.cluster.living()
        members = [node.member for node in self.nodes if node.member and node.member.incarnation in living]
        consuming = [member.incarnation for member in members if member.is_consuming(queue_id)]
        return next(iter(consuming or living), None)

    @property
    def members(self) -> Sequence[Member]:
        """The nodes as they live now."""
        return [node.member for node in self.nodes if node.member is not None]

    def on_held(self) -> None:
        """What clients hold, or who consumes, has changed."""
        if self.settings.is_given_by_one_node:
            self.givers.look()

    def members_beside(self, member: Member) -> Sequence[Member]:
        """Return the other nodes, as they live now."""
        return [node.member for node in self.nodes if node.member is not None and node.member is not member]

    def may_consume(self, node: Node) -> bool:
        """Does this node help to drain the queues in the end? Of nodes that do not reach each other only one does."""
        drains = node is self.nodes[-1] if self.is_cut else node.index in self._drains
        return drains and not self.is_filling

    def new_request_id(self) -> str:
        self._requests += 1
        return str(self._requests)

    def numbered(self, caller: Caller) -> Caller:
        return replace(caller, request_id=self.new_request_id())

    def spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = self.loop.create_task(coroutine)
        self._tasks[task] = None
        task.add_done_callback(self._on_done)
        return task

    def on_incarnations_changed(self) -> None:
        """Every node learns of it, some earlier than others."""
        self.on_held()
        for node in self.nodes:
            self.loop.call_later(self.random.uniform(0.0, 0.2), node.manager.set_living, self.cluster.living())
            if node.member is not None:
                node.member.on_members()

    async def pass_cut(self) -> None:
        """Let a call leave its node, if it can."""
        if self.is_cut:
            await asyncio.sleep(0.2)
            raise PeerUnreachable("nothing passes")

    async def travel(self) -> bool:
        """Let a call be under way; return whether its answer will be lost."""
        fate = self.random.random() if self.is_lossy else 1.0
        if fate < 0.15:
            await asyncio.sleep(0.2)
            raise PeerUnreachable("the call was lost")
        if self.random.random() < 0.3:
            await asyncio.sleep(self.random.uniform(0.0, 0.02))
        return fate < 0.4

    def _on_error(self, _: object, context: dict[str, Any]) -> None:
        """A callback has failed: that is an error of the run."""
        if not self._ended.done():
            self._ended.set_exception(context.get("exception") or RuntimeError(context["message"]))

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None and not self._ended.done():
            self._ended.set_exception(error)

    def _heal(self) -> None:
        for name in CONDITIONS.values():
            setattr(self, name, False)
        if self.settings.max_length is not None:
            self._fill()
            self.loop.call_later(_FILL_SECONDS, self._check_lengths)
        else:
            self._drain()

    def _fill(self) -> None:
        """Let each node publish to the queues more than they may have. Nobody consumes, and no node comes or goes."""
        self.is_healing = self.is_filling = True
        self._tell_living()
        for member in (node.member for node in self.nodes):
            for queue in member.queues.values() if member is not None else ():
                if member is not None:
                    member.stop_consuming(queue.queue_id, is_closing=True)
                    member.publish(queue, 2 * (self.settings.max_length or 0), PENDING)

    def _check_lengths(self) -> None:
        for name in QUEUES:
            free = sum(
                row.count
                for row in drive(self.cluster.slots.slots())
                if (row.queue_id, row.owner) == (name.queue_id, None)
            )
            ready = [node.member.queues[name.queue_id].ready_count for node in self.nodes if node.member is not None]
            if sum(ready) + free != self.settings.max_length:
                return self.end(Violation(f"I64: a queue has {ready} messages on its nodes, and {free} are free"))

        self._drain()

    def _drain(self) -> None:
        self.is_healing, self.is_filling = True, False
        for node in self.nodes:
            for queue in QUEUES:
                if node.member is not None and self.may_consume(node):
                    node.member.start_consuming(queue.queue_id)
                    node.member.stop_consuming(queue.queue_id, is_closing=True)
                    self.loop.call_later(self.random.uniform(0.0, 0.03), node.member.start_consuming, queue.queue_id)
                elif node.member is not None and node.member.is_consuming(queue.queue_id):
                    node.member.stop_consuming(queue.queue_id, is_closing=True)
        self._look()

    def _look(self) -> None:
        state = self.cluster.state
        if not state.rows and not state.slots and self.history.confirmed <= self.history.settled:
            self.end()
        else:
            self.loop.call_later(0.5, self._look)

    def _give_up(self) -> None:
        left = len(self.cluster.state.rows), len(self.cluster.state.slots)
        self.end(
            Violation(
                f"I63: {left[0]} messages and {left[1]} slots are left {DRAIN_SECONDS:.0f} s after the last fault"
            )
        )

    # Faults

    def _strike(self, fault: Fault) -> None:
        node = self.nodes[fault.node]
        if fault.kind in ("elect", "rival"):
            self._elect(node, fault.seconds if fault.kind == "rival" else 0.0)
        elif fault.kind == "crash":
            self._crash(node, fault.seconds)
        elif fault.kind == "stop":
            self._stop(node, fault.seconds)
        elif fault.kind == "evict":
            self._evict(node, fault.seconds)
        elif fault.kind == "consumers":
            self._move_consumers(node)
        elif fault.kind == "restless":
            self.spawn(self._move_on(node, self.loop.time() + fault.seconds))
        else:
            name = CONDITIONS[fault.kind]
            setattr(self, name, True)
            self.loop.call_later(fault.seconds, setattr, self, name, False)

    def _elect(self, node: Node, linger: float) -> None:
        """`node` takes over; the former coordinator learns it after `linger`, or from the store."""
        self._epoch += 1
        self._leader = node
        fence = Fence(self._epoch, f"term {self._epoch}")
        self.cluster.claim(fence)
        for other in self.nodes:
            if other is not node:
                self.loop.call_later(linger, other.depose, fence.epoch)
            self.loop.call_later(self.random.uniform(0.0, linger + 0.2), self._learn, other, node, fence)
        node.reign(fence)

    @staticmethod
    def _learn(node: Node, coordinator: Node, fence: Fence) -> None:
        if fence.epoch > node.known[1].epoch:
            node.known = coordinator, fence

    def _crash(self, node: Node, seconds: float) -> None:
        member = node.member
        if member is None:
            return
        node.die()
        node.restart_manager()
        # Many a node is back before the others have noticed.
        self.loop.call_later(self.random.uniform(0.0, 2 * seconds), node.end_incarnation, member.incarnation)
        self.loop.call_later(seconds, node.live)
        self._replace_leader(node)

    def _stop(self, node: Node, seconds: float) -> None:
        """A node stops in order; one that has not done so after some seconds is killed. Then it starts again."""
        if node.member is None:
            return
        node.spawn(node.stop(node.member))
        self.loop.call_later(seconds, node.live)
        self._replace_leader(node)

    def _replace_leader(self, node: Node) -> None:
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

    async def _move_on(self, node: Node, until: float) -> None:
        """Clients open a channel, consume, and close it, sooner than the coordinator answers."""
        while self.loop.time() < until:
            self._move_consumers(node)
            await asyncio.sleep(self.random.uniform(0.0, 0.03))

    def _move_consumers(self, node: Node) -> None:
        for queue in QUEUES:
            if node.member is not None:
                if node.member.is_consuming(queue.queue_id):
                    node.member.stop_consuming(queue.queue_id, is_closing=self.random.random() < 0.5)
                else:
                    node.member.start_consuming(queue.queue_id)


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
