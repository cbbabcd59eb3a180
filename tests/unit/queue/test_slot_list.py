"""The slots of one queue: their order, and how many messages they have."""

from __future__ import annotations

from broker.ports.slot import Slot
from broker.queue.slot_list import SlotList


def slot(start: int, count: int, lane: int = 0) -> Slot:
    return Slot(7, lane, start, start + count - 1, count)


def list_of(*slots: Slot) -> SlotList:
    made = SlotList()
    for each in slots:
        made.append(each)
    return made


def test_the_oldest_slot_is_taken_first() -> None:
    first, second = slot(1, 3), slot(4, 2)
    slots = list_of(first, second)
    assert [slots.take_oldest(), slots.take_oldest(), slots.take_oldest()] == [first, second, None]


def test_the_newest_slot_can_be_taken() -> None:
    first, second = slot(1, 3), slot(4, 2)
    slots = list_of(first, second)
    assert (slots.take_newest(), slots.count) == (second, 3)
    assert (slots.take_newest(), slots.take_newest()) == (first, None)


def test_the_messages_of_all_slots_are_counted() -> None:
    slots = list_of(slot(1, 3), slot(4, 2))
    assert (len(slots), slots.count) == (2, 5)
    slots.take_oldest()
    assert (len(slots), slots.count) == (1, 2)


def test_a_slot_without_a_count_is_one_all_the_same() -> None:
    assert list_of(slot(1, 0))


def test_clearing_returns_the_slots_in_their_order() -> None:
    first, second = slot(1, 3), slot(4, 2)
    slots = list_of(first, second)
    assert slots.clear() == [first, second]
    assert (len(slots), slots.count, slots.clear(), slots.take_oldest()) == (0, 0, [], None)


def test_an_inserted_slot_goes_before_newer_ones_of_its_lane() -> None:
    slots = list_of(slot(10, 1), slot(30, 1))
    for start in (20, 5, 40):
        slots.insert(slot(start, 1))
    assert [each.start for each in slots.clear()] == [5, 10, 20, 30, 40]


def test_slots_of_other_lanes_have_no_say_in_the_order() -> None:
    first, other = slot(30, 1), slot(20, 1, lane=1)
    slots = list_of(first)
    slots.insert(other)
    assert slots.clear() == [first, other]


def test_an_appended_slot_is_the_last_one_whatever_its_ids() -> None:
    newer, older = slot(30, 1), slot(10, 1)
    assert list_of(newer, older).clear() == [newer, older]


def test_any_slot_can_be_made_the_next_one() -> None:
    first, second, third = slot(1, 3), slot(9, 2), slot(5, 1)
    slots = list_of(first, second, third)
    slots.promote(5)
    slots.promote(77)
    assert list(slots) == [third, first, second]
    assert slots.count == 6
