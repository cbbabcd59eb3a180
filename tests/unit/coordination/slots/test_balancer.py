"""What a node asks for and hands off: its own consumers against others' demand, with and without a coordinator."""

from __future__ import annotations

from typing import Any

from broker.coordination.slots.balancer import ClaimFree, Surplus
from broker.coordination.slots.handoff import Portion
from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.peer_calls import Demand, Fence, Grant, QueueName, Supply
from broker.ports.slot import Slot
from broker.queue.settings import QueueLimits, QueueSettings
from broker.store.memory.store import MemoryState
from tests.support.clock import FakeClock
from tests.support.ids import message_id
from tests.unit.coordination.slots.slot_node import DEMAND_SIZE, QUEUE_ID, Node

ORDERS = QueueName("orders", QUEUE_ID)
BOB = Incarnation("bob", "b")
CAROL = Incarnation("carol", "c")
EMPTY = Supply()


class Bench:
    """Alice, with a queue of the cluster and a session with the coordinator."""

    def __init__(self, settings: QueueSettings | None = None) -> None:
        self.clock = FakeClock()
        limits = QueueLimits(window_size=10)
        self.node = Node(MemoryState(), self.clock, "alice", "a", limits, is_balanced=True, settings=settings)
        self.node.queue.remove_consumer(self.node.taker)
        self.queue = self.node.queue
        self.balancer = self.node.runner.balancer
        self.demand = self.node.runner.demand
        self.epoch = 0
        self.begin()

    def begin(self, supply: Supply = EMPTY) -> int:
        """Begin a session with a new coordinator; return how many slots of its first answer were new."""
        self.epoch += 1
        return self.supply(supply)

    def supply(self, supply: Supply) -> int:
        """Let the coordinator answer the next poll; return how many slots were new."""
        service: Any = "whoever it is: nobody calls it"
        poll = self.balancer.next_poll(self.clock.monotonic(), (service, Fence(self.epoch, "term")))
        assert poll is not None
        adopted = self.balancer.on_supply(poll, supply)
        self.balancer.after_grants(supply.grants)
        return sum(adopted.values())

    def want(self, messages: int) -> None:
        self.supply(Supply(remote_demand=(Demand(ORDERS, messages),)))

    def consume(self, credit: int) -> None:
        self.node.taker.allow(credit)
        self.queue.turns.add(self.node.taker)
        self.queue.dispatch()

    def wishes(self) -> Portion | None:
        """Return what is to be handed off of the queue."""
        surplus = self.balancer.next_action()
        return surplus.wishes[self.queue] if surplus else None


def slot(first: int, last: int, count: int) -> Slot:
    return Slot(QUEUE_ID, 2, message_id(2, first), message_id(2, last), count)


def grant(first: int, last: int, count: int) -> Grant:
    return Grant(ORDERS, slot(first, last, count), "alice")


def test_a_queue_with_a_consumer_and_nothing_to_deliver_has_demand() -> None:
    it = Bench()
    it.consume(credit=5)
    assert it.demand.queues == [it.queue]


def test_a_queue_whose_consumer_has_no_credit_has_no_demand() -> None:
    it = Bench()
    it.consume(credit=0)
    assert it.demand.queues == []


def test_a_queue_that_has_lost_its_last_consumer_has_no_demand_any_more() -> None:
    it = Bench()
    it.consume(credit=5)
    it.queue.remove_consumer(it.node.taker)
    it.queue.dispatch()
    assert it.demand.queues == []


def test_a_queue_that_was_granted_enough_asks_for_more_when_its_consumers_take_it() -> None:
    it = Bench()
    it.consume(credit=5)
    assert it.supply(Supply(grants=(grant(1, 3, DEMAND_SIZE),))) == 1
    assert it.demand.queues == []


def test_a_grant_that_is_not_believed_leaves_the_demand_as_it_was() -> None:
    it = Bench()
    assert it.supply(Supply(grants=(grant(1, 3, DEMAND_SIZE),))) == 1
    it.node.give(DEMAND_SIZE)
    it.consume(credit=5)
    assert it.supply(Supply(grants=(grant(1, 3, DEMAND_SIZE),))) == 0
    assert it.demand.queues == [it.queue]


def test_any_answer_may_tell_of_a_slot_that_was_handed_off_since_it_was_granted() -> None:
    it = Bench()
    it.supply(Supply(grants=(grant(1, 3, 3),)))
    it.node.give(3)
    it.clock.advance(5.0)
    assert (it.begin(Supply(grants=(grant(1, 3, 3),))), it.queue.ready_count) == (0, 0)
    it.clock.advance(5.0)
    it.supply(Supply())
    assert it.supply(Supply(grants=(grant(1, 3, 3),))) == 0


def test_a_grant_for_a_queue_that_is_not_here_is_left_alone() -> None:
    it = Bench()
    assert it.supply(Supply(grants=(Grant(QueueName("gone", 9), Slot(9, 2, 1, 2, 2), "alice"),))) == 0


def test_what_others_want_is_handed_off() -> None:
    it = Bench()
    it.node.publish(3)
    it.want(2)
    assert (it.wishes(), it.wishes()) == (Portion(2), None)


def test_the_newer_half_of_a_single_message_is_nothing_to_hand_off() -> None:
    it = Bench()
    it.consume(credit=0)
    it.node.publish(1)
    it.want(5)
    assert it.wishes() is None


def test_requests_are_served_in_the_order_in_which_they_came() -> None:
    it = Bench()
    it.node.publish(3)
    requests = [it.balancer.request(QUEUE_ID, messages) for messages in (1, 2)]
    served = [it.balancer.next_action() for _ in requests]
    assert [surplus.release for surplus in served if surplus] == requests


def test_a_slot_that_was_granted_has_its_row_where_it_starts() -> None:
    it = Bench()
    it.supply(Supply(grants=(grant(1, 3, 3),)))
    granted = it.node.owned.lookup(QUEUE_ID)(message_id(2, 2))
    assert granted is not None
    assert granted.row == granted.start == message_id(2, 1)


def test_what_is_published_while_others_want_it_is_handed_off() -> None:
    it = Bench()
    it.want(5)
    assert it.wishes() is None
    it.node.publish(3)
    assert it.wishes() == Portion(5)


def test_demand_for_a_queue_that_is_not_here_is_no_business_of_this_node() -> None:
    it = Bench()
    it.supply(Supply(remote_demand=(Demand(QueueName("gone", 9), 5),)))
    assert (it.wishes(), it.balancer.on_tick(it.clock.monotonic())) == (None, None)


def test_nothing_is_handed_off_when_others_want_no_more() -> None:
    it = Bench()
    it.want(5)
    it.want(0)
    it.node.publish(3)
    assert it.wishes() is None


def test_another_session_forgets_what_was_wanted() -> None:
    it = Bench()
    it.want(5)
    it.begin()
    it.node.publish(3)
    assert it.wishes() is None


def test_own_consumers_keep_the_older_half() -> None:
    it = Bench()
    it.consume(credit=1)
    it.node.publish(5)
    it.want(50)
    assert it.wishes() == Portion(2, newest=True)


def test_own_consumers_that_take_nothing_keep_nothing() -> None:
    it = Bench()
    it.consume(credit=1)
    it.node.publish(5)
    it.want(50)
    it.wishes()
    it.balancer.on_tick(it.clock.monotonic())
    assert it.wishes() == Portion(50)


def test_own_consumers_that_wait_for_a_read_are_not_stuck() -> None:
    it = Bench()
    it.consume(credit=1)
    it.node.publish(5)
    it.want(50)
    it.balancer.on_tick(it.clock.monotonic())
    it.queue._window.is_reading = True
    assert it.wishes() == Portion(2, newest=True)


def test_nothing_is_handed_off_at_a_tick_while_a_slot_is_being_read() -> None:
    it = Bench()
    it.node.publish(5)
    it.want(50)
    it.wishes()
    it.queue._window.is_reading = True
    it.balancer.on_tick(it.clock.monotonic())
    assert it.wishes() is None


def test_a_release_comes_before_what_others_want() -> None:
    it = Bench()
    it.node.publish(3)
    it.want(2)
    release = it.balancer.request(QUEUE_ID, 1)
    assert it.balancer.next_action() == Surplus({it.queue: Portion(1)}, release)
    assert it.balancer.next_action() == Surplus({it.queue: Portion(2)})


def test_nothing_is_released_that_is_not_here() -> None:
    it = Bench()
    assert (it.balancer.request(QUEUE_ID, 1), it.balancer.request(99, 1)) == (None, None)


def test_whoever_stops_hands_nothing_off_by_itself_and_everything_at_last() -> None:
    it = Bench()
    it.node.publish(3)
    it.want(2)
    it.balancer.stop()
    assert (it.balancer.next_action(), it.balancer.request(QUEUE_ID, 1)) == (None, None)
    assert it.balancer.everything() == Surplus({it.queue: Portion(3)})


def test_a_node_claims_for_its_demand_when_no_coordinator_has_answered_for_two_seconds() -> None:
    it = Bench()
    it.consume(credit=5)
    it.balancer.next_poll(it.clock.monotonic(), (None, Fence()))
    it.clock.advance(2.0)
    assert it.balancer.on_tick(it.clock.monotonic()) is None
    it.clock.advance(0.5)
    now = it.clock.monotonic()
    assert it.balancer.on_tick(now) == ClaimFree({QUEUE_ID}, now)


def test_a_claim_is_for_eight_free_slots_of_queues_with_demand() -> None:
    free = [SlotRow(QUEUE_ID, 2, start, start, 1) for start in range(10)]
    others = [SlotRow(9, 2, 20, 20, 1), SlotRow(QUEUE_ID, 2, 21, 21, 1, owner=Incarnation("bob", "b"))]
    assert ClaimFree({QUEUE_ID}, 0.0).choose([*others, *free]) == free[:8]


def test_what_was_claimed_is_adopted_and_asked_for_no_more() -> None:
    it = Bench()
    it.consume(credit=5)
    row = SlotRow(QUEUE_ID, 2, message_id(2, 1), message_id(2, 3), DEMAND_SIZE)
    assert it.balancer.on_claimed(ClaimFree({QUEUE_ID}, it.clock.monotonic()), [row]) == {it.queue: 1}
    assert it.demand.queues == []


def test_without_a_coordinator_a_node_without_consumers_offers_all_it_has_to_those_who_have_some() -> None:
    it = Bench()
    it.node.publish(3)
    it.balancer.next_poll(0.0, (None, Fence()))
    it.balancer.on_tick(3.0)
    assert it.wishes() is None
    it.node.consumers_elsewhere = [BOB]
    it.balancer.on_tick(3.0)
    assert it.wishes() == Portion(3)
    it.consume(credit=0)
    it.balancer.on_tick(3.0)
    assert it.wishes() is None


def test_what_those_consume_whose_demand_cannot_be_told_is_offered_while_the_coordinator_answers() -> None:
    it = Bench()
    it.node.publish(3)
    it.node.consumers_elsewhere = [BOB]
    assert it.balancer.on_tick(3.0, [CAROL]) is None
    assert it.wishes() is None
    assert it.balancer.on_tick(3.0, [CAROL, BOB]) is None
    assert it.wishes() == Portion(3)


# Queues whose length one node keeps (ADR 67)

LIMITED = QueueSettings(max_length=100)


def asked(it: Bench) -> dict[int, int]:
    return dict(it.demand._left)


def test_a_queue_of_some_length_asks_for_what_its_consumers_have_credit_for() -> None:
    it = Bench(LIMITED)
    it.consume(credit=5)
    assert asked(it) == {QUEUE_ID: 5}
    it.node.taker.allow(0)
    it.queue.dispatch()
    assert asked(it) == {}


def test_what_own_consumers_leave_goes_to_the_node_that_keeps_the_length() -> None:
    it = Bench(LIMITED)
    it.node.is_kept_elsewhere = True
    it.consume(credit=2)
    it.node.publish(9)
    assert it.wishes() == Portion(7)
    assert it.wishes() is None


def test_the_keeper_gives_what_others_want_and_no_more() -> None:
    it = Bench(LIMITED)
    it.consume(credit=2)
    it.node.publish(9)
    it.want(3)
    assert it.wishes() == Portion(3)
    assert it.queue.elsewhere is None


def test_who_is_not_the_keeper_any_more_is_found_at_a_tick() -> None:
    it = Bench(LIMITED)
    it.node.publish(4)
    assert it.wishes() is None
    it.node.is_kept_elsewhere = True
    it.balancer.on_tick(it.clock.monotonic())
    assert it.wishes() == Portion(4)
    it.node.is_kept_elsewhere = False
    it.balancer.on_tick(it.clock.monotonic())
    assert it.queue.elsewhere is None
    assert it.balancer.limited == [it.queue]


def test_without_a_coordinator_each_node_keeps_the_length_of_what_it_has() -> None:
    it = Bench(LIMITED)
    it.node.is_kept_elsewhere = True
    it.node.publish(4)
    assert it.queue.elsewhere is not None
    it.demand.failing_since = it.clock.monotonic()
    it.clock.advance(3.0)
    it.balancer.on_tick(it.clock.monotonic())
    assert it.queue.elsewhere is None


def test_a_queue_that_has_lost_its_limit_is_like_all_others() -> None:
    it = Bench(LIMITED)
    it.node.is_kept_elsewhere = True
    it.node.publish(4)
    it.queue.set(QueueSettings())
    it.balancer.on_tick(it.clock.monotonic())
    assert (it.queue.elsewhere, it.balancer.limited) == (None, [])
    it.consume(credit=50)
    assert asked(it) == {QUEUE_ID: DEMAND_SIZE}


def test_what_is_handed_off_is_known_as_given_away() -> None:
    it = Bench(LIMITED)
    it.node.is_kept_elsewhere = True
    it.node.publish(4)
    it.node.give(4)
    assert it.queue.elsewhere is not None
    assert it.queue.elsewhere.given == 4


def test_what_a_get_has_brought_here_stays_until_it_is_got() -> None:
    it = Bench(LIMITED)
    it.node.is_kept_elsewhere = True
    it.balancer.on_fetch(it.queue)
    it.node.publish(2)
    assert it.wishes() is None
    for _ in range(3):
        it.balancer.on_tick(it.clock.monotonic())
    assert it.wishes() == Portion(2)


# Consumers of other nodes that come first (contract B17)


def ranked(credit: int = 9) -> Bench:
    it = Bench()
    it.queue.rank()
    it.consume(credit)
    return it


def want_for(it: Bench, messages: int, priority: int) -> None:
    it.supply(Supply(remote_demand=(Demand(ORDERS, messages, priority),)))


def test_consumers_wait_while_one_of_a_higher_priority_elsewhere_wants_messages() -> None:
    it = ranked()
    want_for(it, 3, priority=5)
    it.node.publish(4)
    assert (it.queue.unacked_count, it.wishes()) == (0, Portion(3))
    want_for(it, 0, priority=0)
    assert it.queue.unacked_count == 4


def test_nobody_waits_for_consumers_of_the_same_priority() -> None:
    it = ranked()
    want_for(it, 3, priority=0)
    it.node.publish(4)
    assert it.queue.unacked_count == 4


def test_a_node_whose_consumers_have_a_priority_tells_it_with_what_it_wants() -> None:
    it = Bench()
    it.queue.rank()
    it.node.taker.priority = 4
    it.consume(credit=9)
    assert it.demand._asked == {QUEUE_ID: Demand(ORDERS, 9, 4)}


def test_nobody_waits_longer_than_a_second_for_consumers_that_get_nothing() -> None:
    it = ranked()
    want_for(it, 3, priority=5)
    it.node.publish(4)
    it.queue.slots.begin_transaction()
    it.balancer.on_tick(it.clock.monotonic())
    assert it.queue.unacked_count == 0
    it.balancer.on_tick(it.clock.monotonic())
    assert it.queue.unacked_count == 4


def test_who_gives_goes_on_waiting() -> None:
    it = ranked()
    want_for(it, 3, priority=5)
    it.node.publish(9)
    for _ in range(2):
        it.node.give(3)
        it.balancer.on_tick(it.clock.monotonic())
    assert (it.queue.unacked_count, it.queue.ready_count) == (0, 3)


def test_nobody_waits_without_a_coordinator_or_for_what_a_former_one_has_told() -> None:
    it = ranked()
    want_for(it, 3, priority=5)
    it.node.publish(1)
    it.begin()
    assert it.queue.unacked_count == 1
    want_for(it, 3, priority=5)
    it.node.publish(1)
    assert it.queue.unacked_count == 1
    it.demand.failing_since = it.clock.monotonic()
    it.clock.advance(3.0)
    it.balancer.on_tick(it.clock.monotonic())
    assert it.queue.unacked_count == 2
