"""Whose turn it is, and what finding that out costs when there are many consumers (contract B29, F11)."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from broker.message import TRANSIENT, Message
from broker.queue.dispatcher import Dispatcher, QueueConsumer

MANY = 2000


class Counted:
    """A consumer that counts what any of its kind is asked, and takes as much as it is allowed to."""

    asked = 0
    is_exclusive = False
    is_resting = False

    def __init__(self, credit: int = 0) -> None:
        self.credit = credit
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


def dispatcher(*consumers: QueueConsumer, is_single: bool = False) -> Dispatcher:
    it = Dispatcher(is_single=is_single)
    for consumer in consumers:
        it.add(consumer)
    return it


def test_a_consumer_without_credit_is_asked_once() -> None:
    it = dispatcher(*[Counted() for _ in range(MANY)])
    for number in range(MANY):
        it.share_out(messages(number))
    assert Counted.asked < 3 * MANY


def test_credit_is_found_without_asking_those_that_rest() -> None:
    it = dispatcher(*[Counted() for _ in range(MANY)], Counted(credit=1))
    assert all(it.has_credit() for _ in range(MANY))
    assert Counted.asked < 3 * MANY


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


@pytest.mark.parametrize("is_single", [False, True])
def test_consumers_come_and_go_without_a_look_at_the_others(is_single: bool) -> None:
    consumers = [Counted(credit=99) for _ in range(MANY)]
    it = dispatcher(*consumers, is_single=is_single)
    for consumer in consumers[: MANY // 2]:
        assert not it.is_in_exclusive_use
        it.remove(consumer)
        it.remove(consumer)
    assert Counted.asked < 10
    ready = messages(*range(MANY))
    it.share_out(ready)
    assert not any(consumer.taken for consumer in consumers[: MANY // 2])
    assert consumers[MANY // 2].taken[0] == 0


def test_consumers_that_come_and_go_without_a_message_leave_nothing_behind() -> None:
    it = dispatcher()
    for _ in range(MANY):
        consumer = Counted()
        it.add(consumer)
        it.remove(consumer)
    assert len(it._turns) <= 1


def test_the_only_consumer_gets_everything_in_one_call() -> None:
    only = Counted(credit=99)
    resting = Counted()
    it = dispatcher(resting, only)
    assert it.share_out(messages(*range(50)))
    assert (only.taken, Counted.asked) == (list(range(50)), 2)


def test_with_nobody_there_is_nobody_to_ask() -> None:
    consumer = Counted(credit=9)
    assert not dispatcher().share_out(messages(1))
    it = dispatcher(consumer, is_single=True)
    it.is_active = False
    assert not it.share_out(messages(1))
    assert not it.has_credit()
    it.is_active = True
    assert it.has_credit()
    assert it.share_out(messages(1))
    assert it.remove_all() == [consumer]
    assert not it.has_takers
