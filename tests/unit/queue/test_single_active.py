"""Which consumer of a node is the single active one (contract F11)."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from broker.message import TRANSIENT, Message
from broker.queue.single_active import SingleActive

MANY = 2000


class Holder:
    """A consumer that holds what it takes until it settles."""

    is_exclusive = False
    is_resting = False

    def __init__(self, priority: int = 0, credit: int = 99) -> None:
        self.priority = priority
        self.credit = credit
        self.unacked = 0
        self.taken: list[int] = []

    def take(self, ready: deque[Message], limit: int) -> int:
        count = min(limit, self.credit - self.unacked)
        self.unacked += count
        self.taken += [ready.popleft().id for _ in range(count)]
        return count

    def can_take(self) -> bool:
        return self.unacked < self.credit

    def on_queue_deleted(self) -> None:
        """Nothing to do."""


def messages(*ids: int) -> deque[Message]:
    queue: Any = None
    return deque(Message(message_id, queue, b"", b"", b"", None, TRANSIENT) for message_id in ids)


def single(*consumers: Holder, is_preemptive: bool = False) -> SingleActive:
    it = SingleActive(is_preemptive=is_preemptive)
    for consumer in consumers:
        it.add(consumer)
    return it


def test_of_equal_consumers_the_one_that_came_first_gets_everything_it_has_credit_for() -> None:
    first, second = Holder(credit=2), Holder()
    it = single(first, second)
    ready = messages(1, 2, 3)
    assert it.has_credit()
    assert it.share_out(ready)
    assert (first.taken, second.taken, len(ready)) == ([1, 2], [], 1)
    assert not it.has_credit()


@pytest.mark.parametrize("is_preemptive", [False, True])
def test_when_the_active_one_goes_the_first_of_the_highest_priority_follows(is_preemptive: bool) -> None:
    active, low, high, other_high = Holder(9), Holder(1), Holder(3), Holder(3)
    it = single(active, low, high, other_high, is_preemptive=is_preemptive)
    it.share_out(messages(1))
    it.remove(active)
    it.remove(active)
    it.add(Holder(3))
    it.share_out(messages(2))
    it.remove(high)
    it.share_out(messages(3))
    it.remove(low)
    it.share_out(messages(4))
    assert (active.taken, high.taken, other_high.taken, low.taken) == ([1], [2], [3, 4], [])


def test_a_consumer_of_a_higher_priority_waits_for_the_end_of_the_active_one() -> None:
    active = Holder()
    it = single(active)
    it.share_out(messages(1))
    active.unacked = 0
    higher = Holder(5)
    it.add(higher)
    it.share_out(messages(2))
    assert (active.taken, higher.taken) == ([1, 2], [])
    it.remove(active)
    it.share_out(messages(3))
    assert higher.taken == [3]


def test_a_preempted_consumer_settles_what_it_has_before_the_next_one_begins() -> None:
    active, higher = Holder(), Holder(5)
    it = single(active, is_preemptive=True)
    it.share_out(messages(1))
    it.add(higher)
    assert not it.share_out(messages(2))
    assert not it.has_credit()
    assert it.has_takers
    active.unacked = 0
    assert it.has_credit()
    assert it.share_out(messages(2))
    equal = Holder(5)
    it.add(equal)
    higher.unacked = 0
    it.share_out(messages(3))
    assert (active.taken, higher.taken, equal.taken) == ([1], [2, 3], [])


def test_on_a_node_without_the_active_consumer_nobody_gets_anything() -> None:
    consumer = Holder()
    it = single(consumer)
    it.is_active = False
    assert not it.share_out(messages(1))
    assert not it.has_credit()
    assert not it.has_takers
    it.is_active = True
    assert it.share_out(messages(1))
    assert it.has_takers
    assert it.remove_all() == [consumer]
    assert not it.has_takers
    assert not it.share_out(messages(2))


@pytest.mark.parametrize("priorities", [1, MANY])
def test_consumers_come_and_go_without_a_look_at_the_others(priorities: int) -> None:
    consumers = [Holder(priority=-number % priorities) for number in range(MANY)]
    it = single(*consumers)
    for consumer in consumers[: MANY // 2]:
        it.wake(consumer)
        it.remove(consumer)
    assert sum(map(len, it._levels.values())) == len(it.consumers) == MANY // 2
    assert not it.is_in_exclusive_use
    assert not it.has_priorities
    it.share_out(messages(1))
    assert sum(len(consumer.taken) for consumer in consumers[MANY // 2 :]) == 1
