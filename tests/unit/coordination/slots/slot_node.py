"""One node with one queue of a cluster: real queue, reader and slot logic over a store in memory, driven by hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from broker.clock import Clock
from broker.coordination.slots.handoff import Portion
from broker.coordination.slots.runner import SlotRunner
from broker.message import PENDING, TRANSIENT, Message, MessageIdGenerator, body_tails
from broker.ports.cluster import SlotService
from broker.ports.cluster_rows import Incarnation, NodeRow, NodeState, SlotRow, slot_of
from broker.ports.peer_calls import Caller, Fence
from broker.ports.slot import Slot
from broker.queue.queue import Queue
from broker.queue.settings import QueueLimits, QueueSettings
from broker.queue.slot_reader import SlotReader
from broker.store.memory.store import MemoryState, MemoryStore
from tests.support.composition import NoServices
from tests.support.fake_journal import FakeJournal
from tests.support.stage import Gate, Stage, drive

QUEUE_ID = 7
EPOCH_MS = 1_292_976_000_000
LIMITS = QueueLimits(memory=2500, transient_memory=5000, window_size=4, read_ahead=3, read_ahead_bytes=4000)
FENCE = Fence()
DEMAND_SIZE = 100


@dataclass(eq=False)
class Taker:
    """The consumer of a node: it takes as much as it is allowed to, and holds what it has taken."""

    node: Node
    credit: int = 0
    is_exclusive: bool = False
    is_resting: bool = False
    priority: int = 0
    unacked: int = 0
    taken: list[Message] = field(default_factory=list)

    def take(self, ready: deque[Message], limit: int) -> int:
        taken = [ready.popleft() for _ in range(min(limit, self.credit))]
        self.credit -= len(taken)
        self.node.queue.on_taken(len(taken), sum(message.weight for message in taken))
        self.taken += taken
        for message in taken:
            self.node.held[message.id] = message
        return len(taken)

    def allow(self, credit: int) -> None:
        """Let it take so many more."""
        self.credit = credit
        self.node.queue.turns.wake(self)

    def can_take(self) -> bool:
        return self.credit > 0

    def room(self, limit: int) -> int:
        return min(self.credit, limit)

    def on_queue_deleted(self) -> None:
        """It never is."""


class Node:
    """One incarnation of a node: a queue with its store and its slots, and what its clients hold."""

    def __init__(
        self,
        state: MemoryState,
        clock: Clock,
        node_id: str,
        incarnation: str,
        limits: QueueLimits = LIMITS,
        *,
        is_balanced: bool = False,
        settings: QueueSettings | None = None,
        journal: Callable[[FakeJournal], Any] | None = None,
    ) -> None:
        """With `is_balanced` the node hands off by itself what others want; `journal` stands before its journal."""
        self.state = state
        self.clock = clock
        self.incarnation = Incarnation(node_id, incarnation)
        row = NodeRow(node_id, incarnation, 1, 0, NodeState.UP, "", 0)
        state.cluster.nodes[node_id] = row
        self.store = MemoryStore(state, is_shared=True)
        drive(self.store.open())
        registration = drive(self.store.members.join(self.incarnation))
        self.lane = registration.lane
        self.ids = MessageIdGenerator(self.lane, registration.last_message_id)
        self.journal = FakeJournal(self.store, set(), Gate())
        self.stage = Stage()
        self.held: dict[int, Message] = {}
        self.coordinator: SlotService | None = None
        self.consumers_elsewhere: list[Incarnation] = []
        self.is_kept_elsewhere = False
        self.next_due: int | None = None
        self.asked_due = 0
        self.cut_off: list[Incarnation] = []
        numbers = count(1)
        self.runner = SlotRunner(
            self.store.slots,
            self.incarnation,
            self.lane,
            self.ids,
            clock=clock,
            journal=journal(self.journal) if journal else self.journal,
            read=self.store.read,
            mark_redelivered=self.store.mark_redelivered,
            held_ids=lambda queue: sorted(self.held),
            window_size=limits.window_size,
            demand_size=DEMAND_SIZE,
            coordinator=lambda: self.coordinator,
            caller=lambda: Caller(node_id, incarnation, fence=Fence(1, "term")),
            new_request_id=lambda: str(next(numbers)),
            queues=lambda: [self.queue],
            find_queue=lambda queue_id: self.queue if queue_id == QUEUE_ID else None,
            consumers_elsewhere=lambda queue: self.consumers_elsewhere,
            next_due=self._next_due,
            is_kept_elsewhere=lambda queue: self.is_kept_elsewhere,
            cut_off=lambda: self.cut_off,
            on_adopted=lambda queue: queue.dispatch(),
        )
        self.owned = self.runner.owned
        tasks: Any = self.stage
        self.reader = SlotReader(self.store, self.journal, tasks, lambda queue: queue.dispatch(), self.runner.on_read)
        self.queue = Queue(
            "/",
            "orders",
            QUEUE_ID,
            durable=True,
            lane=self.lane,
            limits=limits,
            journal=self.journal,
            read_slots=self.reader.start,
            observer=self.runner if is_balanced else self,
            services=NoServices(),
            settings=settings,
        )
        self.taker = Taker(self)
        self.queue.turns.add(self.taker)
        backlog = drive(self.store.slots.window(self.lane, LIMITS.window_size))
        self.runner.begin(backlog)
        for slot in backlog:
            slot.maybe_delivered |= not registration.clean
            self.queue.recover(slot)

    async def _next_due(self, queue: Queue) -> int | None:
        self.asked_due += 1
        return self.next_due

    def after_dispatch(self, queue: Queue) -> None:
        """Nobody asks for more than the test does."""

    def on_dropped(self, slots: Sequence[Slot]) -> None:
        self.runner.on_dropped(slots)

    def new_message(self, state: int = PENDING, size: int = 10) -> Message:
        self.ids.advance(self.clock.wall_ms())
        return Message(self.ids.next(), self.queue, b"\0\0", b"", *body_tails(b"x" * size, 4096), state)

    def publish(self, count: int = 1, state: int = PENDING) -> list[int]:
        messages = [self.new_message(state) for _ in range(count)]
        for message in messages:
            if state == PENDING:
                self.journal.append(message)
            self.queue.append(message)
        self.queue.dispatch()
        return [message.id for message in messages]

    def deliver(self, count: int) -> list[int]:
        """Let the consumer take so many more; return what it got."""
        before = len(self.taker.taken)
        self.taker.allow(self.taker.credit + count)
        self.queue.dispatch()
        self.stage.run()
        self.taker.credit = 0
        return [message.id for message in self.taker.taken[before:]]

    def settle(self, message_id: int) -> None:
        message = self.held.pop(message_id)
        if message.state != TRANSIENT:
            self.journal.settle(message)

    def requeue(self, *ids: int) -> None:
        self.queue.requeue([self.held.pop(message_id) for message_id in ids])
        self.queue.dispatch()

    def give(self, messages: int, *, newest: bool = False) -> list[tuple[int, int, int]]:
        """Give and return start, end and count of the slots that are free now."""
        rows = drive(self.runner.hand_off({self.queue: Portion(messages, newest)}))
        return [(row.start, row.end, row.count) for row in rows]

    def assign(self, *rows: SlotRow) -> list[Slot]:
        """Let a coordinator make this incarnation the owner; nobody tells it."""
        return [slot_of(row) for row in drive(self.store.slots.assign(rows, self.incarnation, FENCE))]

    def adopt(self, *rows: SlotRow) -> int:
        return self.tell(self.assign(*rows), self.clock.monotonic() + 1.0)

    def tell(self, slots: Sequence[Slot], granted_after: float) -> int:
        """Let an answer say that these slots are this node's; return how many were new."""
        return self.read_adopted(self.owned.adopt(slots, granted_after))

    def read_adopted(self, adopted: Mapping[Queue, int]) -> int:
        for queue in adopted:
            queue.dispatch()
        return sum(adopted.values())

    def look(self) -> None:
        """Look for slots nobody has told of, and for those that are empty."""
        self.read_adopted(self.owned.on_owned(drive(self.store.slots.owned(self.incarnation))))
        action = self.owned.finish_due(self.clock.monotonic())
        if action is not None:
            self.owned.on_finished(action, drive(self.store.slots.finish(action.starts, self.incarnation)))

    def free(self) -> list[SlotRow]:
        return [row for row in drive(self.store.slots.slots()) if row.owner is None]

    def crash(self) -> None:
        self.stage.run()
        self.state.cluster.end_incarnation(self.incarnation.node_id, self.incarnation.id, "dead")
        drive(self.store.close())
