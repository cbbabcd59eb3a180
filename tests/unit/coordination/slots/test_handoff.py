"""What a queue hands off to other nodes: which slots it becomes, and that a message has one owner (invariant I13)."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from broker.coordination.slots.handoff import Portion
from broker.message import PENDING, STORED, TRANSIENT, WRITING, Message, lane_of
from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.slot import Slot
from broker.queue.queue import Queue
from broker.queue.settings import QueueLimits
from broker.store.memory.store import MemoryState
from tests.support.clock import FakeClock
from tests.support.stage import drive
from tests.unit.coordination.slots.slot_node import EPOCH_MS, FENCE, LIMITS, QUEUE_ID, Node

RUNS = 300
STEPS = (
    *("publish",) * 6,
    *("deliver", "settle", "give", "assign") * 4,
    *("read",) * 3,
    *("commit", "look", "answer late", "get", "write", "crash"),
)


def alone() -> Node:
    return Node(MemoryState(), FakeClock(wall_ms=EPOCH_MS + 1000), "alice", "alice 1", QueueLimits(window_size=4))


def with_gaps(count: int) -> tuple[Node, list[int]]:
    """Return a node with stored messages, and their ids; another queue has one between each two of them."""
    node = Node(MemoryState(), FakeClock(wall_ms=EPOCH_MS + 1000), "alice", "alice 1")
    ids: list[int] = []
    for _ in range(count):
        ids += node.publish(1)
        node.ids.next()
    node.journal.commit()
    return node, ids


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
    node.queue.slots.begin_transaction()
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


@pytest.mark.parametrize("is_adopted", [False, True])
def test_the_rest_of_a_slot_that_was_read_in_part_begins_at_a_message_of_its_queue(is_adopted: bool) -> None:
    node, ids = with_gaps(10)
    if is_adopted:
        node.give(10)
        node.adopt(*node.free())
    assert (node.deliver(4), node.queue.ready_count) == (ids[:4], 6)
    node.give(9, newest=True)
    assert node.queue.ready_count == 0
    assert {row.start for row in node.free()} == {ids[4], ids[5], ids[9]}


def test_the_rest_of_a_slot_of_which_nothing_is_left_begins_at_its_end() -> None:
    node, ids = with_gaps(10)
    node.deliver(4)
    del node.state.rows[ids[4]]
    node.give(9, newest=True)
    assert {(row.start, row.end) for row in node.free()} == {(ids[4], ids[4]), (ids[5], ids[8]), (ids[9], ids[9])}


def test_a_slot_that_is_read_on_meanwhile_is_not_handed_off_with_a_start_that_is_old() -> None:
    node, ids = with_gaps(10)
    node.deliver(4)
    (step,) = node.runner.handoff.unknown_starts([node.queue])
    node.deliver(2)
    node.runner.handoff.on_found(step, ids[4])
    assert (node.runner.handoff.plan({node.queue: Portion(9)}), node.queue.ready_count) == (None, 4)


def test_what_is_left_of_a_slot_that_was_cut_while_it_was_read_can_be_cut_again() -> None:
    node, ids = with_gaps(10)
    node.give(10)
    node.adopt(*node.free())
    node.deliver(2)
    assert node.queue.slots.opened is not None
    node.give(1)

    node.give(9)

    assert {(row.start, row.end, row.count) for row in node.free()} == {
        (ids[2], ids[2], 1),
        (ids[3], ids[4], 2),
        (ids[5], ids[8], 4),
        (ids[9], ids[9], 1),
    }
    assert sorted(node.owned._slots[QUEUE_ID]) == ids[:2]


def test_a_start_that_is_found_too_late_moves_no_slot_that_is_not_read_any_more() -> None:
    node, ids = with_gaps(10)
    node.deliver(4)
    (step,) = node.runner.handoff.unknown_starts([node.queue])
    node.queue.purge()

    node.runner.handoff.on_found(step, ids[9])

    assert step.slot.start == step.start


def test_what_nobody_has_had_is_given_without_a_mark() -> None:
    node = alone()
    ids = node.publish(2)
    node.journal.commit()
    node.give(2)
    assert [node.state.rows[each].redelivered for each in ids] == [False, False]


def test_what_is_paged_out_is_never_reached_over_by_what_is_given_later() -> None:
    node = Node(MemoryState(), FakeClock(wall_ms=EPOCH_MS + 1000), "alice", "alice 1")
    ids = node.publish(12)
    window = [(slot.start, slot.end) for slot in local_slots(node.queue)]
    assert window, "nothing is paged out"
    taken = node.deliver(2)
    node.give(12, newest=True)

    node.requeue(*taken)
    node.give(12)

    rows = sorted((row.start, row.end) for row in node.free())
    assert all(before[1] < after[0] for before, after in pairwise(rows)), rows
    assert {each for each in ids if any(start <= each <= end for start, end in rows)} == set(ids)


def test_starts_that_no_message_can_be_before_are_forgotten_when_there_are_many() -> None:
    node = alone()
    backlog = [Slot(QUEUE_ID, node.lane, start, start, 1, row=start) for start in range(1, 1203, 2)]
    node.runner.handoff.begin(backlog)
    assert len(node.runner.handoff._starts[QUEUE_ID]) == 1202
    node.publish(1)
    node.give(1)
    assert len(node.runner.handoff._starts.get(QUEUE_ID, ())) <= 1


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
        self.published: set[int] = set()
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
            node.ids.next()  # of another queue
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
            node.look()
        elif what == "commit":
            if flag or not self.transactions:
                self.begin_commit(node)
            else:
                self.end_commit()
        else:
            self.crash(at, is_recovered=flag)
        self.check()

    def begin_commit(self, node: Node) -> None:
        node.queue.slots.begin_transaction()
        self.transactions.append((node, [node.new_message(STORED) for _ in range(2)]))

    def end_commit(self) -> None:
        node, messages = self.transactions.pop(0)
        for message in messages:
            message.state = PENDING
            node.journal.append(message)
        node.journal.commit()
        node.queue.insert(messages)
        node.queue.slots.end_transaction()
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
                node.tell(slots, asked_at)
            else:
                self.untold.append((node, slots, asked_at))

    def answer_late(self) -> None:
        if self.untold:
            node, slots, asked_at = self.untold.pop(0)
            if node in self.nodes:
                node.tell(slots, asked_at)

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
        self.published |= self.live
        rows = sorted(self.state.slots.values(), key=lambda row: (row.lane, row.start))
        assert {row.start for row in rows} <= self.published, f"{rows} begin at messages of other queues"
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
    late = [message_id for message_id, _ in window.late]
    return [*node.held, *late, *(message.id for part in (window.ready, tail, window.late_tail) for message in part)]


def local_slots(queue: Queue) -> list[Slot]:
    """Return what a queue has not read yet, and leave it there."""
    slots = queue._window.slots.clear()
    for slot in slots:
        queue._window.slots.append(slot)
    return [*([queue.slots.opened] if queue.slots.opened is not None else ()), *slots]


def within(slot: Slot | SlotRow, ids: set[int]) -> list[int]:
    return [each for each in ids if lane_of(each) == slot.lane and slot.start <= each <= slot.end]


def check_order(node: Node, late: set[int]) -> None:
    """What a consumer gets of a lane ascends, but for what says that it was delivered before (invariant I32)."""
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
