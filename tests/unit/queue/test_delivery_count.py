"""A queue that counts deliveries: what it keeps, what it lets go, what it writes (contract F10)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from broker.codec.field_table import FieldTable
from broker.message import MOST_DELIVERIES, PENDING, STORED, TRANSIENT, WRITING, Message, body_tails
from broker.queue.delivery_count import count_returns
from broker.queue.queue import Queue
from tests.support.composition import new_queue


@dataclass
class Ledger:
    """A journal that writes nothing and notes what it is told."""

    settled: list[int] = field(default_factory=list)
    counted: list[int] = field(default_factory=list)

    def settle(self, message: Message) -> None:
        self.settled.append(message.id)

    def recount(self, message: Message) -> None:
        self.counted.append(message.id)


def queue(arguments: dict[str, object], journal: Ledger | None = None) -> Queue:
    return new_queue(arguments=FieldTable.of(arguments), journal=journal or Ledger())


def message(number: int, its: Queue, deliveries: int = 0, state: int = STORED) -> Message:
    made = Message(number, its, b"\0\0", b"", *body_tails(b"x", 4096), state)
    made.redelivered = deliveries
    return made


def give_back(its: Queue, *deliveries: int, state: int = STORED) -> list[tuple[int, int]]:
    """Publish, deliver and give back messages that had so many deliveries; return ids and numbers of what is ready."""
    messages = [message(number, its, count, state) for number, count in enumerate(deliveries, 1)]
    its.on_taken(len(messages), 0)
    its.requeue(messages)
    return [(each.id, each.redelivered) for each in its.ready]


def test_a_message_may_be_given_back_as_often_as_the_limit_says() -> None:
    assert give_back(queue({"x-delivery-limit": 2}), 0, 1, 2, 3) == [(1, 1), (2, 2)]


def test_a_message_over_the_limit_is_settled_and_held_by_nobody() -> None:
    journal = Ledger()
    its = queue({"x-delivery-limit": 0}, journal)
    assert give_back(its, 0, 0) == []
    assert (journal.settled, journal.counted, its.unacked_count) == ([1, 2], [], 0)


def test_a_quorum_queue_without_a_limit_counts_and_lets_nothing_go() -> None:
    assert give_back(queue({"x-queue-type": "quorum", "x-delivery-limit": -1}), 0, 40) == [(1, 1), (2, 41)]


def test_other_queues_do_not_count_and_write_nothing() -> None:
    journal = Ledger()
    assert give_back(queue({}, journal), 0, 1) == [(1, 1), (2, 1)]
    assert journal.counted == []


@pytest.mark.parametrize(("state", "counted"), [(STORED, [1]), (WRITING, [1]), (PENDING, []), (TRANSIENT, [])])
def test_only_the_number_of_what_has_a_row_or_gets_one_now_is_written(state: int, counted: list[int]) -> None:
    journal = Ledger()
    give_back(queue({"x-delivery-limit": 2}, journal), 0, state=state)
    assert journal.counted == counted


def test_the_number_ends_at_what_the_store_can_keep() -> None:
    its = queue({"x-delivery-limit": 100_000})
    assert give_back(its, MOST_DELIVERIES) == [(1, MOST_DELIVERIES)]


def test_a_deleted_queue_counts_nothing() -> None:
    journal = Ledger()
    its = queue({"x-delivery-limit": 2}, journal)
    its.delete()
    assert give_back(its, 0) == []
    assert (journal.settled, journal.counted, its.unacked_count) == ([1], [], 0)


def test_a_message_that_nobody_was_sent_counts_as_not_delivered() -> None:
    its = queue({"x-delivery-limit": 0})
    its.append(message(1, its))
    taken = its.pop()
    assert taken is not None
    its.return_unsent([taken])
    assert ([each.redelivered for each in its.ready], its.unacked_count) == ([0], 0)


def test_messages_keep_their_order_on_either_side_of_the_limit() -> None:
    its = queue({})
    messages = [message(number, its, number % 2 * 5) for number in range(1, 6)]
    kept, over = count_returns(messages, 3)
    assert [each.id for each in kept] == [2, 4]
    assert [each.id for each in over] == [1, 3, 5]
