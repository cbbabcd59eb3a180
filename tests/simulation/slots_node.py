"""A node in one incarnation: the real queues, slot reader, journal and slot logic, and clients of it.

What its clients do is drawn from the run's random numbers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from broker.backoff import Backoff
from broker.codec.message_group import group_of
from broker.coordination.membership.contacts import Contacts
from broker.coordination.slots.runner import SlotRunner
from broker.message import PENDING, STORED, TRANSIENT, Message, MessageIdGenerator, body_tails
from broker.ports.cluster_rows import Incarnation, NodeRow, NodeState
from broker.ports.peer_calls import Caller, QueueName
from broker.queue.due_reader import DueReader
from broker.queue.group_reader import GroupReader
from broker.queue.grouped_queue import GroupedQueue
from broker.queue.outcome import ACKED, OVER_LENGTH, Outcome
from broker.queue.queue import Queue
from broker.queue.settings import QueueLimits
from broker.queue.slot_reader import SlotReader
from broker.store.journal import GroupCommitJournal
from broker.store.retrying import Retry, RetryingStore
from tests.simulation.slots_groups import GroupServices, draw_header
from tests.simulation.slots_history import History
from tests.simulation.slots_link import MemberLink
from tests.support.composition import NoServices

if TYPE_CHECKING:
    from tests.simulation.slots_world import Node

QUEUES: Final = (QueueName("orders", 1), QueueName("letters", 2))
CREDIT: Final = 3
DEMAND_SIZE: Final = 6
HEARTBEAT_INTERVAL: Final = 0.5
WINDOW_SIZE: Final = 5
# So little memory that some of what waits is paged out.
LIMITS: Final = QueueLimits(memory=6000, transient_memory=9000, window_size=WINDOW_SIZE, read_ahead=3)


class Consumer:
    """The consumers of a queue on this node, as one: it takes messages while it has credit, and may come and go."""

    is_exclusive = False
    is_resting = False
    priority = 0

    def __init__(self, member: Member, queue: Queue) -> None:
        self.unacked: list[Message] = []
        self.credit = CREDIT
        self._member = member
        self._queue = queue

    def take(self, ready: deque[Message], limit: int) -> int:
        count = min(limit, len(ready), max(self.credit - len(self.unacked), 0))
        taken = [ready.popleft() for _ in range(count)]
        self._queue.on_taken(count, sum(message.weight for message in taken))
        for message in taken:
            self.hold(message)
        return count

    def hold(self, message: Message) -> None:
        """A client gets a message."""
        member = self._member
        group = 0 if member.world.groups is None else group_of(message.header)
        member.world.history.deliver(
            member.incarnation, self._queue.queue_id, message.id, redelivered=message.redelivered, group=group
        )
        if member.world.groups is not None:
            member.world.groups.deliver(member, self._queue, message)
        self.unacked.append(message)

    def can_take(self) -> bool:
        return len(self.unacked) < self.credit

    def room(self, limit: int) -> int:
        return min(self.credit - len(self.unacked), limit)

    def on_queue_deleted(self) -> None:
        raise AssertionError("no queue is deleted")


class WatchedQueue(Queue):
    """A queue whose history knows what it lets go because it is too long."""

    history: History

    def settle(self, messages: Sequence[Message], outcome: Outcome, unstored: int = 0) -> None:
        if outcome is OVER_LENGTH:
            self.history.drop(self.queue_id, [message.id for message in messages], self.ready_count)
        super().settle(messages, outcome, unstored)


class WatchedGroups(WatchedQueue, GroupedQueue):
    """Likewise, whose messages belong to groups."""


class Member:
    """One incarnation of a node."""

    def __init__(self, node: Node, incarnation: Incarnation) -> None:
        world = self.world = node.world
        self._node = node
        self.incarnation = incarnation
        self.is_trusted = True
        self.contacts = Contacts(HEARTBEAT_INTERVAL)
        store, registration = world.cluster.join(incarnation)
        link = MemberLink(world, store, incarnation)
        clock = world.loop
        self._ids = MessageIdGenerator(registration.lane, registration.last_message_id)
        self._wall_offset_ms = world.random.choice((-400, 0, 0, 400))
        retrying = RetryingStore(
            cast(Any, link), Retry("the store is away", Backoff(0.1, 1.0), monotonic=clock.monotonic)
        )
        self.journal = GroupCommitJournal(
            link,
            high_water=registration.last_message_id,
            touched_confirms=set(),
            on_settled=lambda: None,
            on_full=lambda _: None,
            monotonic=clock.monotonic,
        )
        self.runner = SlotRunner(
            link,
            incarnation,
            registration.lane,
            self._ids,
            clock=clock,
            journal=self.journal,
            read=retrying.read,
            mark_redelivered=retrying.mark_redelivered,
            held_ids=lambda queue: sorted(message.id for message in self.consumers[queue.queue_id].unacked),
            window_size=WINDOW_SIZE,
            demand_size=DEMAND_SIZE,
            coordinator=node.coordinator,
            caller=lambda: Caller(incarnation.node_id, incarnation.id, fence=node.known[1]),
            new_request_id=world.new_request_id,
            queues=lambda: self.queues.values(),
            find_queue=lambda queue_id: self.queues.get(queue_id),
            consumers_elsewhere=lambda queue: world.consumers_beside(self, queue.queue_id),
            is_kept_elsewhere=lambda queue: world.keeper(queue.queue_id) not in (None, incarnation),
            cut_off=self._cut_off,
            on_adopted=self.dispatch,
            deciders=world.plant.deciders,
        )
        self._tasks: asyncio.TaskGroup
        self._reads: set[asyncio.Task[None]] = set()
        self.is_serving = False
        self._slots_task: asyncio.Task[None]
        tasks: Any = self
        reader = SlotReader(retrying, self.journal, tasks, self.dispatch, self.runner.on_read)
        groups = GroupServices(
            GroupReader(retrying, self.journal, tasks, on_done=self.dispatch),
            DueReader(
                retrying, self.journal, tasks, now_ms=clock.wall_ms, has_room=lambda _: True, on_done=self.dispatch
            ),
            clock.wall_ms,
        )
        new_queue = WatchedQueue if world.groups is None else WatchedGroups
        self.queues = {
            name.queue_id: new_queue(
                "/",
                name.name,
                name.queue_id,
                durable=True,
                lane=registration.lane,
                limits=LIMITS,
                journal=self.journal,
                read_slots=reader.start,
                observer=self.runner,
                services=NoServices() if world.groups is None else groups,
                settings=world.settings,
            )
            for name in QUEUES
        }
        for queue in self.queues.values():
            queue.history = world.history
        self.consumers = {queue_id: Consumer(self, queue) for queue_id, queue in self.queues.items()}
        for queue in self.queues.values() if world.is_ranked else ():
            queue.rank()
            self.consumers[queue.queue_id].priority = node.index - 1
        backlog = world.read_window(registration.lane)
        self.runner.begin(backlog)
        for slot in backlog:
            slot.maybe_delivered |= not registration.clean
            self.queues[slot.queue_id].recover(slot)

    def create_task(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task of this incarnation that reads."""
        task = self._tasks.create_task(coroutine, name=name)
        self._reads.add(task)
        task.add_done_callback(self._reads.discard)
        return task

    async def run(self) -> None:
        """Live until cancelled, or until the store says that this incarnation is over (`Evicted`)."""
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(self.journal.run(), name="journal")
            self._slots_task = self._tasks.create_task(self.runner.run(), name="slots")
            self._tasks.create_task(self._contact(), name="contacts")
            self._work_task = self._tasks.create_task(self._work(), name="clients")
            self.is_serving = True
            for queue_id in () if self.world.is_scripted else self.queues:
                if self.world.may_consume(self._node) if self.world.is_healing else self.world.random.random() < 0.5:
                    self.start_consuming(queue_id)

    async def stop(self) -> None:
        """Stop in order: the clients go, no others come, and what is here goes to the other nodes."""
        self.is_serving = False
        self._work_task.cancel()
        for queue_id in self.queues:
            self.stop_consuming(queue_id, is_closing=True)
        await asyncio.gather(*self._reads)  # a node's task group ends when what is being read has come
        self.runner.stop()
        await asyncio.wait((self._slots_task,))
        await self.runner.leave()
        await self.journal.drain()

    # Other nodes

    def on_members(self) -> None:
        """Other nodes have begun an incarnation, or ended one."""
        members = {
            other.incarnation.node_id: NodeRow(
                other.incarnation.node_id, other.incarnation.id, 0, 0, NodeState.UP, "", 0
            )
            for other in self.world.members_beside(self)
        }
        self.contacts.on_members(members, self.world.loop.monotonic())

    def _cut_off(self) -> Collection[Incarnation]:
        now = self.world.loop.monotonic()
        return self.contacts.cut_off({other.incarnation.node_id: now for other in self.world.members_beside(self)})

    async def _contact(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_INTERVAL / 2)
            for other in () if self.world.is_cut else self.world.members_beside(self):
                is_served = self.runner.demand.failing_since is None
                other.contacts.on_call(self.incarnation, self.world.loop.monotonic(), is_served=is_served)

    # Clients

    def is_consuming(self, queue_id: int) -> bool:
        return bool(self.queues[queue_id].consumers)

    def start_consuming(self, queue_id: int) -> None:
        """Consumers come, if the node listens already."""
        if self.is_serving and not self.is_consuming(queue_id):
            self.queues[queue_id].turns.add(self.consumers[queue_id])
            if self.world.settings.is_given_by_one_node:
                self.world.givers.subscribe(queue_id, self.incarnation)
            self.dispatch(self.queues[queue_id])

    def stop_consuming(self, queue_id: int, *, is_closing: bool) -> None:
        """Consumers go. When their channels are closing, what they had is ready again."""
        self.queues[queue_id].remove_consumer(self.consumers[queue_id])
        if is_closing:
            self._requeue(self.queues[queue_id], list(self.consumers[queue_id].unacked))
        self.world.on_held()

    def dispatch(self, queue: Queue) -> None:
        """Deliver what can be delivered."""
        if self.is_trusted or self.world.plant.delivers_without_trust:
            queue.turns.wake(self.consumers[queue.queue_id])
            queue.dispatch()

    async def _work(self) -> None:
        while not self.world.is_scripted:
            await asyncio.sleep(self.world.random.uniform(0.25, 0.6))
            for queue in self.queues.values():
                await self._work_on(queue)

    async def _work_on(self, queue: Queue) -> None:
        random, consumer = self.world.random, self.consumers[queue.queue_id]
        unacked = consumer.unacked
        consumer.credit = CREDIT if self.world.is_healing else random.choice((0, 1, CREDIT, CREDIT, CREDIT))
        if not self.world.is_healing and random.random() < 0.25:
            self.publish(queue, random.randint(1, 4), TRANSIENT if random.random() < 0.2 else PENDING)
        self.dispatch(queue)
        if unacked and random.random() < 0.15:
            self._requeue(queue, [random.choice(unacked)])
        if unacked and random.random() < 0.6:
            self._settle(queue, unacked[: random.randint(1, len(unacked))])
        if random.random() < 0.03 and not self.world.is_filling:
            await self._get(queue)

    def publish(self, queue: Queue, count: int, state: int) -> None:
        self._ids.advance(self.world.loop.wall_ms() + self._wall_offset_ms)
        messages = [
            Message(self._ids.next(), queue, b"\0\0", self._header(), *body_tails(b"x" * 10, 4096), state)
            for _ in range(count)
        ]
        for message in messages:
            self.world.history.publish(message.id)
            if state == PENDING:
                self.journal.append(message)
            queue.append(message)
        self.dispatch(queue)
        if state == PENDING:
            self._tasks.create_task(self._confirm(messages), name="confirm")

    def _header(self) -> bytes:
        return b"" if self.world.groups is None else draw_header(self.world.random, 10)

    async def _confirm(self, messages: Sequence[Message]) -> None:
        await self.journal.flushed()
        self.world.history.confirm(message.id for message in messages if message.state >= STORED)

    def _settle(self, queue: Queue, messages: Sequence[Message]) -> None:
        for message in messages:
            self.consumers[queue.queue_id].unacked.remove(message)
            self.world.history.settled.add(message.id)
        self._release(queue, messages)
        queue.settle(messages, ACKED)
        self.dispatch(queue)
        self.world.on_held()

    def _requeue(self, queue: Queue, messages: Sequence[Message]) -> None:
        for message in messages:
            self.consumers[queue.queue_id].unacked.remove(message)
        self._release(queue, messages)
        queue.requeue(messages)
        self.dispatch(queue)
        self.world.on_held()

    def _release(self, queue: Queue, messages: Sequence[Message]) -> None:
        if self.world.groups is not None:
            self.world.groups.release(queue, messages)

    async def _get(self, queue: Queue) -> None:
        """Get one message, from another node if there is none here."""
        if self.world.settings.is_given_by_one_node and not queue.consumers:
            return  # whoever gets without consumers shares a queue with nobody (docs/limits.md)
        if not queue.turns.dispatcher.is_active:
            return  # another node gives out its messages
        if not queue.ready_count and not await self.runner.fetch(queue):
            return
        message = queue.pop() if self.is_trusted else None
        if message is not None:
            self.consumers[queue.queue_id].hold(message)
