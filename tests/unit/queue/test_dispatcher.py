"""Whose turn it is, and what finding that out costs when there are many consumers (contract B17, B29)."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.message import TRANSIENT, Message
from broker.queue.dispatcher import Dispatcher, QueueConsumer

MANY = 2000


class Counted:
    """A consumer that counts what any of its kind is asked, and takes as much as it is allowed to."""

    asked = 0
    is_exclusive = False
    is_resting = False

    def __init__(self, credit: int = 0, priority: int = 0) -> None:
        self.credit = credit
        self.priority = priority
        self.unacked = 0
        self.taken: list[int] = []

    def take(self, ready: deque[Message], limit: int) -> int:
        Counted.asked += 1
        count = min(limit, self.credit)
        self.credit -= count
        self.taken += [ready.popleft().id for _ in range(count)]
        return count

    def can_take(self) -> bool:
        Counted.asked += 1
        return self.credit > 0

    def on_queue_deleted(self) -> None:
        """Nothing to do."""

    def __eq__(self, other: object) -> bool:
        Counted.asked += 1
        return self is other

    def __hash__(self) -> int:
        return id(self)


@pytest.fixture(autouse=True)
def asked() -> None:
    Counted.asked = 0


def messages(*ids: int) -> deque[Message]:
    queue: Any = None
    return deque(Message(message_id, queue, b"", b"", b"", None, TRANSIENT) for message_id in ids)


def dispatcher(*consumers: QueueConsumer) -> Dispatcher:
    it = Dispatcher()
    for consumer in consumers:
        it.add(consumer)
    return it


@pytest.mark.parametrize("priority", [0, 5])
def test_a_consumer_whose_turn_it_is_comes_before_those_that_do_not_rest(priority: int) -> None:
    resting, others = Counted(priority=priority), [Counted(), Counted()]
    it = dispatcher(resting, *others)
    it.share_out(messages(1))
    assert resting.is_resting
    for consumer in (resting, *others):
        consumer.credit = 1
    it.wake_next(resting)
    it.wake_next(Counted())  # of another queue
    it.share_out(messages(1))
    assert (resting.is_resting, resting.taken) == (False, [1])


def test_a_consumer_without_credit_is_asked_once() -> None:
    it = dispatcher(*[Counted() for _ in range(MANY)])
    for number in range(MANY):
        it.share_out(messages(number))
    assert Counted.asked < 3 * MANY


def test_credit_is_found_without_asking_those_that_rest() -> None:
    it = dispatcher(*[Counted() for _ in range(MANY)], Counted(credit=1))
    assert all(it.has_credit() for _ in range(MANY))
    assert Counted.asked < 3 * MANY


def test_a_consumer_that_has_left_has_no_credit_to_offer() -> None:
    resting, left = Counted(), Counted(credit=2)
    it = dispatcher(resting, left)
    it.share_out(messages(1))
    it.remove(left)

    assert not it.has_credit()


def test_a_consumer_that_is_awake_again_has_its_turn_after_the_others() -> None:
    first, second, third = Counted(1), Counted(3), Counted(3)
    it = dispatcher(first, second, third)
    it.share_out(messages(1, 2, 3, 4))
    assert first.is_resting
    first.credit = 1
    it.wake(first)
    it.wake(first)
    it.share_out(messages(5, 6, 7))
    assert (first.taken, second.taken, third.taken) == ([1, 7], [2, 4, 6], [3, 5])


def test_a_consumer_that_has_left_is_not_woken() -> None:
    resting, other = Counted(), Counted(credit=9)
    it = dispatcher(resting, other)
    it.share_out(messages(1))
    it.remove(resting)
    resting.credit = 9
    it.wake(resting)
    it.share_out(messages(2))
    assert (resting.taken, other.taken) == ([], [1, 2])


@pytest.mark.parametrize("priorities", [1, 7, MANY])
def test_consumers_come_and_go_without_a_look_at_the_others(priorities: int) -> None:
    consumers = [Counted(credit=99, priority=number % priorities) for number in reversed(range(MANY))]
    it = dispatcher(*consumers)
    for consumer in consumers[: MANY // 2]:
        assert not it.is_in_exclusive_use
        it.remove(consumer)
        it.remove(consumer)
    assert Counted.asked < 10
    ready = messages(*range(MANY))
    it.share_out(ready)
    assert not any(consumer.taken for consumer in consumers[: MANY // 2])
    assert sum(len(consumer.taken) for consumer in consumers) == MANY


def test_consumers_that_come_and_go_without_a_message_leave_nothing_behind() -> None:
    it = dispatcher()
    for number in range(MANY):
        consumer = Counted(priority=number % 3)
        it.add(consumer)
        it.remove(consumer)
    assert sum(map(len, it._levels)) <= 1
    assert not it.has_priorities


def test_the_only_consumer_gets_everything_in_one_call() -> None:
    only = Counted(credit=99)
    resting = Counted()
    it = dispatcher(resting, only)
    assert it.share_out(messages(*range(50)))
    assert (only.taken, Counted.asked) == (list(range(50)), 2)


def test_with_nobody_there_is_nobody_to_ask() -> None:
    it = dispatcher()
    assert not it.share_out(messages(1))
    assert not it.has_credit()
    assert not it.has_takers
    consumer = Counted(credit=9)
    it.add(consumer)
    assert it.has_takers
    assert it.has_credit()
    assert it.share_out(messages(1))
    assert it.remove_all() == [consumer]
    assert not it.has_takers
    assert not it.share_out(messages(1))


# Priorities


def test_consumers_of_the_highest_priority_that_have_credit_take_turns() -> None:
    low, one, other, high = Counted(9), Counted(2, priority=5), Counted(9, priority=5), Counted(1, priority=7)
    it = dispatcher(low, one, other, high)
    assert it.has_priorities
    it.share_out(messages(*range(6)))
    assert (high.taken, one.taken, other.taken, low.taken) == ([0], [1, 3], [2, 4, 5], [])


def test_those_of_a_lower_priority_get_what_the_higher_ones_leave() -> None:
    low, middle, high = Counted(9, priority=-1), Counted(2), Counted(2, priority=1)
    it = dispatcher(low, middle, high)
    assert it.share_out(messages(*range(6)))
    assert (high.taken, middle.taken, low.taken) == ([0, 1], [2, 3], [4, 5])


def test_a_consumer_of_a_higher_priority_is_first_again_when_it_is_awake() -> None:
    low, high = Counted(9), Counted(1, priority=1)
    it = dispatcher(low, high)
    it.share_out(messages(1, 2))
    high.credit = 1
    it.wake(high)
    it.share_out(messages(3, 4))
    assert (high.taken, low.taken) == ([1, 3], [2, 4])


def test_credit_is_found_on_every_level() -> None:
    low, high = Counted(1), Counted(priority=3)
    it = dispatcher(high, low)
    assert it.has_credit()
    it.share_out(messages(1))
    assert not it.has_credit()
    high.credit = 1
    assert not it.has_credit()
    it.wake(high)
    assert it.has_credit()


def test_a_consumer_of_a_higher_priority_that_leaves_makes_room_for_the_lower_ones() -> None:
    low, high = Counted(9), Counted(9, priority=1)
    it = dispatcher(low, high)
    it.remove(high)
    it.remove(high)
    it.share_out(messages(1))
    assert (high.taken, low.taken) == ([], [1])
    assert not it.has_priorities


def test_what_a_message_costs_does_not_depend_on_how_many_priorities_there_are() -> None:
    it = dispatcher(*[Counted(priority=number) for number in range(MANY)])
    for number in range(MANY):
        it.share_out(messages(number))
    assert Counted.asked < 3 * MANY


@given(
    plan=st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 5)), min_size=1, max_size=8),
    rounds=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 4)), max_size=12),
)
def test_a_message_never_goes_past_a_higher_priority_that_has_credit(
    plan: list[tuple[int, int]], rounds: list[tuple[int, int]]
) -> None:
    consumers = [Counted(credit, priority) for priority, credit in plan]
    it = dispatcher(*consumers)
    for who, credit in rounds:
        consumer = consumers[who % len(consumers)]
        consumer.credit += credit
        it.wake(consumer)
        before = [each.credit for each in consumers]
        ready = messages(1, 2, 3)
        it.share_out(ready)
        taken = [old - each.credit for old, each in zip(before, consumers, strict=True)]
        assert sum(taken) == min(3, sum(before))
        for each, count in zip(consumers, taken, strict=True):
            assert not count or all(other.credit == 0 for other in consumers if other.priority > each.priority)


def test_the_room_of_all_consumers_together_is_known_as_far_as_it_is_asked_for() -> None:
    class Roomy(Counted):
        def room(self, limit: int) -> int:
            return min(self.credit, limit)

    consumers = [Roomy(3), Roomy(0), Roomy(4, priority=2)]
    it = dispatcher(*consumers)
    assert it.has_credit()
    assert (it.priority, it.room(100), it.room(5)) == (2, 7, 5)
    it.remove(consumers[2])
    assert it.has_credit()
    assert (it.priority, it.room(100)) == (0, 3)


@pytest.mark.parametrize("priority", [-3, 0, 1])
def test_who_takes_some_of_what_is_ready_was_asked_whatever_its_priority(priority: int) -> None:
    it = dispatcher(Counted(1, priority=priority))
    ready = messages(1, 2)
    assert it.share_out(ready)
    assert len(ready) == 1
