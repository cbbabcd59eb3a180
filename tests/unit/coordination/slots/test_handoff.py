"""What a queue gives to other nodes: which slots it becomes, and that each message has one owner (invariant C2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from broker.clock import Clock
from broker.coordination.slots.handoff import Handoff, Portion
from broker.coordination.slots.owned import OwnedSlots, slot_of
from broker.message import PENDING, STORED, TRANSIENT, WRITING, Message, MessageIdGenerator, body_tails, lane_of
from broker.ports.cluster_rows import Incarnation, NodeRow, NodeState, SlotRow
from broker.ports.peer_calls import Fence
from broker.ports.slot import Slot
from broker.queue.queue import Queue
from broker.queue.settings import QueueLimits
from broker.queue.slot_reader import SlotReader
from broker.store.memory.store import MemoryState, MemoryStore
from tests.support.clock import FakeClock
from tests.support.fake_journal import FakeJournal
from tests.support.stage import Gate, Stage, drive

QUEUE_ID = 7
EPOCH_MS = 1_292_976_000_000
LIMITS = QueueLimits(memory=2500, transient_memory=5000, window_size=4, read_ahead=3, read_ahead_bytes=4000)
FENCE = Fence()
RUNS = 300
STEPS = (
    *("publish",) * 6,
    *("deliver", "settle", "give", "assign") * 4,
    *("read",) * 3,
    *("commit", "look", "answer late", "get", "write", "crash"),
)


@dataclass(eq=False)
class Taker:
    """The consumer of a node: it takes as much as it is allowed to, and holds what it has taken."""

    node: Node
    credit: int = 0
    is_exclusive: bool = False
    taken: list[Message] = field(default_factory=list)

    def take(self, ready: deque[Message], limit: int) -> int:
        taken = [ready.popleft() for _ in range(min(limit, self.credit))]
        self.credit -= len(taken)
        self.node.queue.on_taken(len(taken), sum(len(message.body) for message in taken))
        self.taken += taken
        for message in taken:
            self.node.held[message.id] = message
        return len(taken)

    def can_take(self) -> bool:
        return self.credit > 0

    def on_queue_deleted(self) -> None:
        """It never is."""


class Node:
    """One incarnation of a node: a queue with its store, handoff and owned, and what its clients hold."""

    def __init__(
        self, state: MemoryState, clock: Clock, node_id: str, incarnation: str, limits: QueueLimits = LIMITS
    ) -> None:
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
        self.owned = OwnedSlots(
            self.store.slots,
            self.incarnation,
            self.lane,
            self.ids,
            clock=clock,
            find_queue=lambda queue_id: self.queue if queue_id == QUEUE_ID else None,
            on_adopted=lambda queue: queue.dispatch(),
        )
        tasks: Any = self.stage
        self.feed = SlotReader(self.store, self.journal, tasks, lambda queue: queue.dispatch(), self.owned.on_read)
        self.queue = Queue(
            "/",
            "orders",
            QUEUE_ID,
            durable=True,
            lane=self.lane,
            limits=limits,
            journal=self.journal,
            read_slots=self.feed.start,
            observer=self,
        )
        self.handoff = Handoff(
            self.store.slots,
            self.incarnation,
            self.lane,
            owned=self.owned,
            journal=self.journal,
            mark_redelivered=self.store.mark_redelivered,
            held_ids=lambda queue: sorted(self.held),
            window_size=LIMITS.window_size,
        )
        self.taker = Taker(self)
        self.queue.add_consumer(self.taker)
        backlog = drive(self.store.slots.window(self.lane, LIMITS.window_size))
        self.handoff.begin(backlog)
        for slot in backlog:
            slot.maybe_delivered |= not registration.clean
            self.queue.recover(slot)

    def after_dispatch(self, queue: Queue) -> None:
        """Nobody asks for more than the test does."""

    def on_dropped(self, slots: Sequence[Slot]) -> None:
        self.owned.on_dropped(slots)

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
        self.taker.credit += count
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
        rows = drive(self.handoff.give({self.queue: Portion(messages, newest)}))
        return [(row.start, row.end, row.count) for row in rows]

    def assign(self, *rows: SlotRow) -> list[Slot]:
        """Let a coordinator make this incarnation the owner; nobody tells it."""
        return [slot_of(row) for row in drive(self.store.slots.assign(rows, self.incarnation, FENCE))]

    def adopt(self, *rows: SlotRow) -> int:
        asked_at = self.clock.monotonic() + 1.0
        return self.owned.adopt(self.assign(*rows), asked_at)

    def free(self) -> list[SlotRow]:
        return [row for row in drive(self.store.slots.slots()) if row.owner is None]

    def crash(self) -> None:
        self.stage.run()
        self.state.cluster.end_incarnation(self.incarnation.node_id, self.incarnation.id, "dead")
        drive(self.store.close())


def alone() -> Node:
    return Node(MemoryState(), FakeClock(wall_ms=EPOCH_MS + 1000), "alice", "alice 1", QueueLimits(window_size=4))


def test_messages_that_are_given_become_free_slots_of_a_window_each() -> None:
    node = alone()
    ids = node.publish(4)
    ids += node.publish(1)
    assert node.give(5) == [(ids[0], ids[3], 4), (ids[4], ids[4], 1)]
    assert (node.queue.ready_count, sorted(node.state.rows)) == (0, ids)


def test_a_gift_goes_around_what_a_consumer_holds() -> None:
    node = alone()
    ids = node.publish(4)
    node.deliver(3)
    node.requeue(ids[0], ids[2])
    assert node.give(9) == [(ids[0], ids[0], 1), (ids[2], ids[3], 2)]


def test_a_gift_goes_around_what_a_get_has_taken() -> None:
    node = alone()
    ids = node.publish(3)
    node.deliver(1)
    taken = node.queue.pop()
    assert taken is not None
    node.held[taken.id] = taken
    node.requeue(ids[0])
    assert node.give(9) == [(ids[0], ids[0], 1), (ids[2], ids[2], 1)]


def test_the_newest_are_given_from_the_end() -> None:
    node = alone()
    ids = node.publish(4)
    assert node.give(2, newest=True) == [(ids[2], ids[3], 2)]
    assert [message.id for message in node.queue.ready] == ids[:2]


def test_transient_messages_are_written_before_they_are_given() -> None:
    node = alone()
    ids = node.publish(2, TRANSIENT)
    node.give(2)
    (row,) = node.free()
    assert (row.transient, {each: node.state.rows[each].storage_id for each in ids}) == (
        True,
        dict.fromkeys(ids, -QUEUE_ID),
    )


def test_a_message_that_was_settled_lies_in_no_row_when_its_neighbours_are_given() -> None:
    node = alone()
    ids = node.publish(3)
    node.journal.commit()
    node.deliver(2)
    node.settle(ids[1])
    node.requeue(ids[0])
    assert node.give(9) == [(ids[0], ids[2], 2)]
    assert sorted(node.state.rows) == [ids[0], ids[2]]


def test_what_was_delivered_before_it_was_written_is_given_as_redelivered() -> None:
    node = alone()
    (message_id,) = node.publish(1)
    node.journal.commit()
    node.deliver(1)
    node.held[message_id].state = WRITING
    node.requeue(message_id)
    node.give(1)
    assert node.state.rows[message_id].redelivered


def test_nothing_is_given_while_a_transaction_is_being_committed() -> None:
    node = alone()
    node.publish(1)
    node.queue.begin_transaction()
    assert (node.give(1), node.queue.ready_count) == ([], 1)


def test_nothing_is_given_while_a_slot_is_being_read() -> None:
    node = alone()
    node.publish(1)
    node.queue._window.is_reading = True
    assert (node.give(1), node.queue.ready_count) == ([], 1)


def test_a_part_of_an_adopted_slot_goes_back_and_the_rest_stays() -> None:
    node = alone()
    ids = node.publish(4)
    node.give(4)
    node.adopt(*node.free())
    node.deliver(1)
    assert node.give(1) == [(ids[1], ids[1], 1)]
    kept = [(row.start, row.end) for row in node.state.slots.values() if row.owner == node.incarnation]
    assert sorted(kept) == [(ids[0], ids[0]), (ids[2], ids[3])]
    assert node.deliver(9) == ids[2:]


def test_a_slot_that_was_not_read_goes_back_as_it_is() -> None:
    node = alone()
    ids = node.publish(7)
    node.give(7)
    node.adopt(*node.free())
    node.deliver(1)
    assert node.free() == []
    assert node.give(3, newest=True) == [(ids[4], ids[6], 3)]


def test_after_a_restart_no_gift_covers_what_was_given_in_the_incarnation_before() -> None:
    node = alone()
    ids = node.publish(3)
    node.give(2, newest=True)
    node.journal.commit()
    node.crash()
    again = Node(node.state, FakeClock(wall_ms=EPOCH_MS + 2000), "alice", "alice 2")
    again.deliver(1)
    new = again.publish(1)
    again.requeue(ids[0])
    assert again.give(9) == [(ids[0], ids[0], 1), (new[0], new[0], 1)]


class World:
    """Two nodes of a cluster do to one queue whatever they may; each message has exactly one owner all the time.

    A step is what is done, by which node, with how many messages, which of them, and one way or the other.
    """

    def __init__(self) -> None:
        self.state = MemoryState()
        self.clock = FakeClock(wall_ms=EPOCH_MS + 1000)
        self.incarnations = 0
        self.live: set[int] = set()
        self.late: set[int] = set()
        """Messages of transactions: they come to the queue after newer ones."""
        self.nodes = [self.begin("alice"), self.begin("bob")]
        self.untold: list[tuple[Node, list[Slot], float]] = []
        self.transactions: list[tuple[Node, list[Message]]] = []

    def begin(self, node_id: str) -> Node:
        self.incarnations += 1
        return Node(self.state, self.clock, node_id, f"{node_id} {self.incarnations}")

    def end(self) -> None:
        for node in self.nodes:
            node.stage.run()

    def do(self, what: str, at: int, count: int, which: int, flag: bool) -> None:
        node = self.nodes[at]
        if what == "publish":
            self.live.update(node.publish(count, TRANSIENT if which < 12 else PENDING))
        elif what == "deliver":
            node.deliver(count)
        elif what == "settle":
            self.settle(node, which, is_ack=flag)
        elif what == "give":
            node.give(count, newest=flag)
        elif what == "assign":
            self.assign(node, which, is_told=flag or which % 2 == 0)
        elif what == "answer late":
            self.answer_late()
        elif what == "read":
            node.queue.dispatch()
            node.stage.run()
        elif what == "get":
            message = node.queue.pop()
            if message is not None:
                node.held[message.id] = message
        elif what == "write":
            node.journal.commit()
        elif what == "look":
            drive(node.owned.reconcile())
            drive(node.owned.finish(self.clock.monotonic()))
        elif what == "commit":
            if flag or not self.transactions:
                self.begin_commit(node)
            else:
                self.end_commit()
        else:
            self.crash(at, is_recovered=flag)
        self.check()

    def begin_commit(self, node: Node) -> None:
        node.queue.begin_transaction()
        self.transactions.append((node, [node.new_message(STORED) for _ in range(2)]))

    def end_commit(self) -> None:
        node, messages = self.transactions.pop(0)
        for message in messages:
            message.state = PENDING
            node.journal.append(message)
        node.journal.commit()
        node.queue.insert(messages)
        node.queue.end_transaction()
        node.queue.dispatch()
        self.live.update(message.id for message in messages)
        self.late.update(message.id for message in messages)

    def settle(self, node: Node, which: int, *, is_ack: bool) -> None:
        """Settle or give back those of the messages that clients hold whose bit is set."""
        ids = {each for number, each in enumerate(node.held) if which >> number % 6 & 1}
        if is_ack:
            for message_id in ids:
                node.settle(message_id)
            self.live -= ids
        else:
            node.requeue(*ids)

    def assign(self, node: Node, which: int, *, is_told: bool) -> None:
        free = node.free()
        if free:
            asked_at = self.clock.monotonic()
            slots = node.assign(free[which % len(free)])
            if is_told:
                node.owned.adopt(slots, asked_at)
            else:
                self.untold.append((node, slots, asked_at))

    def answer_late(self) -> None:
        if self.untold:
            node, slots, asked_at = self.untold.pop(0)
            if node in self.nodes:
                node.owned.adopt(slots, asked_at)

    def crash(self, at: int, *, is_recovered: bool) -> None:
        """End an incarnation and begin the next one of that node, before or after others have what it had."""
        node, other = self.nodes[at], self.nodes[1 - at]
        node.crash()
        self.transactions = [each for each in self.transactions if each[0] is not node]
        other.journal.commit()
        if is_recovered:
            drive(other.store.slots.reclaim(FENCE, LIMITS.window_size))
        self.nodes[at] = self.begin(node.incarnation.node_id)
        if not is_recovered:
            drive(other.store.slots.reclaim(FENCE, LIMITS.window_size))
        self.live = {*self.state.rows, *memory_of(other)}

    def check(self) -> None:
        self.clock.advance(1.0)
        rows = sorted(self.state.slots.values(), key=lambda row: (row.lane, row.start))
        for before, after in pairwise(rows):
            assert before.lane != after.lane or before.end < after.start, f"{before} and {after} overlap"
        places: dict[int, list[str]] = {message_id: [] for message_id in self.live}
        for node in self.nodes:
            self.note_places(node, places)
        for row in rows:
            owner = next((node for node in self.nodes if node.incarnation == row.owner), None)
            if owner is None or owner.owned.lookup(QUEUE_ID)(row.start) is None:
                for message_id in within(row, self.live):
                    places[message_id].append(f"row {row}")
        for message_id, found in places.items():
            assert len(found) == 1, f"{message_id} is {found}"
        for node in self.nodes:
            check_order(node, self.late)

    def note_places(self, node: Node, places: dict[int, list[str]]) -> None:
        name, queue = node.incarnation.id, node.queue
        for message_id in memory_of(node):
            assert message_id in places, f"{message_id} is at {name}, although it was settled"
            places[message_id].append(f"in the memory of {name}")
            row = self.row_of(message_id)
            owner = Incarnation(node.incarnation.node_id, node.incarnation.id) if row is None else row.owner
            assert owner == node.incarnation, f"{message_id} is at {name}, but in {row}"
            assert row is not None or lane_of(message_id) == node.lane, f"{message_id} was never of {name}"
        for slot in local_slots(queue):
            for message_id in within(slot, self.live):
                places[message_id].append(f"in {slot} of {name}")

    def row_of(self, message_id: int) -> SlotRow | None:
        rows = self.state.slots.values()
        return next((r for r in rows if r.lane == lane_of(message_id) and r.start <= message_id <= r.end), None)


def memory_of(node: Node) -> list[int]:
    """Return the messages that a node's clients hold, and those that wait in its memory."""
    window = node.queue._window
    tail = window.tail if window.is_paged else ()
    return [*node.held, *(message.id for part in (window.ready, tail) for message in part)]


def local_slots(queue: Queue) -> list[Slot]:
    """Return what a queue has not read yet, and leave it there."""
    slots = queue._window.slots.clear()
    for slot in slots:
        queue._window.slots.append(slot)
    return [*([queue.open_slot] if queue.open_slot is not None else ()), *slots]


def within(slot: Slot | SlotRow, ids: set[int]) -> list[int]:
    return [each for each in ids if lane_of(each) == slot.lane and slot.start <= each <= slot.end]


def check_order(node: Node, late: set[int]) -> None:
    """What a consumer gets of a lane ascends, but for what says that it was delivered before (invariant D3)."""
    last: dict[int, int] = {}
    for message in node.taker.taken:
        if not message.redelivered and message.id not in late:
            lane = lane_of(message.id)
            assert message.id > last.get(lane, 0), f"{message.id} comes after {last[lane]} at {node.incarnation.id}"
            last[lane] = message.id


@settings(max_examples=RUNS, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=True))
def test_each_message_has_one_owner_whatever_nodes_and_clients_do(random: Random) -> None:
    world = World()
    try:
        for _ in range(60):
            step = random.choice(STEPS), random.choice((0, 0, 0, 1)), random.randint(1, 9), random.randint(1, 63)
            is_so = random.random() < 0.5
            note(f"{step} {is_so}")
            world.do(*step, is_so)
    finally:
        world.end()
