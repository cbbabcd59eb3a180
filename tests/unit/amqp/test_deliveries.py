"""Contract B22 to B25."""

from __future__ import annotations

from typing import Any

import pytest

from broker.amqp.deliveries import Deliveries, Unacked
from broker.errors import PreconditionFailed
from broker.message import TRANSIENT, Message
from broker.queue.outcome import ACKED, Outcome


class SomeQueue:
    queue_id = 1

    def __init__(self) -> None:
        self.settled = 0

    def settle(self, messages: list[Message], outcome: Outcome, unstored: int = 0) -> None:
        assert outcome is ACKED
        self.settled += len(messages) + unstored


class SomeConsumer:
    def __init__(self, queue: SomeQueue) -> None:
        self.queue = queue
        self.unacked = 2


def message(number: int) -> Message:
    return Message(number, SomeQueue(), b"\0\0", b"", b"", None, TRANSIENT)


def filled(*tags: int) -> Unacked:
    unacked = Unacked()
    for tag in tags:
        unacked.messages[tag] = message(tag)
    return unacked


def test_one_delivery_is_taken_once() -> None:
    unacked = filled(1, 2)
    assert [(tag, taken.id) for tag, taken in unacked.take(2, False, 2)] == [(2, 2)]
    with pytest.raises(PreconditionFailed, match="unknown delivery tag 2"):
        unacked.take(2, False, 2)


def test_multiple_takes_all_up_to_the_tag_in_order() -> None:
    unacked = filled(1, 2, 3)
    assert [tag for tag, _ in unacked.take(2, True, 3)] == [1, 2]
    assert [tag for tag, _ in unacked.take(3, True, 3)] == [3]
    assert len(unacked) == 0


def test_multiple_with_tag_0_takes_everything() -> None:
    unacked = filled(1, 2, 3)
    assert [tag for tag, _ in unacked.take(0, True, 3)] == [1, 2, 3]
    assert unacked.take(0, True, 3) == []


@pytest.mark.parametrize(("tag", "multiple"), [(0, False), (4, False), (4, True), (2, True)])
def test_tags_that_are_not_outstanding_are_unknown(tag: int, multiple: bool) -> None:
    unacked = filled(3)
    with pytest.raises(PreconditionFailed, match=f"unknown delivery tag {tag}"):
        unacked.take(tag, multiple, 3)


def test_a_settled_tag_still_bounds_a_multiple_ack() -> None:
    unacked = filled(1, 2, 3)
    unacked.take(2, False, 3)
    assert [tag for tag, _ in unacked.take(2, True, 3)] == [1]


def test_what_is_put_back_can_be_taken_again() -> None:
    unacked = filled(1, 2, 3)
    taken = unacked.take(0, True, 3)
    unacked.put_back(taken[1:])
    assert [tag for tag, _ in unacked.take(3, True, 3)] == [2, 3]


def test_everything_is_taken_in_the_order_of_delivery() -> None:
    unacked = filled(1, 2, 3)
    unacked.put_back(unacked.take(1, False, 3))
    assert [taken.id for taken in unacked.take_all()] == [1, 2, 3]
    assert len(unacked) == 0


def test_a_run_of_acknowledgements_looks_for_room_once_whoever_had_the_messages() -> None:
    looks: list[int] = []
    touched: set[Any] = set()
    deliveries = Deliveries(touched, lambda: looks.append(len(deliveries.unacked)))
    deliveries.prefetch = 6
    orders = SomeQueue()
    odd, even = SomeConsumer(orders), SomeConsumer(orders)
    for tag in range(1, 6):
        delivered = deliveries.unacked[tag] = message(tag)
        delivered.queue = orders
        delivered.consumer = (even, odd, None, odd, even)[tag - 1]
    assert deliveries.ack_run((b"head", tag, 0xCE) for tag in range(1, 6)) == 5
    assert (looks, orders.settled, odd.unacked, even.unacked) == ([0], 5, 0, 0)
    assert touched == {orders}
