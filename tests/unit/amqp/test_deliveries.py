"""Contract B22 to B25."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any

import pytest

from broker.amqp.deliveries import Deliveries, Unacked
from broker.amqp.output import Output
from broker.amqp.transaction import Transaction
from broker.errors import PreconditionFailed
from broker.message import TRANSIENT, Message
from broker.queue.outcome import ACKED, REJECTED, Outcome
from broker.topology.dialect import PLAIN, ClientDialect

NewTransaction = Callable[[], Transaction | None]


class SomeQueue:
    queue_id = 1
    is_stream = False
    consumers: Collection[Any] = ()

    def __init__(self) -> None:
        self.turns = self
        self.has_priorities = False
        self.settled = 0
        self.requeued: list[int] = []
        self.woken: list[Any] = []

    def settle(self, messages: list[Message], outcome: Outcome, unstored: int = 0) -> None:
        self.settled += len(messages) + unstored

    def requeue(self, messages: list[Message], *, is_lost: bool, is_unseen: bool) -> None:
        self.requeued += [message.id for message in messages]

    def wake(self, consumer: Any) -> None:
        self.woken.append(consumer)


class SomeConsumer:
    def __init__(self, queue: SomeQueue) -> None:
        self.queue = queue
        self.unacked = 2
        self.is_resting = False
        self.priority = 0


def message(number: int) -> Message:
    return Message(number, SomeQueue(), b"\0\0", b"", b"", None, TRANSIENT)


def filled(*tags: int) -> Unacked:
    unacked = Unacked()
    for tag in tags:
        unacked.messages[tag] = message(tag)
    return unacked


def ids(messages: list[Message]) -> list[int]:
    return [each.id for each in messages]


def channel(*tags: int, on_room: Callable[[], None] = lambda: None, dialect: ClientDialect = PLAIN) -> Deliveries:
    """The deliveries of a channel that has handed out these tags, and none of them is settled."""
    deliveries = Deliveries(Output(lambda: None, 0.0), set(), on_room, dialect)
    for tag in tags:
        delivered = deliveries.unacked[tag] = message(tag)
        delivered.consumer = None
    deliveries.last_tag = max(tags, default=0)
    deliveries.got = len(tags)
    return deliveries


@pytest.mark.parametrize("tag", [0, 3])
def test_a_client_that_may_answer_twice_may_not_answer_what_was_never_delivered(tag: int) -> None:
    deliveries = channel(1, 2, dialect=replace(PLAIN, ignores_late_answers=True))
    for _ in range(2):
        deliveries.ack(2, multiple=False)
    with pytest.raises(PreconditionFailed, match=f"unknown delivery tag {tag}"):
        deliveries.ack(tag, multiple=False)


def test_one_delivery_is_taken_once() -> None:
    unacked = filled(1, 2)
    assert unacked.take(2).id == 2
    with pytest.raises(PreconditionFailed, match="unknown delivery tag 2"):
        unacked.take(2)


def test_all_up_to_a_tag_are_taken_in_order() -> None:
    unacked = filled(1, 2, 3)
    assert ids(unacked.take_up_to(2)) == [1, 2]
    assert ids(unacked.take_up_to(3)) == [3]
    assert unacked.messages == {}


@pytest.mark.parametrize("new_transaction", [lambda: None, lambda: Transaction(99)])
@pytest.mark.parametrize(("tag", "multiple"), [(0, False), (4, False), (4, True), (2, True)])
def test_tags_that_are_not_outstanding_are_unknown(tag: int, multiple: bool, new_transaction: NewTransaction) -> None:
    transaction = new_transaction()
    deliveries = channel(3)
    deliveries.transaction = transaction
    with pytest.raises(PreconditionFailed, match=f"unknown delivery tag {tag}"):
        deliveries.ack(tag, multiple=multiple)


@pytest.mark.parametrize("new_transaction", [lambda: None, lambda: Transaction(99)])
def test_tag_0_with_multiple_is_everything_even_when_that_is_nothing(new_transaction: NewTransaction) -> None:
    transaction = new_transaction()
    deliveries = channel(1, 2, 3)
    deliveries.transaction = transaction
    deliveries.ack(0, multiple=True)
    deliveries.ack(0, multiple=True)
    if transaction is not None:
        assert ids(deliveries.take_settled(transaction.take().settled)[ACKED]) == [1, 2, 3]
    assert (deliveries.unacked, deliveries.got) == ({}, 3 if transaction else 0)


def test_a_settled_tag_still_bounds_a_multiple_ack() -> None:
    deliveries = channel(1, 2, 3)
    deliveries.ack(2, multiple=False)
    deliveries.ack(2, multiple=True)
    assert list(deliveries.unacked) == [3]


class Walked(dict[int, Message]):
    """Outstanding deliveries that count how often one is looked for, or come upon in a walk."""

    looks = 0

    def pop(self, tag: int, default: Any = None) -> Any:
        Walked.looks += 1
        return super().pop(tag, default)

    def __contains__(self, tag: object) -> bool:
        Walked.looks += 1
        return super().__contains__(tag)

    def __iter__(self) -> Iterator[int]:
        for tag in super().__iter__():
            Walked.looks += 1
            yield tag


@pytest.mark.parametrize("new_transaction", [lambda: None, lambda: Transaction(99)])
def test_a_multiple_ack_does_not_walk_over_what_was_acknowledged_before(new_transaction: NewTransaction) -> None:
    transaction = new_transaction()
    deliveries = channel(1, 50_000_000)
    walked = deliveries.unacked = deliveries._unacked.messages = Walked(deliveries.unacked)
    deliveries.transaction = transaction
    deliveries.ack(1, multiple=False)
    Walked.looks = 0
    deliveries.ack(50_000_000, multiple=True)
    assert Walked.looks < 100
    assert len(walked) == (2 if transaction else 0)


def test_multiple_acks_walk_over_each_tag_once() -> None:
    deliveries = channel(*range(1, 5001))
    deliveries.unacked = deliveries._unacked.messages = Walked(deliveries.unacked)
    Walked.looks = 0
    for tag in range(1, 5001):
        deliveries.ack(tag, multiple=True)
    assert Walked.looks < 2 * 5000
    assert not deliveries.unacked


# Transactions


def test_a_rollback_costs_nothing_however_much_was_acknowledged() -> None:
    deliveries = channel(*range(1, 5001))
    deliveries.unacked = deliveries._unacked.messages = Walked(deliveries.unacked)
    transaction = deliveries.transaction = Transaction(99)
    Walked.looks = 0
    for _ in range(100):
        deliveries.ack(5000, multiple=True)
        transaction.take()
    assert Walked.looks < 100 * 10
    assert len(deliveries.unacked) == 5000


def test_what_a_transaction_settles_is_taken_by_what_is_to_become_of_it() -> None:
    deliveries = channel(*range(1, 10))
    transaction = deliveries.transaction = Transaction(99)
    deliveries.ack(7, multiple=False)
    deliveries.reject(2, multiple=True, requeue=True)
    deliveries.ack(5, multiple=True)
    deliveries.reject(9, multiple=False, requeue=False)
    deliveries.reject(8, multiple=True, requeue=True)
    assert list(deliveries.held_ids(deliveries.unacked[1].queue)) == [1]  # each message has a queue of its own here
    taken = deliveries.take_settled(transaction.take().settled)
    assert {outcome: ids(messages) for outcome, messages in taken.items()} == {
        ACKED: [7, 3, 4, 5],
        REJECTED: [9],
        None: [1, 2, 6, 8],
    }


@pytest.mark.parametrize(("first", "second", "multiple"), [(2, 2, False), (2, 2, True), (3, 1, False), (3, 3, True)])
def test_a_transaction_settles_nothing_twice(first: int, second: int, multiple: bool) -> None:
    deliveries = channel(1, 2, 3) if first == 3 else channel(2, 3)
    deliveries.transaction = Transaction(99)
    deliveries.ack(first, multiple=first == 3)
    with pytest.raises(PreconditionFailed, match=f"unknown delivery tag {second}"):
        deliveries.reject(second, multiple=multiple, requeue=True)


# Runs


def test_a_run_of_acknowledgements_looks_for_room_once_whoever_had_the_messages() -> None:
    looks: list[int] = []
    deliveries = channel(on_room=lambda: looks.append(len(deliveries.unacked)))
    deliveries.prefetch = 6
    orders = SomeQueue()
    odd, even = SomeConsumer(orders), SomeConsumer(orders)
    for tag in range(1, 6):
        delivered = deliveries.unacked[tag] = message(tag)
        delivered.queue = orders
        delivered.consumer = (even, odd, None, odd, even)[tag - 1]
    deliveries.got = 1
    assert deliveries.ack_run((b"head", tag, 0xCE) for tag in range(1, 6)) == 5
    assert (looks, orders.settled, odd.unacked, even.unacked, deliveries.got) == ([0], 5, 0, 0, 0)
    assert list(deliveries.waiting) == [even, odd]


def test_a_run_of_acknowledgements_wakes_consumers_that_rest() -> None:
    deliveries = channel()
    orders = SomeQueue()
    consumer = SomeConsumer(orders)
    consumer.is_resting = True
    for tag in (1, 2):
        delivered = deliveries.unacked[tag] = message(tag)
        delivered.queue, delivered.consumer = orders, consumer
    deliveries.ack_run((b"head", tag, 0xCE) for tag in (1, 2))
    assert (orders.woken, deliveries._touched) == ([consumer], {orders})


@pytest.mark.parametrize("requeue", [False, True])
def test_a_run_of_rejects_ends_with_the_first_frame_that_differs(requeue: bool) -> None:
    deliveries = channel(1, 2, 3, 4)
    orders = SomeQueue()
    for delivered in deliveries.unacked.values():
        delivered.queue = orders
    frames = [(b"a", 1, 0xCE), (b"a", 2, 0xCE), (b"a", 3, 0x1CE), (b"b", 4, 0xCE)]
    assert deliveries.reject_run(iter(frames), requeue) == 2
    assert deliveries.reject_run(iter(frames[2:]), requeue) == 1
    assert list(deliveries.unacked) == [4]
    assert (sorted(orders.requeued), orders.settled) == (([1, 2, 3], 0) if requeue else ([], 3))


def test_a_run_of_rejects_is_done_up_to_an_unknown_tag() -> None:
    deliveries = channel(1, 3)
    orders = SomeQueue()
    for delivered in deliveries.unacked.values():
        delivered.queue = orders
    with pytest.raises(PreconditionFailed, match="unknown delivery tag 2"):
        deliveries.reject_run(((b"a", tag, 0xCE) for tag in (1, 2, 3)), True)
    assert (orders.requeued, list(deliveries.unacked)) == ([1], [3])


def test_messages_that_are_given_back_in_runs_go_back_youngest_first() -> None:
    deliveries = channel(1, 2, 3, 4)
    orders = SomeQueue()
    for delivered in deliveries.unacked.values():
        delivered.queue = orders
        delivered.consumer = SomeConsumer(orders) if delivered.id != 3 else deliveries.unacked[2].consumer
    deliveries.got = 0
    deliveries.requeue_all()
    assert orders.requeued == [4, 2, 3, 1]
