"""Consumers of a queue of which others, on other nodes, may come first: contract B17."""

from __future__ import annotations

from collections import deque
from typing import Any

from broker.queue.dispatcher import Dispatcher
from broker.queue.yielding import Yielding


class Consumer:
    """Takes as much as it has credit for."""

    is_exclusive = False
    is_resting = False
    unacked = 0

    def __init__(self, credit: int, priority: int) -> None:
        self.credit = credit
        self.priority = priority

    def take(self, ready: deque[Any], limit: int) -> int:
        count = min(limit, self.credit, len(ready))
        self.credit -= count
        for _ in range(count):
            ready.popleft()
        return count

    def can_take(self) -> bool:
        return self.credit > 0

    def room(self, limit: int) -> int:
        return min(self.credit, limit)

    def on_queue_deleted(self) -> None:
        """Nothing to do."""


def new(*priorities: int) -> tuple[Yielding, list[Consumer]]:
    """Return the consumers of a queue with these priorities, each of which takes two messages."""
    turns = Dispatcher()
    consumers = [Consumer(2, priority) for priority in priorities]
    for consumer in consumers[:1]:
        turns.add(consumer)
    yielding = Yielding(turns)
    for consumer in consumers[1:]:
        yielding.add(consumer)
    return yielding, consumers


def share_out(yielding: Yielding, count: int) -> int:
    """Give so many messages to whoever takes them; return how many are left."""
    ready: deque[Any] = deque(range(count))
    yielding.share_out(ready)
    return len(ready)


def test_consumers_below_the_priority_of_others_elsewhere_get_nothing() -> None:
    yielding, consumers = new(0, 5, 9)
    assert not yielding.give_way(7, 9)
    assert share_out(yielding, 5) == 3
    assert [each.credit for each in consumers] == [2, 2, 0]
    assert (yielding.has_credit(), yielding.room(10), yielding.has_takers) == (False, 0, True)


def test_they_go_on_when_nobody_elsewhere_comes_first_any_more() -> None:
    yielding, consumers = new(0, 5)
    yielding.give_way(7, 6)
    assert (yielding.has_takers, yielding.room(10)) == (False, 0)
    assert yielding.give_way(7, 5)
    assert (yielding.room(10), yielding.has_credit(), yielding.priority) == (2, True, 5)
    assert yielding.give_way(7, None)
    assert not yielding.give_way(7, None)
    assert share_out(yielding, 5) == 1
    assert [each.credit for each in consumers] == [0, 0]


def test_the_highest_of_the_levels_of_a_queue_counts() -> None:
    yielding, _ = new(3)
    yielding.give_way(1, 4)
    yielding.give_way(2, 9)
    assert not yielding.give_way(2, None)
    assert yielding.give_way(1, None)


def test_a_consumer_that_comes_or_wakes_meanwhile_waits_too_and_one_may_go() -> None:
    yielding, consumers = new(3)
    yielding.give_way(1, 4)
    late = Consumer(2, 1)
    yielding.add(late)
    for each in (late, consumers[0]):
        yielding.wake(each)
        yielding.wake_next(each)
    assert share_out(yielding, 2) == 2
    assert list(yielding.consumers) == [consumers[0], late]
    assert not yielding.is_in_exclusive_use
    assert not yielding.remove(late)
    assert yielding.was_used
    assert yielding.remove_all() == [consumers[0]]
    assert not yielding.give_way(1, None)
    assert not yielding.has_priorities


def test_all_have_their_turns_when_there_are_no_priorities_any_more() -> None:
    yielding, consumers = new(0, 0)
    yielding.give_way(7, 6)
    turns = yielding.end()
    assert list(turns.consumers) == consumers
    assert turns.room(10) == 4
