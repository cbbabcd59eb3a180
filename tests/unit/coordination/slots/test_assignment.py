"""Which slots go to whom, what is wanted of whom, and what is said of it once."""

from __future__ import annotations

import pytest

from broker.coordination.slots.assignment import SLOTS_PER_ROUND, Assignment
from broker.ports.cluster_rows import Incarnation, SlotRow
from broker.ports.peer_calls import Demand, QueueName
from tests.support.ids import message_id

ORDERS = QueueName("orders", 1)
LETTERS = QueueName("letters", 2)
ALICE = Incarnation("alice", "a")
BOB = Incarnation("bob", "b")
CAROL = Incarnation("carol", "c")


def row(
    start: int, count: int = 10, queue: QueueName = ORDERS, lane: int = 1, owner: Incarnation | None = None
) -> SlotRow:
    return SlotRow(queue.queue_id, lane, start, start + 9, count, owner=owner)


def carry_out(assignment: Assignment, plan: dict[Incarnation, list[SlotRow]]) -> dict[Incarnation, list[int]]:
    for incarnation, rows in plan.items():
        assignment.grant(incarnation, rows)
        assignment.end_plan(rows)
    return {incarnation: [each.start for each in rows] for incarnation, rows in plan.items()}


def granted(assignment: Assignment, incarnation: Incarnation) -> list[int]:
    return [each.start for _, each in assignment.take(incarnation).grants]


@pytest.fixture
def assignment() -> Assignment:
    """Nothing is free, and nobody wants anything."""
    empty = Assignment()
    empty.load([])
    return empty


def test_the_oldest_slot_goes_first_whatever_its_lane(assignment: Assignment) -> None:
    assignment.load([row(300), row(200, lane=7), row(100)])
    assignment.begin(ALICE, [Demand(ORDERS, 15)])

    assert carry_out(assignment, assignment.plan()) == {ALICE: [100, 200]}


def test_a_demand_smaller_than_a_slot_gets_one(assignment: Assignment) -> None:
    assignment.load([row(100), row(200)])
    assignment.begin(ALICE, [Demand(ORDERS, 1)])

    assert carry_out(assignment, assignment.plan()) == {ALICE: [100]}
    assert assignment.plan() == {}


def test_incarnations_with_demand_get_slots_one_after_the_other(assignment: Assignment) -> None:
    assignment.begin(ALICE, [Demand(ORDERS, 30)])
    assignment.begin(BOB, [Demand(ORDERS, 30)])
    assignment.load([row(100), row(200), row(300)])
    carry_out(assignment, assignment.plan())
    assignment.add(row(400))

    assert granted(assignment, ALICE) == [100, 300]
    assert carry_out(assignment, assignment.plan()) == {BOB: [400]}
    assert granted(assignment, BOB) == [200, 400]


def test_a_incarnation_gets_no_more_than_64_slots_in_a_round(assignment: Assignment) -> None:
    assignment.begin(ALICE, [Demand(ORDERS, 10_000)])
    assignment.load([row(start) for start in range(100, 10_100, 100)])

    assert [len(rows) for rows in carry_out(assignment, assignment.plan()).values()] == [64]
    assert [len(rows) for rows in carry_out(assignment, assignment.plan()).values()] == [36]


def test_a_incarnation_that_is_held_gets_nothing_until_it_is_not(assignment: Assignment) -> None:
    assignment.load([row(100)])
    assignment.begin(ALICE, [Demand(ORDERS, 1)])

    assert assignment.plan(held={ALICE}) == {}
    assert carry_out(assignment, assignment.plan()) == {ALICE: [100]}


def test_demand_is_less_by_what_was_granted_until_it_is_said_anew(assignment: Assignment) -> None:
    assignment.load([row(100)])
    assignment.begin(ALICE, [Demand(ORDERS, 10)])
    carry_out(assignment, assignment.plan())
    assignment.add(row(200))

    assert assignment.plan() == {}
    assert granted(assignment, ALICE) == [100]
    assignment.on_demand(ALICE, [Demand(ORDERS, 10)])
    assert carry_out(assignment, assignment.plan()) == {ALICE: [200]}


def test_demand_that_does_not_know_of_a_grant_yet_is_less_by_it(assignment: Assignment) -> None:
    assignment.load([row(100)])
    assignment.begin(ALICE, [Demand(ORDERS, 10)])
    carry_out(assignment, assignment.plan())
    assignment.add(row(200))
    assignment.on_demand(ALICE, [Demand(ORDERS, 10)])

    assert assignment.plan() == {}


def test_who_has_no_demand_any_more_gets_nothing(assignment: Assignment) -> None:
    assignment.begin(ALICE, [Demand(ORDERS, 10)])
    assignment.on_demand(ALICE, [Demand(ORDERS, 0)])
    assignment.load([row(100)])

    assert assignment.plan() == {}


def test_what_somebody_owns_is_not_free(assignment: Assignment) -> None:
    assignment.begin(ALICE, [Demand(ORDERS, 10)])
    assignment.load([row(100, owner=BOB)])

    assert assignment.plan() == {}


def test_what_has_vanished_from_the_table_is_forgotten_unless_it_is_newer(assignment: Assignment) -> None:
    assignment.load([row(100), row(200)])
    assignment.add(row(300))
    assignment.load([row(100)], newer={300})
    assignment.begin(ALICE, [Demand(ORDERS, 100)])

    assert carry_out(assignment, assignment.plan()) == {ALICE: [100, 300]}


def test_a_slot_that_is_submitted_while_it_is_being_assigned_is_not_free_again(assignment: Assignment) -> None:
    assignment.load([row(100)])
    assignment.begin(ALICE, [Demand(ORDERS, 100)])
    plan = assignment.plan()
    assignment.add(row(100))

    assert carry_out(assignment, plan) == {ALICE: [100]}
    assert assignment.plan() == {}
    assert dict(assignment.free_messages()) == {}


def test_the_demand_of_others_is_told_once_and_when_it_changes(assignment: Assignment) -> None:
    assignment.begin(ALICE, [Demand(ORDERS, 10)])
    assignment.begin(BOB, [])

    assert assignment.take(BOB).remote_demand == [Demand(ORDERS, 10)]
    assert not assignment.take(ALICE)
    assert not assignment.has_news(BOB)
    assignment.on_demand(ALICE, [Demand(ORDERS, 30)])
    assert assignment.has_news(BOB)
    assert assignment.take(BOB).remote_demand == [Demand(ORDERS, 30)]
    assignment.drop(ALICE)
    assert assignment.take(BOB).remote_demand == [Demand(ORDERS, 0)]
    assert not assignment.take(BOB)


def test_what_free_slots_will_give_is_not_wanted_of_anybody(assignment: Assignment) -> None:
    assignment.load([row(100, count=10)])
    assignment.begin(ALICE, [Demand(ORDERS, 30)])
    assignment.begin(BOB, [])

    assert assignment.take(BOB).remote_demand == [Demand(ORDERS, 20)]
    carry_out(assignment, assignment.plan())
    assert not assignment.has_news(BOB)


def test_nothing_is_wanted_before_the_table_was_read() -> None:
    assignment = Assignment()
    assignment.begin(ALICE, [Demand(ORDERS, 10)])
    assignment.begin(BOB, [])

    assert not assignment.has_news(BOB)
    assert not assignment.take(BOB)
    assignment.load([])
    assert assignment.take(BOB).remote_demand == [Demand(ORDERS, 10)]


def test_one_answer_has_at_most_a_thousand_queues(assignment: Assignment) -> None:
    assignment.begin(ALICE, [Demand(QueueName(f"q{each}", each), 1) for each in range(1, 1502)])
    assignment.begin(BOB, [])

    assert [len(assignment.take(BOB).remote_demand) for _ in range(3)] == [1000, 501, 0]


def test_a_new_session_is_told_everything_and_keeps_its_grants(assignment: Assignment) -> None:
    assignment.load([row(100)])
    assignment.begin(ALICE, [Demand(ORDERS, 10)])
    carry_out(assignment, assignment.plan())
    assignment.begin(BOB, [Demand(LETTERS, 5)])
    assignment.begin(ALICE, [])

    answer = assignment.take(ALICE)
    assert [each for _, each in answer.grants] == [row(100)]
    assert answer.remote_demand == [Demand(LETTERS, 5)]


def test_what_is_reserved_is_the_oldest_slot_and_not_planned_too(assignment: Assignment) -> None:
    assignment.load([row(200), row(100)])
    assignment.begin(ALICE, [Demand(ORDERS, 100)])

    assert assignment.reserve(1) == row(100)
    assert assignment.plan() == {ALICE: [row(200)]}
    assert assignment.reserve(1) is None
    assert assignment.reserve(2) is None


def test_what_was_not_assigned_is_not_granted_and_leaves_the_demand_as_it_was(assignment: Assignment) -> None:
    assignment.load([row(100)])
    assignment.begin(ALICE, [Demand(ORDERS, 10)])
    assignment.end_plan(assignment.plan()[ALICE])
    assignment.add(row(200))

    assert not assignment.take(ALICE)
    assert carry_out(assignment, assignment.plan()) == {ALICE: [200]}


def test_a_grant_for_a_session_that_is_over_goes_to_nobody(assignment: Assignment) -> None:
    assignment.load([row(100)])
    assignment.begin(ALICE, [Demand(ORDERS, 10)])
    plan = assignment.plan()
    assignment.drop(ALICE)
    assignment.drop(CAROL)

    assert carry_out(assignment, plan) == {ALICE: [100]}
    assert not assignment.take(ALICE)
    assert not assignment.has_news(ALICE)


def demand_seen_by(assignment: Assignment, incarnation: Incarnation) -> list[Demand]:
    assignment.begin(incarnation, [])
    return list(assignment.take(incarnation).remote_demand)


def test_a_slot_that_covers_the_demand_is_enough(assignment: Assignment) -> None:
    assignment.load([row(100, count=10), row(200, count=10)])
    assignment.begin(ALICE, [Demand(ORDERS, 10)])

    assert assignment.plan() == {ALICE: [row(100)]}


def test_one_message_more_than_a_slot_takes_another(assignment: Assignment) -> None:
    assignment.load([row(100, count=10), row(200, count=10)])
    assignment.begin(ALICE, [Demand(ORDERS, 11)])

    assert assignment.plan() == {ALICE: [row(100), row(200)]}


def test_a_queue_is_not_planned_again_while_its_plan_is_carried_out(assignment: Assignment) -> None:
    assignment.load([row(100), row(200)])
    assignment.begin(ALICE, [Demand(ORDERS, 1)])

    assert assignment.plan() == {ALICE: [row(100)]}
    assert assignment.plan() == {}


def test_who_is_held_keeps_nobody_else_waiting(assignment: Assignment) -> None:
    assignment.load([row(100)])
    assignment.begin(ALICE, [Demand(ORDERS, 10)])
    assignment.begin(BOB, [Demand(ORDERS, 10)])

    assert assignment.plan(held={ALICE}) == {BOB: [row(100)]}


def test_queues_that_cannot_be_served_now_keep_no_other_waiting_for_ever(assignment: Assignment) -> None:
    queues = [QueueName(f"q{number}", number) for number in range(1, 257)]
    last = QueueName("last", 257)
    assignment.load([row(100 * queue.queue_id, queue=queue) for queue in (*queues, last)])
    assignment.begin(ALICE, [Demand(queue, 1) for queue in queues])
    assignment.begin(BOB, [Demand(last, 1)])

    assert assignment.plan(held={ALICE}) == {}
    assert assignment.plan(held={ALICE}) == {BOB: [row(25_700, queue=last)]}


def test_a_session_that_begins_anew_has_only_its_new_demand(assignment: Assignment) -> None:
    assignment.load([row(100), row(200, queue=LETTERS)])
    assignment.begin(ALICE, [Demand(ORDERS, 10)])
    assignment.begin(ALICE, [Demand(LETTERS, 10)])

    assert assignment.plan() == {ALICE: [row(200, queue=LETTERS)]}
    assert demand_seen_by(assignment, BOB) == []


def test_demand_is_less_by_exactly_what_is_on_its_way(assignment: Assignment) -> None:
    assignment.load([row(100, count=10)])
    assignment.begin(ALICE, [Demand(ORDERS, 10)])
    carry_out(assignment, assignment.plan())
    assignment.on_demand(ALICE, [Demand(ORDERS, 15)])

    assert demand_seen_by(assignment, BOB) == [Demand(ORDERS, 5)]


def test_who_takes_back_what_it_never_wanted_takes_nothing_from_others(assignment: Assignment) -> None:
    assignment.begin(ALICE, [Demand(ORDERS, 10)])
    assignment.begin(CAROL, [Demand(ORDERS, 0)])

    assert demand_seen_by(assignment, BOB) == [Demand(ORDERS, 10)]


def test_a_slot_that_could_not_be_assigned_is_wanted_of_others_again(assignment: Assignment) -> None:
    assignment.load([row(100, count=10)])
    assignment.begin(ALICE, [Demand(ORDERS, 30)])
    assignment.begin(BOB, [])
    assert assignment.take(BOB).remote_demand == [Demand(ORDERS, 20)]

    assignment.end_plan(assignment.plan()[ALICE])

    assert assignment.has_news(BOB)
    assert assignment.take(BOB).remote_demand == [Demand(ORDERS, 30)]


def test_a_slot_that_is_added_again_with_another_count_is_there_once(assignment: Assignment) -> None:
    assignment.add(row(100, count=10))
    assignment.add(row(100, count=20))

    assert dict(assignment.free_messages()) == {1: 20}
    assert (assignment.reserve(1), assignment.reserve(1)) == (row(100, count=20), None)


def test_what_has_vanished_from_the_table_is_not_counted(assignment: Assignment) -> None:
    assignment.load([row(100, count=10), row(200, count=7)])
    assignment.load([row(200, count=7)])

    assert dict(assignment.free_messages()) == {1: 7}


def test_a_queue_has_free_slots_until_the_last_one_is_planned(assignment: Assignment) -> None:
    assert not assignment.has_free(1)
    assignment.add(row(100))
    assert assignment.has_free(1)
    assignment.reserve(1)
    assert not assignment.has_free(1)


def test_one_answer_has_at_most_256_grants(assignment: Assignment) -> None:
    assignment.begin(ALICE, [Demand(ORDERS, 10_000)])
    assignment.load([row(start, count=1) for start in range(100, 25_900, 100)])
    while plan := assignment.plan():
        carry_out(assignment, plan)

    answers = [assignment.take(ALICE) for _ in range(3)]

    assert [len(answer.grants) for answer in answers] == [256, 2, 0]
    assert [bool(answer) for answer in answers] == [True, True, False]


def test_an_answer_of_remote_demand_alone_is_one(assignment: Assignment) -> None:
    assignment.begin(ALICE, [Demand(ORDERS, 10)])
    assignment.begin(BOB, [])

    assert assignment.take(BOB)


def test_queues_in_which_nothing_is_free_and_nothing_wanted_are_forgotten(assignment: Assignment) -> None:
    assignment.begin(ALICE, [Demand(ORDERS, 10), Demand(LETTERS, 0)])
    assignment.add(row(100))
    assignment.add(row(300, queue=QueueName("parcels", 3)))
    assert set(assignment._matching) == {1}
    carry_out(assignment, assignment.plan())
    assignment.load([])

    assert (assignment._queues, assignment._matching, assignment._sessions[ALICE].queues) == ({}, {}, {})


def test_a_queue_that_was_to_be_planned_is_forgotten_with_its_last_demand(assignment: Assignment) -> None:
    assignment.begin(ALICE, [Demand(ORDERS, 10)])
    assignment.add(row(100))
    assignment.load([])
    assignment.on_demand(ALICE, [Demand(ORDERS, 0)])

    assert (assignment._queues, assignment._matching) == ({}, {})


def test_old_slots_that_nobody_wants_are_taken_by_age(assignment: Assignment) -> None:
    assignment.load([row(100), row(200), row(300), row(100 << 18, queue=LETTERS)])
    taken = assignment.reserve_older({ORDERS.queue_id: 201, LETTERS.queue_id: 1000}.__getitem__)
    assert [each.start for each in taken] == [100, 200]
    assignment.end_plan(taken)
    assert dict(assignment.free_messages()) == {ORDERS.queue_id: 10, LETTERS.queue_id: 10}
    assert assignment.reserve_older({ORDERS.queue_id: 201, LETTERS.queue_id: 0}.__getitem__) == []


def test_old_slots_that_somebody_wants_are_left_to_the_plan(assignment: Assignment) -> None:
    assignment.load([row(100)])
    assignment.begin(ALICE, [Demand(ORDERS, 1)])
    assert assignment.reserve_older(lambda queue_id: 201) == []
    assert carry_out(assignment, assignment.plan()) == {ALICE: [100]}


def test_not_more_old_slots_than_a_round_are_taken_at_once(assignment: Assignment) -> None:
    assignment.load([row(start * 10) for start in range(1, SLOTS_PER_ROUND + 3)])
    first = assignment.reserve_older(lambda queue_id: 1 << 40)
    assert len(first) == SLOTS_PER_ROUND
    assignment.end_plan(first)
    assert len(assignment.reserve_older(lambda queue_id: 1 << 40)) == 2


@pytest.fixture
def kept() -> Assignment:
    """Bob keeps the length of the queue of orders."""
    assignment = Assignment(lambda queue_id: BOB if queue_id == ORDERS.queue_id else None)
    assignment.load([])
    return assignment


def test_a_node_that_keeps_a_length_gets_what_nobody_wants(kept: Assignment) -> None:
    kept.load([row(100), row(200), row(300, queue=LETTERS)])
    assert kept.plan() == {}
    kept.begin(BOB, [])
    assert carry_out(kept, kept.plan()) == {BOB: [100, 200]}
    assert kept.plan() == {}


def test_others_get_a_slot_of_such_a_queue_if_they_want_all_of_it(kept: Assignment) -> None:
    kept.load([row(100, 10), row(200, 3), row(300, 3), row(400, 3), row(500, 1)])
    kept.begin(BOB, [])
    kept.begin(ALICE, [Demand(ORDERS, 7)])
    kept.begin(CAROL, [Demand(ORDERS, 3)])
    assert carry_out(kept, kept.plan()) == {BOB: [100], ALICE: [200, 400, 500], CAROL: [300]}


def test_while_its_keeper_is_away_slots_of_such_a_queue_stay_where_they_are(kept: Assignment) -> None:
    kept.load([row(100), row(200, 1)])
    kept.begin(BOB, [])
    kept.begin(ALICE, [Demand(ORDERS, 5)])
    assert carry_out(kept, kept.plan({BOB})) == {ALICE: [200]}
    assert kept.plan({BOB}) == {}
    kept.drop(BOB)
    assert kept.plan() == {}
    kept.begin(BOB, [])
    assert carry_out(kept, kept.plan()) == {BOB: [100]}


def test_no_round_gives_a_keeper_more_slots_than_go_into_one(kept: Assignment) -> None:
    kept.load([row(each) for each in range(100, 100 + 10 * (SLOTS_PER_ROUND + 5), 10)])
    kept.begin(BOB, [])
    assert [len(carry_out(kept, kept.plan())[BOB]) for _ in range(2)] == [SLOTS_PER_ROUND, 5]


def test_what_is_released_for_a_get_does_not_go_back_to_the_keeper(kept: Assignment) -> None:
    kept.begin(BOB, [])
    kept.load([row(100, 1)])
    assert kept.plan(fetched={ORDERS.queue_id}) == {}
    assert carry_out(kept, kept.plan()) == {BOB: [100]}


# Priorities of consumers (contract B17)


def test_consumers_of_the_highest_priority_get_slots_first(assignment: Assignment) -> None:
    assignment.begin(ALICE, [Demand(ORDERS, 20)])
    assignment.begin(BOB, [Demand(ORDERS, 20, 5)])
    assignment.begin(CAROL, [Demand(ORDERS, 10, -1)])
    assignment.load([row(each) for each in range(100, 160, 10)])
    assert carry_out(assignment, assignment.plan()) == {BOB: [100, 110], ALICE: [120, 130], CAROL: [140]}


def test_a_node_is_told_the_highest_priority_of_those_who_want_messages(assignment: Assignment) -> None:
    assignment.begin(ALICE, [])
    assignment.begin(BOB, [Demand(ORDERS, 20, 5)])
    assert assignment.take(ALICE).remote_demand == [Demand(ORDERS, 20, 5)]
    assignment.begin(CAROL, [Demand(ORDERS, 1, 7)])
    assert assignment.take(ALICE).remote_demand == [Demand(ORDERS, 21, 7)]
    assignment.on_demand(CAROL, [Demand(ORDERS, 0)])
    assert assignment.take(ALICE).remote_demand == [Demand(ORDERS, 20, 5)]
    assignment.on_demand(BOB, [Demand(ORDERS, 20)])
    assert assignment.has_news(ALICE)
    assert assignment.take(ALICE).remote_demand == [Demand(ORDERS, 20)]
    assert not assignment.has_news(ALICE)
    assignment.on_demand(BOB, [Demand(ORDERS, 20, -2)])
    assert assignment.take(ALICE).remote_demand == [Demand(ORDERS, 20, -2)]


def test_the_keeper_of_a_length_gets_what_consumers_of_high_priority_leave(kept: Assignment) -> None:
    kept.load([row(each, 1) for each in range(100, 150, 10)])
    kept.begin(BOB, [])
    kept.begin(ALICE, [Demand(ORDERS, 1)])
    kept.begin(CAROL, [Demand(ORDERS, 2, 3)])
    assert carry_out(kept, kept.plan()) == {CAROL: [100, 110], ALICE: [120], BOB: [130, 140]}


# What expires in free slots


def test_slots_with_certain_messages_can_be_taken_if_nobody_wants_them(assignment: Assignment) -> None:
    first, second, third = (SlotRow(1, 3, message_id(3, each), message_id(3, each + 9), 10) for each in (10, 30, 50))
    assignment.load([first, second, third])
    assert [queue_id for queue_id, _ in assignment.unwanted()] == [1]
    ids = [message_id(3, 55), message_id(3, 12), message_id(3, 13), message_id(4, 32), message_id(3, 45)]
    rows = assignment.reserve_with(1, ids)
    assert rows == [first, third]
    assert assignment.reserve_with(1, ids) == []
    assignment.begin(ALICE, [Demand(ORDERS, 50)])
    assert assignment.reserve_with(1, [second.start]) == []
    assert list(assignment.unwanted()) == []
    assert carry_out(assignment, assignment.plan()) == {ALICE: [second.start]}
    assert assignment.reserve_with(99, ids) == []
