"""Slots of a node that is alone."""

from __future__ import annotations

from broker.ports.slot import Slot
from broker.queue.slot_list import LocalSlotCoordinator


def slot(queue_id: int, start: int, count: int) -> Slot:
    return Slot(queue_id, 0, start, start + count - 1, count)


def test_slots_are_assigned_oldest_first() -> None:
    slots = LocalSlotCoordinator()
    first, second = slot(7, 1, 3), slot(7, 4, 2)
    slots.submit(first)
    slots.submit(second)
    assert [slots.get(7), slots.get(7), slots.get(7)] == [first, second, None]


def test_the_messages_of_unassigned_slots_are_counted_per_queue() -> None:
    slots = LocalSlotCoordinator()
    for each in (slot(7, 1, 3), slot(7, 4, 2), slot(8, 6, 1)):
        slots.submit(each)
    assert (slots.count(7), slots.count(8), slots.count(9)) == (5, 1, 0)
    slots.get(7)
    assert slots.count(7) == 2


def test_forgotten_slots_are_handed_back() -> None:
    slots = LocalSlotCoordinator()
    first, second, other = slot(7, 1, 3), slot(7, 4, 2), slot(8, 6, 1)
    for each in (first, second, other):
        slots.submit(each)
    assert slots.forget(7) == [first, second]
    assert (slots.count(7), slots.get(7), slots.forget(7), slots.count(8)) == (0, None, [], 1)


def test_a_queue_whose_slots_are_all_assigned_leaves_nothing_behind() -> None:
    slots = LocalSlotCoordinator()
    slots.submit(slot(7, 1, 3))
    slots.get(7)
    slots.submit(slot(7, 4, 2))
    assert slots.count(7) == 2


def test_a_slot_that_is_submitted_in_order_goes_before_newer_ones_of_its_lane() -> None:
    slots = LocalSlotCoordinator()
    for start in (10, 30):
        slots.submit(slot(7, start, 1))
    for start in (20, 5, 40):
        slots.submit(slot(7, start, 1), in_order=True)
    assert [each.start for each in slots.forget(7)] == [5, 10, 20, 30, 40]


def test_slots_of_other_lanes_have_no_say_in_the_order() -> None:
    slots = LocalSlotCoordinator()
    first, other = slot(7, 30, 1), Slot(7, 1, 20, 20, 1)
    slots.submit(first)
    slots.submit(other, in_order=True)
    assert (slots.forget(7), slots.count(7)) == ([first, other], 0)


def test_a_slot_without_order_is_the_last_one() -> None:
    slots = LocalSlotCoordinator()
    newer, older = slot(7, 30, 1), slot(7, 10, 1)
    slots.submit(newer)
    slots.submit(older)
    assert slots.forget(7) == [newer, older]


def test_the_newest_slot_can_be_taken() -> None:
    slots = LocalSlotCoordinator()
    first, second = slot(7, 1, 3), slot(7, 4, 2)
    slots.submit(first)
    slots.submit(second)
    assert (slots.get(7, newest=True), slots.count(7)) == (second, 3)
    assert (slots.get(7, newest=True), slots.get(7, newest=True)) == (first, None)
